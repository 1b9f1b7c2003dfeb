//! What came by topic: the config's changes, the prompts, and how often perceptd died soon after its start.
//!
//! Lies in `remote/` of the state folder: `lock`, `config.json`, `starts`, `commands`, `prompts/<id>.pb`, `recordings/`. Without a state folder
//! nothing is kept.

mod commands;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::modality::is_name;

/// Recordings that commands may leave in the state folder.
const MOST_RECORDINGS: usize = 16;

/// How far a wish got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WishState {
    /// It passed the checks and is being tried.
    Pending,
    /// It is in force.
    Applied,
    /// It was refused before anything was tried.
    Rejected,
    /// It passed the checks but did not work.
    RolledBack,
}

/// One thing that is wrong with a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The key, or empty for the whole.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
}

impl Fault {
    /// A fault of the wish as a whole.
    #[must_use]
    pub fn whole(what: impl Into<String>) -> Self {
        Self { key: String::new(), what: what.into() }
    }
}

/// What was answered to the last wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The wish's generation.
    pub generation: u64,
    /// SHA-256 of its payload, in hexadecimal.
    pub digest: String,
    /// How far it got.
    pub state: WishState,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

/// A wish that is being tried. One that is still there at a start did not survive its trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The wish's generation.
    pub generation: u64,
    /// SHA-256 of its payload, in hexadecimal.
    pub digest: String,
}

/// The config as far as topics made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigLedger {
    /// The generation in force; 0: the file alone.
    pub generation: u64,
    /// Changes over the file, as JSON; empty for none.
    pub changes: String,
    /// The generation before it.
    pub generation_before: u64,
    /// The same before this generation came.
    pub changes_before: String,
    /// The last answer; none when no wish has come yet.
    pub answer: Option<Answer>,
    /// The wish that is being tried.
    pub trial: Option<Trial>,
}

/// Why something could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Another perceptd has the folder.
    #[error("the state folder {folder} is in use by another perceptd: give each its own [state] folder")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk does not do what it is asked.
    #[error("cannot {what} {path}: {source}; see [state] folder")]
    Disk {
        /// What it was asked.
        what: &'static str,
        /// Of this file or folder.
        path: PathBuf,
        /// Why it does not.
        source: io::Error,
    },
}

/// Keeps what came by topic.
#[derive(Clone, Debug)]
pub struct RemoteStore {
    folder: Option<PathBuf>,
    /// Held for as long as the store is; none where there is no folder, or the folder's disk knows no locks.
    _lock: Option<Arc<File>>,
}

impl RemoteStore {
    /// Keeps things in `state_folder`, which is made if it is not there, and taken for this process alone; with none it keeps nothing.
    ///
    /// # Errors
    /// When the folder cannot be made, or another perceptd has it.
    pub fn open(state_folder: Option<&Path>) -> Result<Self, RemoteError> {
        let Some(state_folder) = state_folder else { return Ok(Self { folder: None, _lock: None }) };
        // Recordings are told by their whole path: who reads it is elsewhere.
        let whole = std::path::absolute(state_folder);
        let folder = whole.unwrap_or_else(|_no_such_place| state_folder.to_owned()).join("remote");
        let prompts = folder.join("prompts");
        fs::create_dir_all(&prompts).map_err(|source| RemoteError::Disk { what: "make", path: prompts, source })?;
        let lock = lock(&folder.join("lock"), state_folder)?;
        Ok(Self { folder: Some(folder), _lock: lock })
    }

    /// The ledger as it was saved last. One that cannot be read is put aside, with one log line, and the file's config holds.
    #[must_use]
    pub fn config(&self) -> ConfigLedger {
        let Some(path) = self.path("config.json") else { return ConfigLedger::default() };
        let Ok(text) = fs::read(&path) else { return ConfigLedger::default() };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "the config that came by topic is damaged: it is put aside, and the config file holds");
            set_aside(&path);
            ConfigLedger::default()
        })
    }

    /// Saves the ledger.
    ///
    /// # Errors
    /// When it cannot be written; the one before is still there.
    pub fn save_config(&self, ledger: &ConfigLedger) -> Result<(), RemoteError> {
        let Some(path) = self.path("config.json") else { return Ok(()) };
        let bytes = serde_json::to_vec(ledger).map_err(io::Error::other);
        bytes.and_then(|bytes| replace(&path, &bytes)).map_err(|source| RemoteError::Disk {
            what: "write",
            path,
            source,
        })
    }

    /// The prompts that came by topic, by name, as their payloads.
    #[must_use]
    pub fn prompts(&self) -> Vec<(String, Vec<u8>)> {
        self.prompt_files("pb")
    }

    /// Keeps a prompt's payload.
    ///
    /// # Errors
    /// When it cannot be written; the one before is still there.
    pub fn save_prompt(&self, id: &str, payload: &[u8]) -> Result<(), RemoteError> {
        let Some(path) = self.prompt_path(id) else { return Ok(()) };
        replace(&path, payload).map_err(|source| RemoteError::Disk { what: "write", path, source })
    }

    /// Forgets a prompt.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_prompt(&self, id: &str) -> Result<(), RemoteError> {
        let Some(path) = self.prompt_path(id) else { return Ok(()) };
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RemoteError::Disk { what: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// A prompt's trial begins; it stays written down until [`Self::end_prompt_trial`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin_prompt_trial(&self, id: &str, digest: &str) -> Result<(), RemoteError> {
        let Some(path) = self.trial_path(id) else { return Ok(()) };
        replace(&path, digest.as_bytes()).map_err(|source| RemoteError::Disk { what: "write", path, source })
    }

    /// A prompt's trial has ended, well or not.
    pub fn end_prompt_trial(&self, id: &str) {
        let Some(path) = self.trial_path(id) else { return };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "the end of a prompt's trial cannot be written down");
            }
            _ => {}
        }
    }

    /// Names and digests of prompts whose trial did not end: perceptd did.
    #[must_use]
    pub fn unfinished_prompt_trials(&self) -> Vec<(String, String)> {
        self.prompt_files("trying")
            .into_iter()
            .map(|(id, text)| (id, String::from_utf8_lossy(&text).into_owned()))
            .collect()
    }

    /// Where the next recording goes, named after the time.
    ///
    /// # Errors
    /// What keeps it from being made: no state folder, or too many recordings in it.
    pub fn next_recording(&self, unix_nanos: i64) -> Result<PathBuf, String> {
        let Some(folder) = self.path("recordings") else {
            return Err("recordings need a state folder: set [state] folder".to_owned());
        };
        fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let kept = fs::read_dir(&folder).into_iter().flatten().count();
        if kept >= MOST_RECORDINGS {
            return Err(format!("{} holds {kept} recordings, the most: remove some", folder.display()));
        }
        Ok(folder.join(format!("{}.mcap", unix_nanos / 1_000_000)))
    }

    /// Counts a start; gives how many there were since the last one that ended well, this one included.
    pub fn count_start(&self) -> u32 {
        let starts = self.starts().saturating_add(1);
        self.save_starts(starts);
        starts
    }

    /// This start went well.
    pub fn forget_starts(&self) {
        self.save_starts(0);
    }

    /// This start ended for a reason that has nothing to do with what is kept here: it does not count.
    pub fn forgive_start(&self) {
        self.save_starts(self.starts().saturating_sub(1));
    }

    fn starts(&self) -> u32 {
        let text = self.path("starts").and_then(|path| fs::read_to_string(path).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn save_starts(&self, starts: u32) {
        let Some(path) = self.path("starts") else { return };
        if let Err(error) = replace(&path, starts.to_string().as_bytes()) {
            tracing::warn!(path = %path.display(), %error, "starts cannot be counted: a crash loop would not be noticed");
        }
    }

    /// The files of prompts with this extension: name and content, in order.
    fn prompt_files(&self, extension: &str) -> Vec<(String, Vec<u8>)> {
        let Some(folder) = self.path("prompts") else { return Vec::new() };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            let path = entry.path();
            let id = path.file_stem()?.to_str()?.to_owned();
            let is_one = is_name(&id) && path.extension().is_some_and(|found| found == extension);
            if is_one { Some((id, fs::read(&path).ok()?)) } else { None }
        });
        let mut files: Vec<_> = named.collect();
        files.sort();
        files
    }

    fn trial_path(&self, id: &str) -> Option<PathBuf> {
        self.path("prompts").filter(|_| is_name(id)).map(|folder| folder.join(format!("{id}.trying")))
    }

    fn prompt_path(&self, id: &str) -> Option<PathBuf> {
        self.path("prompts").filter(|_| is_name(id)).map(|folder| folder.join(format!("{id}.pb")))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(name))
    }
}

/// Takes the folder for this process; a disk without locks is no reason not to start.
fn lock(path: &Path, state_folder: &Path) -> Result<Option<Arc<File>>, RemoteError> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let locked = opened.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
    match locked {
        Ok(file) => Ok(Some(Arc::new(file))),
        Err(TryLockError::WouldBlock) => Err(RemoteError::InUse { folder: state_folder.to_owned() }),
        Err(TryLockError::Error(error)) => {
            tracing::warn!(path = %path.display(), %error, "no lock can be had: see that no other perceptd uses this [state] folder");
            Ok(None)
        }
    }
}

/// Writes a file so that after a power cut it is either the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Files of one name, as a prompt and its trial, may be written at once.
    let beside = path.with_added_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn set_aside(path: &Path) {
    if let Err(error) = fs::rename(path, path.with_extension("damaged")) {
        tracing::warn!(path = %path.display(), %error, "it could not be put aside");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> ConfigLedger {
        let answer = Answer {
            generation: 3,
            digest: "ab".to_owned(),
            state: WishState::RolledBack,
            faults: vec![Fault { key: "sensors.front".to_owned(), what: "no".to_owned() }],
        };
        ConfigLedger { generation: 2, changes: "{}".to_owned(), answer: Some(answer), ..ConfigLedger::default() }
    }

    #[test]
    fn recordings_are_told_by_their_whole_path() {
        let folder = tempfile::tempdir().unwrap();
        let here = std::env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let relative = up.join(folder.path().strip_prefix("/").unwrap());
        let recording = RemoteStore::open(Some(&relative)).unwrap().next_recording(7_000_000).unwrap();
        assert!(recording.is_absolute() && recording.ends_with("remote/recordings/7.mcap"), "{}", recording.display());
    }

    #[test]
    fn what_is_saved_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        assert_eq!(store.config(), ConfigLedger::default());
        store.save_config(&ledger()).unwrap();
        store.save_prompt("dog", b"\x01\x02").unwrap();
        store.save_prompt("cat", b"").unwrap();
        store.save_prompt("../escape", b"x").unwrap();
        drop(store);
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        assert_eq!(store.config(), ledger());
        assert_eq!(store.prompts(), [("cat".to_owned(), Vec::new()), ("dog".to_owned(), vec![1, 2])]);
        store.remove_prompt("dog").unwrap();
        store.remove_prompt("dog").unwrap();
        store.begin_prompt_trial("cat", "ab").unwrap();
        assert_eq!(store.unfinished_prompt_trials(), [("cat".to_owned(), "ab".to_owned())]);
        store.end_prompt_trial("cat");
        assert_eq!(store.unfinished_prompt_trials(), []);
        assert_eq!(store.prompts().len(), 1);
        assert!(!folder.path().join("escape.pb").exists());
    }

    #[test]
    fn starts_are_counted_until_one_goes_well() {
        let folder = tempfile::tempdir().unwrap();
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        assert_eq!([store.count_start(), store.count_start()], [1, 2]);
        store.forget_starts();
        assert_eq!(store.count_start(), 1);
        store.forgive_start();
        assert_eq!([store.count_start(), store.count_start()], [1, 2]);
    }

    #[test]
    fn a_folder_belongs_to_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        let same = store.clone();
        drop(store);
        let error = RemoteStore::open(Some(folder.path())).unwrap_err();
        assert!(matches!(&error, RemoteError::InUse { folder: told } if told == folder.path()), "{error}");
        drop(same);
        RemoteStore::open(Some(folder.path())).unwrap();
    }

    #[test]
    fn a_damaged_ledger_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        fs::write(folder.path().join("remote/config.json"), b"{\"generation\": 2, \"chan").unwrap();
        assert_eq!(store.config(), ConfigLedger::default());
        assert!(folder.path().join("remote/config.damaged").exists());
        store.save_config(&ledger()).unwrap();
        assert_eq!(store.config(), ledger());
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let store = RemoteStore::open(None).unwrap();
        store.save_config(&ledger()).unwrap();
        store.save_prompt("dog", b"x").unwrap();
        assert_eq!((store.config(), store.prompts(), store.count_start()), (ConfigLedger::default(), vec![], 1));
    }
}
