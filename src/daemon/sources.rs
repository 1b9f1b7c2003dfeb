//! The sensors' threads: each is started and stopped by itself, and no other notices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Named, spawn};
use crate::modality::SensorId;
use crate::pipe::Sender;
use crate::sensors::{self, Sample, SensorSettings};
use crate::telemetry::Telemetry;

/// A sensor's thread, and what tells it to end.
struct Source {
    settings: SensorSettings,
    stop: Arc<AtomicBool>,
    thread: Named,
}

/// The threads of all sensors. The pipe to the windows stays open as long as this does.
pub(super) struct Sources {
    telemetry: Telemetry,
    output: Option<Sender<Sample>>,
    running: BTreeMap<SensorId, Source>,
    /// Told to end and not yet ended.
    leaving: Vec<Named>,
}

impl Sources {
    /// No sensor yet; with no `output`, as in a replay, there never is one.
    pub(super) const fn new(telemetry: Telemetry, output: Option<Sender<Sample>>) -> Self {
        Self { telemetry, output, running: BTreeMap::new(), leaving: Vec::new() }
    }

    /// Starts a sensor. If one of the same name runs, the new thread lets it end first: a device has one owner.
    pub(super) fn start(&mut self, settings: SensorSettings) -> anyhow::Result<()> {
        let Some(output) = self.output.clone() else { return Ok(()) };
        let before = self.running.remove(&settings.id).map(|source| {
            source.stop.store(true, Ordering::Relaxed);
            source.thread
        });
        let stop = Arc::new(AtomicBool::new(false));
        let counters = self.telemetry.sensor(&settings.id);
        let (name, told, sensor) = (format!("sensor-{}", settings.id), Arc::clone(&stop), settings.clone());
        let live = move || {
            if let Some(Err(error)) = before.map(Named::join) {
                tracing::error!("{error:#}");
            }
            sensors::run(&sensor, counters, output, &told);
        };
        let thread = spawn(&name, live)?;
        self.running.insert(settings.id.clone(), Source { settings, stop, thread });
        Ok(())
    }

    /// Tells a sensor to end; its thread is waited for at the end.
    pub(super) fn stop(&mut self, sensor: &SensorId) {
        if let Some(source) = self.running.remove(sensor) {
            source.stop.store(true, Ordering::Relaxed);
            self.leaving.push(source.thread);
        }
    }

    /// Whether there never is a sensor, for a recording is replayed.
    pub(super) const fn are_recorded(&self) -> bool {
        self.output.is_none()
    }

    /// Closes a sensor's device and opens it again; tells whether there is such a sensor.
    pub(super) fn restart(&mut self, sensor: &SensorId) -> anyhow::Result<bool> {
        let Some(settings) = self.running.get(sensor).map(|source| source.settings.clone()) else { return Ok(false) };
        self.start(settings).map(|()| true)
    }

    /// Tells every sensor to end, and lets the windows' pipe close.
    pub(super) fn stop_all(&mut self) {
        self.output = None;
        for source in std::mem::take(&mut self.running).into_values() {
            source.stop.store(true, Ordering::Relaxed);
            self.leaving.push(source.thread);
        }
    }

    /// Joins what has ended; the first failure of a thread, among them one that ended without being told to.
    pub(super) fn reap(&mut self) -> anyhow::Result<()> {
        let dead: Vec<SensorId> =
            self.running.iter().filter(|(_, s)| s.thread.handle.is_finished()).map(|(id, _)| id.clone()).collect();
        for sensor in dead {
            if let Some(source) = self.running.remove(&sensor) {
                source.thread.join()?;
                anyhow::ensure!(self.output.is_none(), "the thread of sensor {sensor} ended by itself");
            }
        }
        let (ended, leaving) = std::mem::take(&mut self.leaving).into_iter().partition(|t| t.handle.is_finished());
        self.leaving = leaving;
        ended.into_iter().try_for_each(Named::join)
    }

    /// Waits no longer for threads that were told to end and have not; their names.
    pub(super) fn leave(&mut self) -> Vec<String> {
        self.leaving.extract_if(.., |thread| !thread.handle.is_finished()).map(|thread| thread.name).collect()
    }

    /// Names of the threads that have not ended.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &str> {
        let running = self.running.values().map(|source| &source.thread);
        running.chain(&self.leaving).filter(|thread| !thread.handle.is_finished()).map(|thread| thread.name.as_str())
    }
}
