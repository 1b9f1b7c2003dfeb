//! `perceptd config`: a robot's config from a shell, by topic.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::{Map, Value};

use super::operator::{ANOTHER, Robots, STILL_TRIED, Session, Word};
use crate::config::{NOT_SHOWN, Overlay, is_remote_key};
use crate::files::{MIB, read_text_at_most};
use crate::publish::{HeardConfig, MAX_GENERATION, Reported};

/// What to do with a robot's config.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show the config in force.
    Get {
        #[command(flatten)]
        robots: Robots,
        /// Show all that is reported, as one JSON line a robot.
        #[arg(long)]
        json: bool,
    },
    /// Change keys, and wait until the robot has taken the change or gone back.
    Set {
        /// What to change, such as `sensors.front.rate_hz=10`; `KEY=null` takes a key away, which gives it its default.
        #[arg(required_unless_present_any = ["file", "whole"], value_name = "KEY=VALUE")]
        changes: Vec<String>,
        /// A JSON merge patch instead.
        #[arg(long, value_name = "FILE", conflicts_with = "changes")]
        file: Option<PathBuf>,
        /// Forget what earlier changes by topic did: the config file and this alone; without changes, the file alone.
        #[arg(long)]
        whole: bool,
        #[command(flatten)]
        robots: Robots,
    },
    /// Show what topics have changed in the config file, or what these changes would.
    Diff {
        /// Changes that are not made, as for `set`.
        #[arg(value_name = "KEY=VALUE")]
        changes: Vec<String>,
        #[command(flatten)]
        robots: Robots,
    },
    /// Go back to what was in force before the last change.
    Rollback {
        #[command(flatten)]
        robots: Robots,
    },
}

/// Does it; tells whether every robot did.
pub(super) async fn run(command: ConfigCommand, out: &mut dyn Write) -> anyhow::Result<bool> {
    match command {
        ConfigCommand::Get { robots, json } => {
            for (robot, config) in &robots.find().await?.robots {
                if json {
                    let line = serde_json::json!({ "robot": robot, "config": config });
                    writeln!(out, "{line}")?;
                } else {
                    writeln!(out, "{}", shown(robot, config)?)?;
                }
            }
            Ok(true)
        }
        ConfigCommand::Set { changes, file, whole, robots } => {
            let patch = match file {
                Some(file) => read_patch(&file)?,
                None => patch_of(&changes)?,
            };
            wish(&mut robots.find().await?, out, |_| (whole, patch.clone())).await
        }
        ConfigCommand::Diff { changes, robots } => {
            let patch = patch_of(&changes)?;
            for (robot, config) in &robots.find().await?.robots {
                let differs = differences(config, &patch)?;
                let none = if differs.is_empty() { ": no difference" } else { "" };
                writeln!(out, "{robot}{none}")?;
                for line in differs {
                    writeln!(out, "  {line}")?;
                }
            }
            Ok(true)
        }
        ConfigCommand::Rollback { robots } => {
            let before = |config: &HeardConfig| match config.changes_before_json.as_str() {
                "" => (true, "{}".to_owned()),
                json => (true, json.to_owned()),
            };
            wish(&mut robots.find().await?, out, before).await
        }
    }
}

/// Wishes each robot what `patch` gives, whole or not, and waits for the answers.
async fn wish(
    session: &mut Session,
    out: &mut dyn Write,
    patch: impl Fn(&HeardConfig) -> (bool, String),
) -> anyhow::Result<bool> {
    let mut wished: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for (robot, config) in &session.robots {
        let generation = next_generation(robot, config)?;
        let (whole, json) = patch(config);
        let digest = session.operator().wish_config(robot, generation, config.generation_in_force, whole, json)?;
        wished.insert(robot.clone(), (generation, digest));
    }
    let robots: BTreeSet<String> = wished.keys().cloned().collect();
    session.wait(robots, out, |robot, report| wished.get(robot).map_or(Word::None, |wish| answer(wish, report))).await
}

/// The generation of the next wish.
fn next_generation(robot: &str, config: &HeardConfig) -> anyhow::Result<u64> {
    let last = config.generation.max(config.generation_in_force);
    last.checked_add(1).filter(|next| *next <= MAX_GENERATION).with_context(|| {
        format!(
            "{robot} has had a wish of generation {last}, the highest that there may be: stop perceptd there, remove \
             remote/config.json from its state folder and clear its config/desired at the broker"
        )
    })
}

/// What a report says of the wish of this generation and digest. Every wish has an answer of its own; those to others decide nothing.
fn answer((generation, digest): &(u64, String), report: &Reported) -> Word {
    let Reported::Config(config) = report else { return Word::None };
    if config.digest != *digest {
        let is_later = config.generation >= *generation && config.state != "pending";
        return if is_later { Word::SoFar(ANOTHER) } else { Word::None };
    }
    let problems: String = config.problems.iter().map(|problem| format!("\n  {problem}")).collect();
    match config.state.as_str() {
        "pending" => Word::SoFar(STILL_TRIED),
        "applied" => Word::Last(true, format!("applied as generation {generation}")),
        "rolled_back" => Word::Last(false, format!("rolled back:{problems}")),
        _ => Word::Last(false, format!("rejected:{problems}")),
    }
}

fn shown(robot: &str, config: &HeardConfig) -> anyhow::Result<String> {
    let in_force: Value = serde_json::from_str(&config.in_force_json).context("the robot's report is no JSON")?;
    let source = match config.generation_in_force {
        0 => format!("{} alone", config.file),
        generation => format!("{}, changed by topic (generation {generation})", config.file),
    };
    let last = match config.state.as_str() {
        "unspecified" => String::new(),
        state => format!("; last wish: generation {} {}", config.generation, state.replace('_', " ")),
    };
    let mut text = format!("# {robot}: {source}{last}");
    for problem in &config.problems {
        text.push_str(&format!("\n# {problem}"));
    }
    for (key, value) in flat(&in_force) {
        text.push_str(&format!("\n{key} = {value}"));
    }
    Ok(text)
}

/// What topics changed, or what `patch` would: `key: old → new`.
fn differences(config: &HeardConfig, patch: &str) -> anyhow::Result<Vec<String>> {
    let read = |json: &str| -> anyhow::Result<Value> {
        if json.is_empty() { Ok(Value::Object(Map::new())) } else { Ok(serde_json::from_str(json)?) }
    };
    let patch = read(patch)?;
    let is_asked = patch.as_object().is_some_and(|patch| !patch.is_empty());
    if !is_asked {
        return Ok(flat(&read(&config.changes_json)?)
            .into_iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect());
    }
    let in_force: BTreeMap<String, String> = flat(&read(&config.in_force_json)?).into_iter().collect();
    let lines = flat(&patch).into_iter().filter_map(|(key, new)| {
        let (absent, remark) = match is_remote_key(&key) {
            true => ("(default)", ""),
            false => (NOT_SHOWN, "   (cannot be changed by topic)"),
        };
        let old = in_force.get(&key).map_or(absent, String::as_str);
        let new = if new == "null" { "(default)" } else { new.as_str() };
        (old != new).then(|| format!("{key}: {old} → {new}{remark}"))
    });
    Ok(lines.collect())
}

/// Every key with its value, in order.
fn flat(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match value {
                Value::Object(inner) if !inner.is_empty() => {
                    flat(value).into_iter().map(|(below, value)| (format!("{key}.{below}"), value)).collect()
                }
                _ => vec![(key.clone(), value.to_string())],
            })
            .collect(),
        other => vec![(String::new(), other.to_string())],
    }
}

fn read_patch(file: &Path) -> anyhow::Result<String> {
    let text = read_text_at_most(file, MIB).with_context(|| format!("cannot read {}", file.display()))?;
    anyhow::ensure!(!text.trim().is_empty(), "{} is empty: write {{}} for no change", file.display());
    match Overlay::parse(&text) {
        Ok(_) => Ok(text),
        Err(problem) => bail!("{}: {problem}", file.display()),
    }
}

/// `a.b=1` and the like as a JSON merge patch. What is no JSON value is a text, so that quotes are seldom needed.
fn patch_of(changes: &[String]) -> anyhow::Result<String> {
    let mut patch = Map::new();
    for change in changes {
        let Some((key, value)) = change.split_once('=') else { bail!("`{change}` is no change: write KEY=VALUE") };
        let value = serde_json::from_str(value).unwrap_or_else(|_no_json| Value::from(value));
        put(&mut patch, key.trim(), value).with_context(|| format!("`{change}`"))?;
    }
    Ok(Value::Object(patch).to_string())
}

fn put(patch: &mut Map<String, Value>, key: &str, value: Value) -> anyhow::Result<()> {
    let (level, below) = key.split_once('.').map_or((key, None), |(level, below)| (level, Some(below)));
    anyhow::ensure!(!level.is_empty(), "a key has no empty levels: write for example log.level=debug");
    let Some(below) = below else {
        patch.insert(level.to_owned(), value);
        return Ok(());
    };
    match patch.entry(level).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => put(inner, below, value),
        _ => bail!("`{level}` is given a value as well as keys below it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(words: &[&str]) -> anyhow::Result<String> {
        patch_of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn changes_are_written_as_key_and_value() {
        let patch = changes(&["log.level=debug", "sensors.front.rate_hz=10", "sensors.front.enabled=false", "a=null"]);
        let expected = r#"{"a":null,"log":{"level":"debug"},"sensors":{"front":{"enabled":false,"rate_hz":10}}}"#;
        assert_eq!(patch.unwrap(), expected);
        for bad in [&["log.level"][..], &["a.=1"], &["=1"], &["a=1", "a.b=2"]] {
            assert!(changes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn differences_name_old_and_new() {
        let config = HeardConfig {
            changes_json: r#"{"log":{"level":"warn"}}"#.to_owned(),
            in_force_json: r#"{"log":{"level":"warn"},"robot":{"name":"a"}}"#.to_owned(),
            ..HeardConfig::default()
        };
        assert_eq!(differences(&config, "{}").unwrap(), ["log.level = \"warn\""]);
        let patch = r#"{"log":{"level":"info"},"mqtt":{"port":1},"robot":{"name":"b"},"events":{"min_on_secs":1}}"#;
        let told = differences(&config, patch);
        assert_eq!(
            told.unwrap(),
            [
                "events.min_on_secs: (default) → 1",
                "log.level: \"warn\" → \"info\"",
                "mqtt.port: (not shown) → 1   (cannot be changed by topic)",
                "robot.name: \"a\" → \"b\"   (cannot be changed by topic)",
            ]
        );
    }

    #[test]
    fn generations_count_up_and_end() {
        let config =
            |generation, generation_in_force| HeardConfig { generation, generation_in_force, ..HeardConfig::default() };
        assert_eq!(next_generation("a", &config(3, 2)).unwrap(), 4);
        assert_eq!(next_generation("a", &config(2, 7)).unwrap(), 8);
        assert_eq!(next_generation("a", &config(MAX_GENERATION - 1, 0)).unwrap(), MAX_GENERATION);
        for last in [MAX_GENERATION, u64::MAX] {
            let error = next_generation("rover", &config(1, last)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("rover has had a wish of generation {last}")), "{error}");
        }
    }

    #[test]
    fn only_the_answer_to_this_wish_counts() {
        let heard = |generation, state: &str, digest: &str| {
            let (state, digest) = (state.to_owned(), digest.to_owned());
            let problems = vec!["log.level: no".to_owned()];
            Reported::Config(HeardConfig { generation, state, digest, problems, ..HeardConfig::default() })
        };
        let wish = (3, "d".to_owned());
        let another = Word::SoFar(ANOTHER);
        for (report, word) in [
            (heard(2, "applied", "c"), Word::None),
            (heard(3, "pending", "e"), Word::None),
            (heard(3, "pending", "d"), Word::SoFar(STILL_TRIED)),
            (heard(3, "rejected", "e"), another.clone()),
            (heard(4, "applied", "e"), another),
            (heard(3, "applied", "d"), Word::Last(true, "applied as generation 3".to_owned())),
            (heard(3, "rejected", "d"), Word::Last(false, "rejected:\n  log.level: no".to_owned())),
            (heard(3, "rolled_back", "d"), Word::Last(false, "rolled back:\n  log.level: no".to_owned())),
        ] {
            assert_eq!(answer(&wish, &report), word, "{report:?}");
        }
    }
}
