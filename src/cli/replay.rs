//! `perceptd replay FILE`: what would have been found in a recording, without a broker.

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
use crate::recording::{self, Speed, Tally, TopicSettings};
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
    #[arg(long, value_name = "P", requires = "prompt", value_parser = super::parse_p_false)]
    p_false: Option<f64>,
    /// A topic of another program's recording that is a sensor, such as `front=/camera/image_raw` or `heat=/lepton/image_raw:thermal`; instead
    /// of the config's. May be given several times.
    #[arg(long, value_name = "NAME=TOPIC[:SENSE]", value_parser = parse_topic)]
    topic: Vec<TopicSettings>,
    /// Times real time, or `max` for as fast as possible; the findings are the same.
    #[arg(long, default_value = "max", value_parser = super::parse_speed)]
    speed: Speed,
    /// Write to this file, which must not be there yet: JSON lines, or with `.mcap` a copy of the recording with what was found beside, for Foxglove [default: JSON lines
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
    Ok(super::exit(replayed.damage.is_none() && !is_barren(&replayed) && fruitless(&replayed).next().is_none()))
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    if let Some(what) = recording::conflict(&arguments.topic) {
        anyhow::bail!("--topic: {what}");
    }
    let mut replay = ReplaySettings {
        recording: arguments.file.clone(),
        speed: arguments.speed,
        repeat: false,
        topics: arguments.topic.clone(),
    };
    let mut prompts = super::prompts(&arguments.prompt, &arguments.senses);
    for prompt in &mut prompts {
        prompt.p_false = arguments.p_false.unwrap_or(prompt.p_false);
    }
    let Some(config) = &arguments.config else {
        return Ok(Settings::of_replay(arguments.pack.folder(), replay, prompts));
    };
    let mut settings = Settings::open_for_replay(config, &arguments.file, &arguments.pack.folder())?;
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
    for (sensor, tally) in &replayed.tallies {
        if let Some(why) = &tally.first_fault {
            let (unreadable, all) = (tally.unreadable, tally.given + tally.unreadable);
            let (topic, sense) = (&tally.topic, tally.modality);
            writeln!(to, "{sensor}: {unreadable} of {all} messages of {topic} could not be read as {sense}: {why}")?;
        }
    }
    for (sensor, tally) in fruitless(replayed) {
        writeln!(to, "perceptd: nothing came of {sensor} ({})", tally.topic)?;
    }
    if is_barren(replayed) && fruitless(replayed).next().is_none() {
        writeln!(to, "perceptd: nothing came of it: no sensor gave enough for a window")?;
    }
    match &replayed.damage {
        Some(damage) => writeln!(to, "perceptd: {damage}"),
        None => Ok(()),
    }
}

/// Topics that were named and gave nothing: whoever named them is wrong about them. And sensors of perceptd's own recordings all of whose
/// samples are useless; one that gave none, or too few for a window, is no fault there. What was stopped may not have come to them.
fn fruitless(replayed: &Replayed) -> impl Iterator<Item = (&SensorId, &Tally)> {
    let of = |sensor: &SensorId| replayed.sensors.iter().find(|(id, _)| id == sensor).map(|(_, reading)| reading);
    let is_fruitless = move |sensor: &SensorId, tally: &Tally| match of(sensor) {
        Some(reading) if reading.embeddings > 0 => false,
        reading => tally.is_mapped || tally.unreadable > 0 || reading.is_some_and(is_useless),
    };
    replayed.tallies.iter().filter(move |(sensor, tally)| !replayed.is_stopped && is_fruitless(sensor, tally))
}

/// Whether a whole recording gave not one vector.
fn is_barren(replayed: &Replayed) -> bool {
    !replayed.is_stopped
        && replayed.damage.is_none()
        && replayed.sensors.iter().all(|(_, reading)| reading.embeddings == 0)
}

/// Whether there was no window, and samples were dropped for what they are.
fn is_useless(reading: &SensorReading) -> bool {
    let what = [DropReason::Late, DropReason::Early, DropReason::Undecodable, DropReason::NotFinite];
    reading.windows == 0 && what.iter().any(|reason| reading.drops.contains_key(reason))
}

/// What to do when all came too late or from the future.
fn hint(reading: &SensorReading) -> &'static str {
    let has = |reason| reading.drops.contains_key(&reason);
    if reading.windows == 0 && (has(DropReason::Late) || has(DropReason::Early)) {
        "; nothing came in time: if its clock is not the recorder's, say `stamp = \"arrival\"` in [replay.topics]"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::SensorCounters;

    fn tally(is_mapped: bool, given: u64) -> Tally {
        let topic = "/camera".to_owned();
        Tally { topic, modality: Modality::Depth, is_mapped, given, unreadable: 60 - given, first_fault: None }
    }

    fn id(name: &str) -> SensorId {
        SensorId::new(name).unwrap()
    }

    /// A sensor that lost one sample for this reason, and embedded so many windows.
    fn sensor(name: &str, reason: DropReason, embeddings: u64) -> (SensorId, SensorReading) {
        let counters = SensorCounters::default();
        counters.count_drop(reason);
        (0..embeddings).for_each(|_| counters.count_embedding(1));
        (id(name), counters.read())
    }

    fn replayed(sensors: Vec<(SensorId, SensorReading)>, tallies: Vec<(&str, Tally)>) -> Replayed {
        let tallies = tallies.into_iter().map(|(name, tally)| (id(name), tally)).collect();
        Replayed { secs: 6.0, events: 0, sensors, is_stopped: false, damage: None, tallies }
    }

    fn said(replayed: &Replayed) -> String {
        let mut said = Vec::new();
        tell(Path::new("bag.mcap"), replayed, &mut said).unwrap();
        String::from_utf8(said).unwrap()
    }

    #[test]
    fn topics_and_sensors_that_give_nothing_are_told() {
        let unreadable = Tally { first_fault: Some("it is no depth".to_owned()), ..tally(true, 0) };
        let sensors = vec![
            sensor("late", DropReason::Late, 0),
            sensor("blank", DropReason::NotFinite, 0),
            sensor("slow", DropReason::TooIncomplete, 0),
            sensor("some", DropReason::NotFinite, 1),
            sensor("own-blank", DropReason::NotFinite, 0),
            sensor("own-slow", DropReason::TooIncomplete, 0),
        ];
        let tallies = vec![
            ("none", unreadable),
            ("late", tally(true, 60)),
            ("blank", tally(true, 60)),
            ("slow", tally(true, 60)),
            ("some", tally(true, 60)),
            ("own-blank", tally(false, 60)),
            ("own-slow", tally(false, 60)),
            ("own-unheard", Tally { unreadable: 0, ..tally(false, 0) }),
        ];
        let mut replayed = replayed(sensors, tallies);
        let told = "none: 60 of 60 messages of /camera could not be read as depth: it is no depth\n\
                    perceptd: nothing came of blank (/camera)\nperceptd: nothing came of late (/camera)\n\
                    perceptd: nothing came of none (/camera)\nperceptd: nothing came of own-blank (/camera)\n\
                    perceptd: nothing came of slow (/camera)\n";
        let said = said(&replayed);
        assert!(said.ends_with(told), "{said}");
        replayed.is_stopped = true;
        assert_eq!(fruitless(&replayed).count(), 0);
    }

    #[test]
    fn a_recording_that_gives_nothing_at_all_is_told() {
        let short = replayed(vec![sensor("imu", DropReason::TooIncomplete, 0)], vec![("imu", tally(false, 60))]);
        let some = replayed(vec![sensor("imu", DropReason::TooIncomplete, 1)], vec![("imu", tally(false, 60))]);
        for (replayed, nothing) in [(&short, true), (&replayed(Vec::new(), Vec::new()), true), (&some, false)] {
            let said = said(replayed);
            assert_eq!(said.contains("perceptd: nothing came of it: no sensor gave enough"), nothing, "{said}");
            assert_eq!(is_barren(replayed), nothing);
        }
        assert!(!is_barren(&Replayed { is_stopped: true, ..short }));
    }

    #[test]
    fn another_clock_is_blamed_for_what_comes_at_the_wrong_time_alone() {
        let blames = |reason| hint(&sensor("mic", reason, 0).1).contains("its clock is not the recorder's");
        assert!(blames(DropReason::Late) && blames(DropReason::Early));
        assert!(!blames(DropReason::Undecodable) && !blames(DropReason::NotFinite));
    }

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
