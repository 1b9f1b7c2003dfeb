//! The config: the file as written (strict TOML) into [`Settings`], made of each room's own plain struct.
//!
//! Every problem of a file is found at one look and named by key and line. No device, broker or model is touched here: a device
//! that is absent is no mistake of the config.

mod document;
mod overlay;
mod problem;
mod prompts;
mod remote;
mod resolve;
mod section;
mod sensors;
mod settings;

use std::path::{Path, PathBuf};

use crate::files::{MIB, read_text_at_most};

pub use overlay::Overlay;
pub use problem::Problem;
pub use prompts::{P_FALSE, USUAL_P_FALSE, USUAL_SENSES, WEIGHT, prompt_problems};
pub use remote::{ConfigFile, NOT_SHOWN, is_remote_key};
pub use section::no_file;
pub use settings::{
    HopSettings, JointRule, LogLevel, LoginSettings, RemoteSettings, ReplaySettings, Settings, SourceSettings,
    TlsFiles, Winner, password,
};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the config {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of a password, certificate or key could not be read.
    #[error("cannot read {path}: {source}; see [mqtt] {key}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// The key that names it.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The file is wrong; here is everything that is.
    #[error("{} has {}:\n{}", path.display(), count(problems), lines(problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// All of it, in the order of the file's lines.
        problems: Vec<Problem>,
    },
}

/// Largest file of the config that is read: a wrong path must not fill the memory.
const MOST_BYTES: u64 = MIB;

fn read(path: &Path) -> Result<String, ConfigError> {
    read_text_at_most(path, MOST_BYTES).map_err(|source| ConfigError::Read { path: path.into(), source })
}

fn count(problems: &[Problem]) -> String {
    if problems.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", problems.len()) }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

impl Settings {
    /// Reads and checks a config file. Relative paths in it count from its folder.
    ///
    /// # Errors
    /// When it cannot be read, or with every problem in it.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        ConfigFile::open(path).map(|(_, settings)| settings)
    }

    /// Reads and checks a config for a replay of `recording`, which stands in the place of what the config says. What such a replay does
    /// not need may be left out: sensors, the robot's name, and the pack, for which `pack` does.
    ///
    /// # Errors
    /// When it cannot be read, or with every problem in it.
    pub fn open_for_replay(path: &Path, recording: &Path, pack: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let findings = problem::Findings::default();
        let mut tree = document::parse(&text, &findings);
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into()).display().to_string();
        document::add_text(&mut tree, "robot", "name", "replay");
        document::add_text(&mut tree, "pack", "path", &absolute(pack));
        if let Some(document::Value::Table(replay)) = tree.get_mut("replay").map(|node| &mut node.value) {
            replay.remove("recording");
        }
        if tree.contains_key("replay") || !tree.contains_key("sensors") {
            // A file that is there, in place of one of which only its opening shows whether it is.
            document::add_text(&mut tree, "replay", "recording", &absolute(path));
        }
        let mut settings = resolve::resolve(tree, path.parent().unwrap_or(Path::new("")), &findings);
        if let SourceSettings::Replay(replay) = &mut settings.source {
            replay.recording = recording.into();
        }
        let (mut problems, _) = findings.into_parts();
        // What the recording has of sensors serves.
        problems.retain(|problem| problem.what != prompts::NOT_SERVED);
        if problems.is_empty() { Ok(settings) } else { Err(ConfigError::Wrong { path: path.into(), problems }) }
    }

    /// Reads and checks a config for a recording of its sensors, which needs neither the robot's name nor a pack: what is said of one
    /// does not matter, nor how long its windows are.
    ///
    /// # Errors
    /// When it cannot be read, or with every problem in it.
    pub fn open_for_record(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let findings = problem::Findings::default();
        let mut tree = document::parse(&text, &findings);
        document::add_text(&mut tree, "robot", "name", "record");
        if let Some(document::Value::Table(pack)) = tree.get_mut("pack").map(|node| &mut node.value) {
            pack.remove("path");
        }
        let settings = resolve::resolve(tree, path.parent().unwrap_or(Path::new("")), &findings);
        let (mut problems, _) = findings.into_parts();
        problems.retain(|problem| !matches!(problem.key.as_str(), "pack" | "pack.path"));
        if problems.is_empty() { Ok(settings) } else { Err(ConfigError::Wrong { path: path.into(), problems }) }
    }

    /// Checks a config's text; relative paths in it count from `folder`.
    ///
    /// # Errors
    /// Every problem in it, in the order of its lines.
    pub fn from_text(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        let findings = problem::Findings::default();
        let table = document::parse(text, &findings);
        let settings = resolve::resolve(table, folder, &findings);
        findings.into_result(settings)
    }
}

#[cfg(test)]
mod tests;
