//! Recording live: the sensors of the config into a file, without encoders and broker.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{Named, SENSORS_STOP_WITHIN, STOP_WITHIN, SUPERVISE_EVERY, StopSignals, pipes, spawn};
use crate::config::{Settings, SourceSettings};
use crate::modality::SensorId;
use crate::pipe::Gauge;
use crate::recording::{self, RecordingError, RecordingWriter};
use crate::sensors::{self, Sample};
use crate::telemetry::{SensorReading, Telemetry};
use crate::time::{Timeline, now};

/// What was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Every sensor of the config: samples in the file, and the sensor's counters.
    pub sensors: Vec<(SensorId, u64, SensorReading)>,
}

/// Writes what the sensors of `settings` give to `out`, a file that must not be there, until `duration` has passed, `stop` is set or a
/// signal comes.
///
/// # Errors
/// When the file cannot be created or written; what was written stays. A device that is absent is no error: it is retried, as always.
pub fn record(
    settings: &Settings,
    out: &Path,
    duration: Option<Duration>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Recorded> {
    let SourceSettings::Sensors(sensors) = &settings.source else {
        bail!("this config replays a recording: name one with [sensors]");
    };
    let _signals = StopSignals::in_background(stop)?;
    let timeline = Timeline::of_this_boot().context("cannot read the boot id")?;
    let mut writer = RecordingWriter::create_new(out, &timeline)?;
    for sensor in sensors {
        writer.add_sensor(&sensor.id, sensor.driver.modality())?;
    }
    let telemetry = Telemetry::default();
    let (input, output) = pipes::samples(false, &telemetry);
    let samples = output.gauge();
    let (tell, ended) = std::sync::mpsc::sync_channel(1);
    // Whoever asked is gone only when it failed itself.
    let recorder = spawn("recording", move || drop(tell.send(recording::record(writer, &output, None))))?;
    let mut threads = Vec::new();
    for sensor in sensors {
        let (sensor, input, stop) = (sensor.clone(), input.clone(), Arc::clone(stop));
        let counters = telemetry.sensor(&sensor.id);
        threads.push(spawn(&format!("sensor-{}", sensor.id), move || sensors::run(&sensor, counters, input, &stop))?);
    }
    drop(input);
    let is_cut_off = supervise(&recorder, &samples, duration, stop)?;
    recorder.join()?;
    let recorded = ended.recv().context("the recording ended without a word")?;
    let written = written(recorded, out)?;
    // Otherwise all have ended, or are about to: the recorder has waited for them.
    let is_joined = |thread: &Named| !is_cut_off || thread.handle.is_finished();
    let (ended, stuck): (Vec<_>, Vec<_>) = threads.into_iter().partition(is_joined);
    ended.into_iter().try_for_each(Named::join)?;
    for sensor in stuck {
        tracing::warn!("the thread of this sensor does not end and is left behind: {}", sensor.name);
    }
    let sensors = telemetry.read().into_iter().map(|(id, reading)| {
        let samples = written.samples.get(&id).copied().unwrap_or(0);
        (id, samples, reading)
    });
    Ok(Recorded { sensors: sensors.collect() })
}

/// Waits for the end of the recorder, which ends when the sensors have, or is cut off from those that do not: whether it was.
fn supervise(
    recorder: &Named,
    samples: &Gauge<Sample>,
    duration: Option<Duration>,
    stop: &AtomicBool,
) -> anyhow::Result<bool> {
    let until = duration.map(|duration| now() + duration);
    let (mut stopping_since, mut is_cut_off) = (None, false);
    while !recorder.handle.is_finished() {
        std::thread::park_timeout(SUPERVISE_EVERY);
        let time = now();
        if until.is_some_and(|until| time >= until) {
            stop.store(true, Ordering::Relaxed);
        }
        if !stop.load(Ordering::Relaxed) {
            continue;
        }
        let since = *stopping_since.get_or_insert(time);
        if time > since + SENSORS_STOP_WITHIN {
            samples.close();
            is_cut_off = true;
        }
        if time > since + STOP_WITHIN {
            bail!("the recorder did not stop within {STOP_WITHIN:?}: the recording has no index, but all its samples");
        }
    }
    // A recorder that failed ends the sensors.
    stop.store(true, Ordering::Relaxed);
    Ok(is_cut_off)
}

fn written(recorded: Result<recording::Recorded, RecordingError>, out: &Path) -> anyhow::Result<recording::Recorded> {
    recorded.with_context(|| format!("the recording ends here; what {} holds can be replayed", out.display()))
}
