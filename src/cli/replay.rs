//! `perceptd replay FILE`: what would have been found in a recording, without a broker.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{EXIT_USAGE, report};
use crate::config::{ReplaySettings, Settings, SourceSettings};
use crate::daemon::{self, Output, Replayed};
use crate::modality::{Modality, SensorId};
use crate::prompts::PartSource;
use crate::recording::{Speed, TopicSettings};
use crate::telemetry::{DropReason, SensorReading};

/// What is replayed, what is looked for, and where it is written.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The recording: perceptd's own, or a ROS 2 bag in MCAP.
    file: PathBuf,
    /// Take pack, prompts, windows, events and topics from this config.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    pack: super::Pack,
    /// Look for this, instead of the config's prompts: `audio:FILE`, `image:FILE` or `text:WORDS`. May be given several times.
    #[arg(long)]
    prompt: Vec<PartSource>,
    /// Senses in which these prompts are looked for.
    #[arg(
        long = "in",
        value_name = "SENSES",
        value_delimiter = ',',
        default_value = "image,audio",
        requires = "prompt"
    )]
    senses: Vec<Modality>,
    /// Wanted probability of a false alarm per window, of these prompts.
    #[arg(long, value_name = "P", requires = "prompt")]
    p_false: Option<f64>,
    /// A topic of another program's recording that is a sensor, such as `front=/camera/image_raw` or `heat=/lepton/image_raw:thermal`; instead
    /// of the config's. May be given several times.
    #[arg(long, value_name = "NAME=TOPIC[:SENSE]", value_parser = parse_topic)]
    topic: Vec<TopicSettings>,
    /// Times real time, or `max` for as fast as possible; the findings are the same.
    #[arg(long, default_value = "max", value_parser = super::parse_speed)]
    speed: Speed,
    /// Write to this file: JSON lines, or with `.mcap` a copy of the recording with what was found beside, for Foxglove [default: JSON lines
    /// on stdout].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave the vectors out: JSON lines of events alone.
    #[arg(long)]
    events: bool,
}

/// Replays, and says on stderr what came of it.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = match settings(&arguments) {
        Ok(settings) => settings,
        Err(error) => {
            report(&error);
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let output = output(arguments.out.clone(), arguments.events)?;
    let replayed = daemon::replay(&settings, output, &Arc::new(AtomicBool::new(false)))?;
    let mut errors = io::stderr().lock();
    // Nothing is left to tell when stderr is gone.
    drop(tell(&arguments.file, &replayed, &mut errors));
    Ok(super::exit(replayed.damage.is_none()))
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    let mut replay = ReplaySettings {
        recording: arguments.file.clone(),
        speed: arguments.speed,
        repeat: false,
        topics: arguments.topic.clone(),
    };
    let mut names = BTreeSet::new();
    let mut prompts = Vec::new();
    for source in &arguments.prompt {
        let mut prompt = super::prompt(source.clone(), &arguments.senses)?;
        prompt.p_false = arguments.p_false.unwrap_or(prompt.p_false);
        // A sound and a word for the same thing are told apart.
        let (stem, mut more) = (prompt.id.clone(), 1);
        while !names.insert(prompt.id.clone()) {
            more += 1;
            prompt.id = format!("{}-{more}", stem.get(..28).unwrap_or(&stem)).into();
        }
        prompts.push(prompt);
    }
    let Some(config) = &arguments.config else {
        return Ok(Settings::of_replay(arguments.pack.folder(), replay, prompts));
    };
    let mut settings = Settings::open(config)?;
    if let (SourceSettings::Replay(written), true) = (&settings.source, replay.topics.is_empty()) {
        replay.topics.clone_from(&written.topics);
    }
    settings.source = SourceSettings::Replay(replay);
    if let Some(pack) = &arguments.pack.pack {
        settings.pack.clone_from(pack);
    }
    if !prompts.is_empty() {
        settings.prompts = prompts;
    }
    Ok(settings)
}

fn output(out: Option<PathBuf>, events_only: bool) -> anyhow::Result<Output> {
    match out {
        Some(path) if path.extension().is_some_and(|extension| extension == "mcap") => {
            anyhow::ensure!(
                !events_only,
                "`--events` is for JSON lines: in an MCAP file vectors have topics of their own"
            );
            Ok(Output::Mcap(path))
        }
        to => Ok(Output::Lines { to, events_only }),
    }
}

/// `front=/camera/image_raw`, `heat=/lepton/image_raw:thermal`.
fn parse_topic(argument: &str) -> Result<TopicSettings, String> {
    let split = argument.split_once('=').filter(|(_, topic)| !topic.is_empty());
    let (name, topic) = split.ok_or("say NAME=TOPIC, such as front=/camera/image_raw")?;
    let sensor = SensorId::new(name).map_err(|why| why.to_string())?;
    match topic.rsplit_once(':') {
        Some((topic, sense)) => {
            let modality = sense.parse::<Modality>().map_err(|why| why.to_string())?;
            Ok(TopicSettings { modality: Some(modality), ..TopicSettings::new(sensor, topic) })
        }
        None => Ok(TopicSettings::new(sensor, topic)),
    }
}

/// One line, and one for each sensor of which something was lost.
fn tell(file: &Path, replayed: &Replayed, to: &mut impl Write) -> io::Result<()> {
    let windows: Vec<String> =
        replayed.sensors.iter().map(|(sensor, reading)| format!("{} of {sensor}", reading.embeddings)).collect();
    let stopped = if replayed.is_stopped { "; stopped before the end" } else { "" };
    let windows = if windows.is_empty() { "no".to_owned() } else { windows.join(", ") };
    let (secs, events) = (replayed.secs, replayed.events);
    writeln!(to, "{}: {secs:.1} s, {windows} windows, {events} event(s){stopped}", file.display())?;
    for (sensor, reading) in replayed.sensors.iter().filter(|(_, reading)| !reading.drops.is_empty()) {
        let drops: Vec<String> =
            reading.drops.iter().map(|(reason, count)| format!("{count} {}", reason.name())).collect();
        writeln!(to, "{sensor}: dropped {}{}", drops.join(", "), hint(reading))?;
    }
    match &replayed.damage {
        Some(damage) => writeln!(to, "perceptd: {damage}"),
        None => Ok(()),
    }
}

fn hint(reading: &SensorReading) -> &'static str {
    let unstamped =
        reading.drops.contains_key(&DropReason::Late) || reading.drops.contains_key(&DropReason::Undecodable);
    if reading.windows == 0 && unstamped {
        "; nothing came in time: if its clock is not the recorder's, say `stamp = \"arrival\"` in [replay.topics]"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_parsed() {
        let heat = parse_topic("heat=/lepton/image_raw:thermal").unwrap();
        assert_eq!((heat.topic.as_str(), heat.modality), ("/lepton/image_raw", Some(Modality::Thermal)));
        assert_eq!(parse_topic("front=/camera").unwrap().modality, None);
        for bad in ["/camera", "Front=/camera", "front=", "front=/camera:smell"] {
            assert!(parse_topic(bad).is_err(), "{bad}");
        }
    }
}
