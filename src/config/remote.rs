//! What a topic may change: everything that is not on this list is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::document::{self, Node, Value};
use super::overlay::{self, Leaf, Overlay};
use super::problem::{Findings, Problem};
use super::{ConfigError, Settings, Winner, resolve};

/// The keys that a topic may change; `*` is any one level. Names, broker, credentials, paths, packs, devices and programs are not among
/// them: who can publish to the broker must not be able to make perceptd read, run or join anything else.
const REMOTE_KEYS: [&str; 32] = [
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

/// Texts that are told beside those of [`REMOTE_KEYS`]: names, drivers and other words of perceptd's own.
const SHOWN_TEXTS: [&str; 7] = [
    "robot.*",
    "sensors.*.driver",
    "sensors.*.modality",
    "sensors.*.output",
    "prompts.id",
    "prompts.in",
    "remote.winner",
];

/// What is told in the place of every other text.
pub const NOT_SHOWN: &str = "(not shown)";

/// Whether a topic may change this key.
#[must_use]
pub fn is_remote_key(key: &str) -> bool {
    may_change(&key.split('.').collect::<Vec<_>>())
}

fn may_change(path: &[&str]) -> bool {
    is_among(&REMOTE_KEYS, path)
}

fn is_among(keys: &[&str], path: &[&str]) -> bool {
    keys.iter().any(|allowed| {
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
        let (file, settings, problems) = Self::look(path)?;
        match problems.is_empty() {
            true => Ok((file, settings)),
            false => Err(ConfigError::Wrong { path: path.into(), problems }),
        }
    }

    /// As [`Self::open`], for whoever wants to look further than at the file alone: gives every problem in it, and beside them settings
    /// that have defaults, or nothing, for what is wrong.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(path: &Path) -> Result<(Self, Settings, Vec<Problem>), ConfigError> {
        let text = super::read(path)?;
        let findings = Findings::default();
        let file = Self { path: path.into(), tree: document::parse(&text, &findings) };
        let settings = resolve::resolve(file.tree.clone(), file.folder(), &findings);
        let (problems, _) = findings.into_parts();
        Ok((file, settings, problems))
    }

    /// What its relative paths count from.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether something stands under `key`, such as `prompts[0].audio`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.nodes_on_the_way(key).count() == key.split('.').count()
    }

    /// A problem with what stands under `key`, or, where the file has no such key, with what it would stand in.
    #[must_use]
    pub fn problem(&self, key: &str, what: String) -> Problem {
        let line = self.nodes_on_the_way(key).filter_map(|node| node.line).last();
        Problem { line, key: key.to_owned(), what }
    }

    /// What stands under the first level of `key`, then what under the next in it, as far as there is something.
    fn nodes_on_the_way<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Node> {
        let mut table = Some(&self.tree);
        key.split('.').map_while(move |level| {
            let (name, place) = level.split_once('[').map_or((level, None), |(name, place)| (name, Some(place)));
            let mut node = table.take()?.get(name)?;
            if let (Some(place), Value::List(items)) = (place, &node.value) {
                node = items.get(place.trim_end_matches(']').parse::<usize>().ok()?)?;
            }
            if let Value::Table(inner) = &node.value {
                table = Some(inner);
            }
            Some(node)
        })
    }

    /// The settings with `changes` over the file, resolved and checked as the file is.
    ///
    /// # Errors
    /// Every problem: keys that no topic may change, keys that the file keeps for itself, and whatever the whole has of mistakes.
    pub fn settings_with(&self, changes: &Overlay, winner: Winner) -> Result<Settings, Vec<Problem>> {
        let refused: Vec<Problem> = changes.leaves().iter().filter_map(|leaf| self.refusal(leaf, winner)).collect();
        let resolved = self.resolved(self.merged(&self.still_allowed(changes, winner)), Findings::default());
        if refused.is_empty() {
            return resolved;
        }
        // What is wrong with the rest is told at once too.
        Err(refused.into_iter().chain(resolved.err().unwrap_or_default()).collect())
    }

    /// Of changes that were in force before, those that may still be made: the file may keep a key for itself by now.
    #[must_use]
    pub fn still_allowed(&self, changes: &Overlay, winner: Winner) -> Overlay {
        changes.only(|leaf| self.refusal(leaf, winner).is_none())
    }

    /// The config with `changes` as JSON, as written, for everybody who may read the topic: without `[mqtt]`, and with [`NOT_SHOWN`] for
    /// texts that may hold a secret, as commands and addresses with a password do.
    #[must_use]
    pub fn json_with(&self, changes: &Overlay) -> String {
        let mut tree = self.merged(changes);
        tree.remove("mqtt");
        hide(&mut tree, &[]);
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
        let settings = resolve::resolve(tree, self.folder(), &findings);
        findings.into_result(settings)
    }
}

/// Takes out every text that is not known to be harmless. Numbers and flags are.
fn hide(tree: &mut BTreeMap<String, Node>, above: &[&str]) {
    for (key, node) in tree {
        hide_value(&mut node.value, &[above, &[key]].concat());
    }
}

fn hide_value(value: &mut Value, path: &[&str]) {
    match value {
        Value::Table(table) => hide(table, path),
        Value::List(items) => items.iter_mut().for_each(|item| hide_value(&mut item.value, path)),
        Value::Text(text) if !may_change(path) && !is_among(&SHOWN_TEXTS, path) => NOT_SHOWN.clone_into(text),
        _ => {}
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

    #[test]
    fn what_is_told_of_the_config_has_no_text_that_may_be_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perceptd.toml");
        let text = "[robot]\nname = 'a'\n[pack]\npath = '.'\n\
                    [sensors.cam]\ndriver = 'command'\ncommand = ['ffmpeg', '-i', 'rtsp://admin:hunter2@cam.local/']\n\
                    output = 'rgb24'\nwidth_px = 64\nheight_px = 48\n\
                    [sensors.web]\ndriver = 'http_mjpeg'\nurl = 'http://cam/?token=hunter2'\n\
                    [[prompts]]\nid = 'dog'\ntext = 'hunter2'\nin = ['image']\np_false = 0.1\n";
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("pack.toml"), "").unwrap();
        let (file, _) = ConfigFile::open(&path).unwrap();
        let json = file.json_with(&Overlay::parse(r#"{"sensors":{"cam":{"enabled":false}}}"#).unwrap());
        let hidden = format!("\"{NOT_SHOWN}\"");
        let expected = format!(
            "{{\"pack\":{{\"path\":{hidden}}},\
             \"prompts\":[{{\"id\":\"dog\",\"in\":[\"image\"],\"p_false\":0.1,\"text\":{hidden}}}],\
             \"robot\":{{\"name\":\"a\"}},\"sensors\":{{\
             \"cam\":{{\"command\":[{hidden},{hidden},{hidden}],\"driver\":\"command\",\"enabled\":false,\
             \"height_px\":48,\"output\":\"rgb24\",\"width_px\":64}},\
             \"web\":{{\"driver\":\"http_mjpeg\",\"url\":{hidden}}}}}}}"
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn keys_that_no_topic_may_change_hide_no_other_problem() {
        let changes = r#"{"mqtt":{"host":"evil"},"sensors":{"heat":{"baud":"x"}},"events":{"median_windows":2}}"#;
        let told = with(changes, Winner::Topic).unwrap_err();
        assert_eq!(told.len(), 3, "{told:#?}");
        for key in ["mqtt.host: ", "sensors.heat.baud: ", "events: "] {
            assert!(told.iter().any(|problem| problem.contains(key)), "{told:#?}");
        }
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
