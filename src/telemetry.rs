//! Counters that every room feeds and `health` publishes: a closed set, so that nothing is lost uncounted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::modality::SensorId;
use crate::time::MonoTime;

/// Why something was not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The pipe from the sensor was full.
    SensorPipeFull,
    /// A newer window took the place of one that waited for its encoder.
    WindowReplaced,
    /// A sample that no parser or decoder could read.
    Undecodable,
    /// A sample with a value that is not a finite number.
    NotFinite,
    /// A sample that arrived after its window had been closed.
    Late,
    /// A sample whose stamp lies well after its arrival.
    Early,
    /// A window with too little of its sensor's data in it.
    TooIncomplete,
    /// An embedding replaced by a newer one before the broker took it.
    EmbeddingReplaced,
    /// An event that the outbox had no room for.
    OutboxFull,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::SensorPipeFull,
        Self::WindowReplaced,
        Self::Undecodable,
        Self::NotFinite,
        Self::Late,
        Self::Early,
        Self::TooIncomplete,
        Self::EmbeddingReplaced,
        Self::OutboxFull,
    ];

    /// The name in `health`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SensorPipeFull => "sensor_pipe_full",
            Self::WindowReplaced => "window_replaced",
            Self::Undecodable => "undecodable",
            Self::NotFinite => "not_finite",
            Self::Late => "late",
            Self::Early => "early",
            Self::TooIncomplete => "too_incomplete",
            Self::EmbeddingReplaced => "embedding_replaced",
            Self::OutboxFull => "outbox_full",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Whether a sensor delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SensorState {
    /// Not opened yet.
    Starting,
    /// Data flows.
    Ok,
    /// Opened, but no data for several periods.
    Stalled(String),
    /// Gone or never there; it is retried.
    Lost(String),
}

impl SensorState {
    /// The state's name in `health`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Stalled(_) => "stalled",
            Self::Lost(_) => "lost",
        }
    }

    /// Why, where there is a reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Starting | Self::Ok => "",
            Self::Stalled(reason) | Self::Lost(reason) => reason,
        }
    }
}

/// The time for which [`LogLimit`] counts.
pub const LOG_PERIOD: Duration = Duration::from_secs(600);

/// Lets few lines of one kind into the log: a device may fail for ever.
#[derive(Debug)]
pub struct LogLimit {
    most: u32,
    /// None before the first.
    began: Option<MonoTime>,
    logged: u32,
}

impl LogLimit {
    /// At most so many lines in a [`LOG_PERIOD`].
    #[must_use]
    pub const fn new(most: u32) -> Self {
        Self { most, began: None, logged: 0 }
    }

    /// Whether a line may be written now; then it counts.
    pub fn allows(&mut self, at: MonoTime) -> bool {
        if self.began.is_none_or(|began| at >= began + LOG_PERIOD) {
            (self.began, self.logged) = (Some(at), 0);
        }
        let is_allowed = self.logged < self.most;
        self.logged += u32::from(is_allowed);
        is_allowed
    }

    /// Whether no further line may be written for now.
    #[must_use]
    pub const fn is_used_up(&self) -> bool {
        self.logged >= self.most
    }
}

/// One sensor's counters.
#[derive(Debug)]
pub struct SensorCounters {
    samples: AtomicU64,
    windows: AtomicU64,
    embeddings: AtomicU64,
    gaps: AtomicU64,
    encode_nanos: AtomicU64,
    last_sample_nanos: AtomicI64,
    drops: [AtomicU64; DropReason::ALL.len()],
    state: Mutex<SensorState>,
    unusable: Mutex<BTreeMap<DropReason, LogLimit>>,
}

/// A reading of [`SensorCounters`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensorReading {
    /// Samples that the sensor gave.
    pub samples: u64,
    /// Windows that were cut from them.
    pub windows: u64,
    /// Windows that became embeddings.
    pub embeddings: u64,
    /// Holes in the data.
    pub gaps: u64,
    /// Time spent encoding, all windows together.
    pub encode_nanos: u64,
    /// When the last sample arrived; none before the first.
    pub last_sample_at: Option<MonoTime>,
    /// Drops by reason, without the zeros.
    pub drops: BTreeMap<DropReason, u64>,
    /// Whether it delivers.
    pub state: SensorState,
}

impl Default for SensorCounters {
    fn default() -> Self {
        Self {
            samples: AtomicU64::new(0),
            windows: AtomicU64::new(0),
            embeddings: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            encode_nanos: AtomicU64::new(0),
            last_sample_nanos: AtomicI64::new(i64::MIN),
            drops: std::array::from_fn(|_| AtomicU64::new(0)),
            state: Mutex::new(SensorState::Starting),
            unusable: Mutex::default(),
        }
    }
}

impl SensorCounters {
    /// A sample arrived.
    pub fn count_sample(&self, arrived_at: MonoTime) {
        self.samples.fetch_add(1, Ordering::Relaxed);
        self.last_sample_nanos.store(arrived_at.nanos(), Ordering::Relaxed);
    }

    /// A window was cut.
    pub fn count_window(&self) {
        self.windows.fetch_add(1, Ordering::Relaxed);
    }

    /// A hole was seen in the data.
    pub fn count_gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }

    /// A window was embedded in this many nanoseconds.
    pub fn count_embedding(&self, nanos: u64) {
        self.embeddings.fetch_add(1, Ordering::Relaxed);
        self.encode_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Something was dropped.
    pub fn count_drop(&self, reason: DropReason) {
        self.count_drops(reason, 1);
    }

    /// So many things were dropped.
    pub fn count_drops(&self, reason: DropReason, count: u64) {
        if let Some(counter) = self.drops.get(reason.index()) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// So much of what `sensor` gave was dropped because it is of no use. The log is told of each reason once in a [`LOG_PERIOD`].
    pub fn drop_unusable(&self, sensor: &SensorId, reason: DropReason, count: u64, at: MonoTime) {
        if count == 0 {
            return;
        }
        self.count_drops(reason, count);
        let mut told = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
        if told.entry(reason).or_insert_with(|| LogLimit::new(1)).allows(at) {
            let reason = reason.name();
            tracing::warn!(%sensor, reason, "some of what the sensor gives is of no use and dropped; more of the same is only counted, in `health`");
        }
    }

    /// The sensor's state changed; returns whether it differs from the one before.
    pub fn set_state(&self, state: SensorState) -> bool {
        let mut held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *held != state;
        *held = state;
        changed
    }

    /// All counters now.
    #[must_use]
    pub fn read(&self) -> SensorReading {
        let last = self.last_sample_nanos.load(Ordering::Relaxed);
        SensorReading {
            samples: self.samples.load(Ordering::Relaxed),
            windows: self.windows.load(Ordering::Relaxed),
            embeddings: self.embeddings.load(Ordering::Relaxed),
            gaps: self.gaps.load(Ordering::Relaxed),
            encode_nanos: self.encode_nanos.load(Ordering::Relaxed),
            last_sample_at: (last != i64::MIN).then_some(MonoTime::from_nanos(last)),
            drops: DropReason::ALL
                .into_iter()
                .zip(&self.drops)
                .map(|(reason, counter)| (reason, counter.load(Ordering::Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// The counters of all sensors; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Telemetry(Arc<Mutex<BTreeMap<SensorId, Arc<SensorCounters>>>>);

impl Telemetry {
    /// The counters of one sensor, made at first use.
    #[must_use]
    pub fn sensor(&self, id: &SensorId) -> Arc<SensorCounters> {
        let mut sensors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sensors.entry(id.clone()).or_default())
    }

    /// A reading of every sensor, in the order of their names.
    #[must_use]
    pub fn read(&self) -> Vec<(SensorId, SensorReading)> {
        let sensors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sensors.iter().map(|(id, counters)| (id.clone(), counters.read())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_by_reason() {
        let telemetry = Telemetry::default();
        let mic = SensorId::new("mic").unwrap();
        telemetry.sensor(&mic).count_drop(DropReason::Late);
        telemetry.sensor(&mic).count_drop(DropReason::Late);
        let reading = telemetry.sensor(&mic).read();
        assert_eq!(reading.drops, BTreeMap::from([(DropReason::Late, 2)]));
        assert_eq!(reading.last_sample_at, None);
    }

    #[test]
    fn what_fails_for_ever_does_not_fill_the_log() {
        let (mut log, minutes) = (LogLimit::new(10), |n: u64| MonoTime::default() + Duration::from_secs(60 * n));
        let logged = (0..1000).filter(|_| log.allows(minutes(3))).count();
        assert_eq!((logged, log.is_used_up()), (10, true));
        assert!(!log.allows(minutes(12)) && log.allows(minutes(13)));
    }

    #[test]
    fn reasons_index_their_own_counter() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
