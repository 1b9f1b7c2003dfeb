//! What a topic may change: everything that is not on this list is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::document::{self, Node};
use super::overlay::{self, Leaf, Overlay};
use super::problem::{Findings, Problem};
use super::{ConfigError, Settings, Winner, resolve};

/// The keys that a topic may change; `*` is any one level. Names, broker, credentials, paths, packs, devices and programs are not among
/// them: who can publish to the broker must not be able to make perceptd read, run or join anything else.
pub const REMOTE_KEYS: [&str; 32] = [
    "windows.image_hop_secs",
    "windows.audio_hop_secs",
    "windows.thermal_hop_secs",
    "windows.depth_hop_secs",
    "windows.imu_hop_secs",
    "windows.lateness_secs",
    "sensors.*.enabled",
    "sensors.*.hop_secs",
    "sensors.*.time_offset_ms",
    "sensors.*.width_px",
    "sensors.*.height_px",
    "sensors.*.rate_hz",
    "sensors.*.fourcc",
    "sensors.*.sample_rate_hz",
    "sensors.*.baud",
    "joint.hop_secs",
    "joint.weights.*",
    "detect.most_regions",
    "detect.grow_share",
    "detect.suppression_iou",
    "events.median_windows",
    "events.exit_odds_ratio",
    "events.min_on_secs",
    "events.min_off_secs",
    "events.max_len_secs",
    "events.cooldown_secs",
    "events.update_secs",
    "events.moved_iou",
    "events.stale_secs",
    "remote.watch_secs",
    "remote.max_commands",
    "log.level",
];

/// Whether a topic may change this key.
#[must_use]
pub fn is_remote_key(key: &str) -> bool {
    may_change(&key.split('.').collect::<Vec<_>>())
}

fn may_change(path: &[&str]) -> bool {
    REMOTE_KEYS.iter().any(|allowed| {
        let mut levels = allowed.split('.');
        path.iter().all(|level| levels.next().is_some_and(|known| known == "*" || known == *level))
            && levels.next().is_none()
    })
}

/// A config file that was read once, so that changes by topic can be put over it.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    tree: BTreeMap<String, Node>,
}

impl ConfigFile {
    /// Reads and checks a config file; gives it and its settings.
    ///
    /// # Errors
    /// When it cannot be read, or with every problem in it.
    pub fn open(path: &Path) -> Result<(Self, Settings), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let findings = Findings::default();
        let file = Self { path: path.into(), tree: document::parse(&text, &findings) };
        let settings = file.resolved(file.tree.clone(), findings);
        match settings {
            Ok(settings) => Ok((file, settings)),
            Err(problems) => Err(ConfigError::Wrong { path: path.into(), problems }),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings with `changes` over the file, resolved and checked as the file is.
    ///
    /// # Errors
    /// Every problem: keys that no topic may change, keys that the file keeps for itself, and whatever the whole has of mistakes.
    pub fn settings_with(&self, changes: &Overlay, winner: Winner) -> Result<Settings, Vec<Problem>> {
        let refused: Vec<Problem> = changes.leaves().iter().filter_map(|leaf| self.refusal(leaf, winner)).collect();
        if !refused.is_empty() {
            return Err(refused);
        }
        self.resolved(self.merged(changes), Findings::default())
    }

    /// Of changes that were in force before, those that may still be made: the file may keep a key for itself by now.
    #[must_use]
    pub fn still_allowed(&self, changes: &Overlay, winner: Winner) -> Overlay {
        changes.only(|leaf| self.refusal(leaf, winner).is_none())
    }

    /// The config with `changes` as JSON, as written, without `[mqtt]`, whose user names concern nobody.
    #[must_use]
    pub fn json_with(&self, changes: &Overlay) -> String {
        let mut tree = self.merged(changes);
        tree.remove("mqtt");
        overlay::to_json(&tree).to_string()
    }

    fn refusal(&self, leaf: &Leaf<'_>, winner: Winner) -> Option<Problem> {
        let what = if !may_change(&leaf.path) {
            "cannot be changed by topic: change it in the config file and restart perceptd"
        } else if winner == Winner::File && overlay::has(&self.tree, &leaf.path) {
            "stands in the config file, which wins ([remote] winner)"
        } else {
            return None;
        };
        Some(Problem { line: None, key: leaf.key(), what: what.to_owned() })
    }

    fn merged(&self, changes: &Overlay) -> BTreeMap<String, Node> {
        let mut tree = self.tree.clone();
        changes.apply(&mut tree);
        tree
    }

    fn resolved(&self, tree: BTreeMap<String, Node>, findings: Findings) -> Result<Settings, Vec<Problem>> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let settings = resolve::resolve(tree, folder, &findings);
        let (problems, _) = findings.into_parts();
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogLevel, SourceSettings};
    use proptest::prelude::*;

    const TEXT: &str = "[robot]\nname = 'a'\n[pack]\npath = '.'\n[mqtt]\nusername = 'me'\n[log]\nlevel = 'warn'\n\
                        [sensors.heat]\ndriver = 'gy_mcu90640'\ndevice = '/dev/ttyS1'\n\
                        [sensors.mic]\ndriver = 'microphone'\n";

    fn file() -> (tempfile::TempDir, ConfigFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perceptd.toml");
        std::fs::write(&path, TEXT).unwrap();
        std::fs::write(folder.path().join("pack.toml"), "").unwrap();
        let (file, _) = ConfigFile::open(&path).unwrap();
        (folder, file)
    }

    fn with(changes: &str, winner: Winner) -> Result<Settings, Vec<String>> {
        let (_folder, file) = file();
        let settings = file.settings_with(&Overlay::parse(changes).unwrap(), winner);
        settings.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_what_is_on_the_list_can_be_changed() {
        let refused = "cannot be changed by topic: change it in the config file and restart perceptd";
        for key in ["mqtt.host", "mqtt.password_file", "robot.name", "pack.path", "sensors.mic.device", "state.folder"]
        {
            let nested = key.rsplit('.').fold("\"x\"".to_owned(), |inner, level| format!("{{\"{level}\":{inner}}}"));
            assert_eq!(with(&nested, Winner::Topic).unwrap_err(), [format!("{key}: {refused}")]);
        }
        for whole in [r#"{"sensors":null}"#, r#"{"sensors":{"mic":null}}"#, r#"{"log":{}}"#, r#"{"prompts":[]}"#] {
            assert!(with(whole, Winner::Topic).unwrap_err()[0].ends_with(refused), "{whole}");
        }
        let new_sensor = r#"{"sensors":{"x":{"driver":"command","command":["sh"]}}}"#;
        assert_eq!(with(new_sensor, Winner::Topic).unwrap_err().len(), 2);
    }

    #[test]
    fn changes_are_checked_as_the_file_is_and_every_problem_has_its_key() {
        let changes = r#"{"log":{"level":"loud"},"events":{"median_windows":2},"sensors":{"heat":{"baud":"x"}}}"#;
        let told = with(changes, Winner::Topic).unwrap_err();
        for expected in [
            "sensors.heat.baud: expected a whole number from 1200 to 4000000, found the text \"x\"",
            "events: `median_windows` is 2: a median needs an odd number",
            "log.level: `loud` is not known; known: error, warn, info, debug, trace",
        ] {
            assert!(told.iter().any(|problem| problem.ends_with(expected)), "{told:#?}");
        }
        assert_eq!(told.len(), 3, "{told:#?}");
    }

    #[test]
    fn a_sensor_is_turned_off_and_a_level_changed() {
        let settings = with(r#"{"log":{"level":"debug"},"sensors":{"mic":{"enabled":false}}}"#, Winner::Topic).unwrap();
        assert_eq!(settings.log, LogLevel::Debug);
        let SourceSettings::Sensors(on) = &settings.source else { panic!() };
        assert_eq!(on.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["heat"]);
        assert_eq!(settings.sensors_off.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["mic"]);
    }

    #[test]
    fn the_file_wins_where_it_is_told_to() {
        let told = with(r#"{"log":{"level":"debug"}}"#, Winner::File).unwrap_err();
        assert_eq!(told, ["log.level: stands in the config file, which wins ([remote] winner)"]);
        assert!(with(r#"{"events":{"min_on_secs":0.1}}"#, Winner::File).is_ok());
        let (_folder, file) = file();
        let kept = Overlay::parse(r#"{"log":{"level":"debug"},"events":{"min_on_secs":0.1}}"#).unwrap();
        assert_eq!(file.still_allowed(&kept, Winner::Topic), kept);
        let allowed = file.still_allowed(&kept, Winner::File);
        let settings = file.settings_with(&allowed, Winner::File).unwrap();
        assert_eq!((settings.log, settings.events.min_on_secs), (LogLevel::Warn, 0.1));
    }

    #[test]
    fn what_is_told_of_the_config_leaves_the_broker_out() {
        let (_folder, file) = file();
        let json = file.json_with(&Overlay::parse(r#"{"log":{"level":"info"}}"#).unwrap());
        assert!(json.contains(r#""level":"info""#) && !json.contains("mqtt") && !json.contains("username"), "{json}");
    }

    proptest! {
        #[test]
        fn no_overlay_reaches_beyond_the_list(section in "[a-z]{1,8}", key in "[a-z_]{1,8}", deep in proptest::bool::ANY) {
            let inner = if deep { format!("{{\"{key}\":{{\"{key}\":1}}}}") } else { format!("{{\"{key}\":1}}") };
            let (_folder, file) = file();
            let changes = Overlay::parse(&format!("{{\"{section}\":{inner}}}")).unwrap();
            let path: Vec<&str> = if deep { vec![&section, &key, &key] } else { vec![&section, &key] };
            if file.settings_with(&changes, Winner::Topic).is_ok() {
                prop_assert!(is_remote_key(&path.join(".")));
            }
            prop_assert_eq!(file.still_allowed(&changes, Winner::Topic).is_empty(), !is_remote_key(&path.join(".")));
        }
    }
}
