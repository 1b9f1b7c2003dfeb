//! What a config names, opened as a start would open it: password and certificates, the model pack, the recording, what prompts are made
//! of. Nothing runs, and nothing is made.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::{Access, access};

use crate::config::{ConfigFile, Problem, ReplaySettings, Settings, SourceSettings, no_file, password};
use crate::encoders::{Encoders, EncodersError};
use crate::files::{MIB, read_at_most};
use crate::modality::Modality;
use crate::prompts::{PartSource, PromptSettings, enrol};
use crate::publish::{check_authorities, check_identity};
use crate::recording::{Recording, RecordingError};
use crate::space::Bank;
use crate::windows::Windower;

use super::plan::sensors_of;

/// The problems of `file`, `known` by a look at it alone, and every one with what `settings`, which it gave, name; in the order of the
/// file's lines. What a known problem is about is not tried. No device and no broker is touched.
#[must_use]
pub fn try_out(file: &ConfigFile, settings: &Settings, known: Vec<Problem>) -> Vec<Problem> {
    let mut trial = Trial { file, settings, problems: known };
    match &settings.source {
        SourceSettings::Replay(replay)
            if file.has("replay.recording")
                && trial.is_right("replay.recording")
                && trial.is_right("replay.topics") =>
        {
            trial.recording(replay);
        }
        _ => {}
    }
    trial.broker_access();
    trial.state_folder();
    let mut pack = if file.has("pack.path") && trial.is_right("pack.path") { trial.pack() } else { None };
    if let Some((encoders, _)) = pack.as_ref().filter(|_| trial.is_right("windows")) {
        trial.windows(encoders);
    }
    for (index, prompt) in settings.prompts.iter().enumerate() {
        trial.prompt(index, prompt, pack.as_mut());
    }
    trial.problems.sort_by_key(|problem| problem.line.unwrap_or(u32::MAX));
    trial.problems
}

struct Trial<'a> {
    file: &'a ConfigFile,
    settings: &'a Settings,
    problems: Vec<Problem>,
}

impl Trial<'_> {
    fn wrong(&mut self, key: &str, what: impl ToString) {
        self.problems.push(self.file.problem(key, what.to_string()));
    }

    /// Whether no problem is about this key, what stands in it, or what it stands in.
    fn is_right(&self, key: &str) -> bool {
        let is_in = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !self.problems.iter().any(|problem| is_in(&problem.key, key) || is_in(key, &problem.key))
    }

    /// Whether the file has lines that could not be read: what they said is not known.
    fn has_gaps(&self) -> bool {
        self.problems.iter().any(|problem| problem.key.is_empty() && problem.line.is_some())
    }

    /// Opening looks at all of it; no more than the first sample is decoded.
    fn recording(&mut self, replay: &ReplaySettings) {
        let opened = Recording::open_mapped(&replay.recording, &replay.topics);
        let tried = opened.and_then(|recording| match recording.damage() {
            Some(damage) => Err(damage),
            None => recording.samples().next().transpose(),
        });
        match tried {
            Ok(_) => {}
            Err(RecordingError::Topics { .. }) if self.has_gaps() => {}
            Err(error @ RecordingError::Topics { .. }) => self.wrong("replay.topics", error),
            Err(error) => self.wrong("replay.recording", error),
        }
    }

    /// The files for the login and for TLS. That the broker takes them is not known before it is asked.
    fn broker_access(&mut self) {
        let mut held = BTreeMap::new();
        for (key, path) in self.settings.secret_files() {
            let full = format!("mqtt.{key}");
            if !self.is_right(&full) {
                continue;
            }
            match read_at_most(path, MIB) {
                Ok(bytes) => drop(held.insert(key, bytes)),
                Err(error) => self.wrong(&full, format!("{} cannot be read: {}", path.display(), by_whom(&error))),
            }
        }
        if let Some(Err(what)) = held.get("password_file").map(|bytes| password(bytes)) {
            self.wrong("mqtt.password_file", what);
        }
        if let Some(Err(what)) = held.get("ca_file").map(|pem| check_authorities(pem)) {
            self.wrong("mqtt.ca_file", what);
        }
        let identity = held.get("client_cert_file").zip(held.get("client_key_file"));
        if let Some(Err((is_key, what))) = identity.map(|(certificate, key)| check_identity(certificate, key)) {
            self.wrong(if is_key { "mqtt.client_key_file" } else { "mqtt.client_cert_file" }, what);
        }
    }

    /// Whether the state folder is there, or can be made: nothing is.
    fn state_folder(&mut self) {
        let Some(folder) = self.settings.state_folder.as_deref().filter(|_| self.is_right("state.folder")) else {
            return;
        };
        if let Err(what) = usable(folder) {
            self.wrong("state.folder", what);
        }
    }

    /// The pack with every encoder loaded: topics may bring prompts of any kind.
    fn pack(&mut self) -> Option<(Encoders, Bank)> {
        let open = || -> Result<(Encoders, Bank), EncodersError> {
            let mut encoders = Encoders::open(&self.settings.pack, &[])?;
            for modality in Modality::ALL {
                if encoders.facts(modality).is_some() {
                    encoders.load(modality)?;
                }
            }
            let bank = Bank::new(encoders.bank()?);
            Ok((encoders, bank))
        };
        open().map_err(|error| self.wrong("pack.path", error)).ok()
    }

    /// Whether the pack serves each sensor, and its windows can be cut.
    fn windows(&mut self, encoders: &Encoders) {
        for (sensor, modality) in sensors_of(self.settings, &[]) {
            let key = format!("sensors.{sensor}");
            if !self.is_right(&key) {
                continue;
            }
            match encoders.facts(modality).map(|facts| Windower::new(self.settings.window(&sensor, modality, facts))) {
                Some(Ok(_)) => {}
                Some(Err(error)) => self.wrong(&key, error),
                None => self.wrong(&key, EncodersError::NoEncoder(modality)),
            }
        }
    }

    /// Tries what a prompt is made of, and enrols it when nothing else is wrong with it; without a pack it looks at no more than the files.
    fn prompt(&mut self, index: usize, prompt: &PromptSettings, mut pack: Option<&mut (Encoders, Bank)>) {
        let sources = prompt.parts.iter().map(|part| &part.source).chain(&prompt.negatives);
        let keys = self.source_keys(index);
        if keys.len() != sources.clone().count() {
            // One is wrong as it is written: which of them gave which source is not known.
            return;
        }
        let is_right = !prompt.id.is_empty() && self.is_right(&format!("prompts[{index}]"));
        let mut vectors = Vec::new();
        for (key, source) in keys.iter().zip(sources) {
            if self.problems.iter().any(|problem| problem.key == *key) {
                continue;
            }
            let tried = match (no_file_of(source), &mut pack) {
                (Some(what), _) => Err(what),
                (None, Some((encoders, _))) => {
                    source.embed(encoders).map(|vector| vectors.push(vector)).map_err(|error| error.to_string())
                }
                (None, None) => source.check().map_err(|error| error.to_string()),
            };
            if let Err(what) = tried {
                self.wrong(key, what);
            }
        }
        let Some((encoders, bank)) = pack.filter(|_| is_right && vectors.len() == keys.len()) else { return };
        // Parts and negatives are asked for in their order.
        let mut vectors = vectors.into_iter();
        let embedded = |source: &PartSource| vectors.next().map_or_else(|| source.embed(encoders), Ok);
        if let Err(error) = enrol(prompt, bank, embedded) {
            self.wrong(&format!("prompts[{index}]"), error);
        }
    }

    /// The keys that name what a prompt is made of, in the order of its settings: its own, then those of parts and negatives.
    fn source_keys(&self, index: usize) -> Vec<String> {
        let prompt = format!("prompts[{index}]");
        let listed = ["parts", "negatives"].into_iter().flat_map(|list| {
            let places = (0..).map(|at| format!("{prompt}.{list}[{at}]"));
            // What is no list is in every place of itself.
            places.take(MOST_SOURCES).take_while(|place| self.file.has(place)).collect::<Vec<_>>()
        });
        let tables = std::iter::once(prompt.clone()).chain(listed);
        let keys = tables.flat_map(|table| ["audio", "image", "text"].map(|sense| format!("{table}.{sense}")));
        keys.filter(|key| self.file.has(key)).collect()
    }
}

/// Looks at a folder that may still have to be made: at the nearest one above it that is there. What this user alone may not do is not
/// told: a service manager makes the folder, for a user of its own.
fn usable(folder: &Path) -> Result<(), String> {
    for nearest in folder.ancestors() {
        let nearest = if nearest.as_os_str().is_empty() { Path::new(".") } else { nearest };
        let place = nearest.display();
        match std::fs::metadata(nearest) {
            Ok(found) if !found.is_dir() => return Err(format!("{place} is no folder")),
            Ok(_) => {
                return match access(nearest, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from) {
                    Err(error) if error.kind() != ErrorKind::PermissionDenied => {
                        Err(format!("{place} cannot be written to: {error}"))
                    }
                    _ => Ok(()),
                };
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(format!("{place} cannot be looked at: {error}")),
        }
    }
    Ok(())
}

/// An error that another user may not have.
fn by_whom(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("{error}, to who runs this check: run it as the user that perceptd runs as")
        }
        _ => error.to_string(),
    }
}

/// More than any prompt is made of.
const MOST_SOURCES: usize = 1000;

/// Why there is no file that a prompt could be made of.
fn no_file_of(source: &PartSource) -> Option<String> {
    match source {
        PartSource::AudioFile(path) | PartSource::ImageFile(path) => no_file(path),
        PartSource::AudioBytes(_) | PartSource::ImageBytes(_) | PartSource::Text(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_state_folder_can_be_made_where_its_user_may_write() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("deep/inside");
        assert_eq!(usable(&inside), Ok(()));
        assert!(!folder.path().join("deep").exists(), "nothing is made");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
        assert_eq!(usable(&inside), Ok(()), "another user may");
        assert!(usable(Path::new("/proc/version/state")).unwrap_err().contains("/proc/version is no folder"));
    }
}
