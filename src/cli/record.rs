//! `perceptd record`: the sensors of a config, or a folder of parts, into an MCAP file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::config::Settings;
use crate::daemon::{self, Recorded};
use crate::modality::SensorId;
use crate::recording::{RecordingError, parts};
use crate::telemetry::{DropReason, SensorReading};

/// Where the installed service has its config.
const USUAL_CONFIG: &str = "/etc/perceptd/perceptd.toml";

/// What to record, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The MCAP file to write; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The config that names the sensors; a model pack and the robot's name are not needed.
    #[arg(long, value_name = "FILE", default_value = USUAL_CONFIG)]
    config: PathBuf,
    /// How long to record, such as `60s` [default: until Ctrl-C].
    #[arg(long = "for", value_name = "TIME", value_parser = super::parse_duration)]
    duration: Option<Duration>,
    /// Make the recording from a folder instead: `camera/`, `thermal/`, `depth/`, `mic.wav`, `imu.csv`.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "duration"])]
    from: Option<PathBuf>,
}

/// Records, and says on `out` what the file holds.
pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &arguments.from {
        writeln!(out, "{}", from_parts(dir, &arguments.out)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = Settings::open_for_record(&arguments.config)?;
    let stop = Arc::new(AtomicBool::new(false));
    let recorded = daemon::record(&settings, &arguments.out, arguments.duration, &stop)?;
    writeln!(out, "{}: {}", arguments.out.display(), told(&recorded))?;
    Ok(ExitCode::SUCCESS)
}

fn from_parts(dir: &Path, out: &Path) -> Result<String, RecordingError> {
    let made = parts::make(dir, out)?;
    for note in &made.notes {
        // Nothing is left to tell when stderr is gone.
        drop(writeln!(io::stderr(), "{note}"));
    }
    let counts: Vec<String> = made.samples.iter().map(|(sensor, count)| format!("{count} of {sensor}")).collect();
    Ok(format!("{}: {} samples", out.display(), counts.join(", ")))
}

fn told(recorded: &Recorded) -> String {
    let of = |(sensor, samples, reading): &(SensorId, u64, SensorReading)| {
        let lost: Vec<String> = reading.drops.iter().map(|(reason, count)| lost_in_words(*reason, *count)).collect();
        let reason = Some(reading.state.reason().to_owned()).filter(|reason| !reason.is_empty());
        let notes: String = lost.into_iter().chain(reason).map(|note| format!(" ({note})")).collect();
        format!("{samples} of {sensor}{notes}")
    };
    format!("{} samples", recorded.sensors.iter().map(of).collect::<Vec<_>>().join(", "))
}

fn lost_in_words(reason: DropReason, count: u64) -> String {
    match reason {
        DropReason::SensorPipeFull => format!("{count} more were lost: the disk is too slow"),
        DropReason::Undecodable => format!("{count} more came damaged or unreadable"),
        other => format!("{count} more were lost: {}", other.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::SensorCounters;

    #[test]
    fn the_disk_is_blamed_for_what_it_lost_alone() {
        let told_of = |drops: &[DropReason]| {
            let counters = SensorCounters::default();
            drops.iter().for_each(|reason| counters.count_drop(*reason));
            let sensors = vec![(SensorId::new("imu").unwrap(), 7, counters.read())];
            told(&Recorded { sensors })
        };
        assert_eq!(told_of(&[]), "7 of imu samples");
        let damaged = told_of(&[DropReason::Undecodable; 3]);
        assert!(damaged.contains("(3 more came damaged or unreadable)") && !damaged.contains("disk"), "{damaged}");
        let both = told_of(&[DropReason::Undecodable, DropReason::SensorPipeFull, DropReason::SensorPipeFull]);
        assert!(
            both.contains("(2 more were lost: the disk is too slow)") && both.contains("1 more came damaged"),
            "{both}"
        );
    }
}
