//! Ids of commands that were taken, for as long as the commands are valid: a restart has none done twice.
//!
//! Lines of JSON in `remote/commands`. A line is with the kernel before its command is done, but not synced: a power cut may cost the
//! newest.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use super::{RemoteStore, replace};

/// Ids that are kept at most.
const MOST_IDS: usize = 4_096;
/// A file of this size is written anew, with what is still valid; so many ids have less, however they are written.
const MOST_BYTES: u64 = 2 << 20;

impl RemoteStore {
    /// The ids of commands that were taken and are valid after `unix_nanos`, oldest first.
    #[must_use]
    pub fn commands_taken(&self, unix_nanos: i64) -> Vec<String> {
        let Some(path) = self.path("commands").filter(|path| path.exists()) else { return Vec::new() };
        let kept = tidied(&path, unix_nanos).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "commands that came before cannot be read: one of them could be done again");
            Vec::new()
        });
        kept.into_iter().map(|(_, id)| id).collect()
    }

    /// A command is taken at `unix_nanos`, and valid until `until_unix_nanos`.
    pub fn take_command(&self, id: &str, until_unix_nanos: i64, unix_nanos: i64) {
        let Some(path) = self.path("commands") else { return };
        if let Err(error) = append(&path, &line(until_unix_nanos, id), unix_nanos) {
            tracing::warn!(path = %path.display(), %error, "a command cannot be written down: after a restart it could be done again");
        }
    }
}

fn append(path: &Path, line: &str, unix_nanos: i64) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(line.as_bytes())?;
    if file.metadata()?.len() > MOST_BYTES { tidied(path, unix_nanos).map(drop) } else { Ok(()) }
}

/// The newest that are still valid; the file is left with no others.
fn tidied(path: &Path, unix_nanos: i64) -> io::Result<Vec<(i64, String)>> {
    let before = fs::read(path)?;
    let lines = before.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let mut kept: Vec<(i64, String)> = lines.filter(|(until, _): &(i64, String)| *until > unix_nanos).collect();
    kept.drain(..kept.len().saturating_sub(MOST_IDS));
    let after: String = kept.iter().map(|(until, id)| line(*until, id)).collect();
    if after.as_bytes() != before {
        replace(path, after.as_bytes())?;
    }
    Ok(kept)
}

fn line(until_unix_nanos: i64, id: &str) -> String {
    format!("[{until_unix_nanos},{}]\n", serde_json::Value::from(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_until_they_expire() {
        let folder = tempfile::tempdir().unwrap();
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        assert_eq!(store.commands_taken(0), Vec::<String>::new());
        for (id, until) in [("a", 10), ("line\n\"b\"", 30), ("c", 20)] {
            store.take_command(id, until, 0);
        }
        let path = folder.path().join("remote/commands");
        fs::write(&path, [&fs::read(&path).unwrap()[..], b"[40,\"to"].concat()).unwrap();
        assert_eq!(store.commands_taken(10), ["line\n\"b\"", "c"], "a torn line is left out");
        store.take_command("d", 40, 10);
        assert_eq!(store.commands_taken(10), ["line\n\"b\"", "c", "d"], "the next is whole");
        assert_eq!(store.commands_taken(40), Vec::<String>::new());
        assert_eq!(fs::read(&path).unwrap(), b"");
        RemoteStore::open(None).unwrap().take_command("a", 1, 0);
    }

    #[test]
    fn commands_fill_no_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("commands");
        let long = "\u{1}".repeat(64);
        let ids: Vec<String> = (0..10_000).map(|number| format!("{number:05}{}", &long[5..])).collect();
        fs::write(&path, ids.iter().map(|id| line(9, id)).collect::<String>()).unwrap();
        append(&path, &line(9, "last"), 1).unwrap();
        assert!(fs::metadata(&path).unwrap().len() <= MOST_BYTES, "{}", fs::metadata(&path).unwrap().len());
        let kept = tidied(&path, 1).unwrap();
        assert_eq!((kept.len(), kept[0].1.as_str(), kept[4095].1.as_str()), (4096, ids[5905].as_str(), "last"));
    }
}
