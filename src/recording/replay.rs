//! Playing a recording: its samples as they were, at the pace at which they arrived, up to 30 ms late, or as fast as they are taken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Recording, RecordingError, Samples, Tally};
use crate::modality::SensorId;
use crate::pipe;
use crate::sensors::{Sample, SampleData, pause_until};
use crate::time::{MonoTime, NANOS_PER_SEC, now};

/// In real time a sample may come so much later than it did, and up to [`MOST_TOGETHER`] that are due within it are sent at once: on cold
/// caches, wakings of this thread and of the one that cuts windows are most of what a replay costs.
const MOST_LATE_NANOS: i64 = 30_000_000;
const MOST_TOGETHER: usize = 8;

/// How fast a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as the samples are taken.
    Max,
    /// Times real time, by arrival stamps; 1.0 = as it was.
    Real(f64),
}

/// How a replay ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The recording is over.
    Whole,
    /// It was told to stop, or nobody takes samples any more.
    Stopped,
}

/// Sends every sample of `recording` to `output`, stamps as recorded. Time inside a replay is `arrived_at`.
///
/// `looped` plays it over and over: each turn's stamps are shifted by the recording's length, rounded up to whole seconds so that
/// windows fall on the same places of the grid, and sequence numbers go on.
///
/// # Errors
/// When the recording is damaged; the samples before the damage have been sent.
pub fn replay(
    recording: &Recording,
    speed: Speed,
    looped: bool,
    output: pipe::Sender<Sample>,
    stop: &AtomicBool,
) -> Result<Replayed, RecordingError> {
    let (period_nanos, seq_steps) = if looped { turn_of(recording) } else { (0, BTreeMap::new()) };
    let pace = Pace::of(recording, speed, stop);
    for turn in 0u32.. {
        let shift = period_nanos.saturating_mul(i64::from(turn));
        let change = |sample: Sample| {
            let step = seq_steps.get(&sample.sensor).copied().unwrap_or(0);
            shifted(sample, shift, u64::from(turn).saturating_mul(step))
        };
        let ended = pace.send_all(&mut recording.samples(), change, &output)?;
        if ended == Replayed::Stopped || !looped || recording.is_empty() {
            return Ok(ended);
        }
    }
    Ok(Replayed::Whole)
}

/// As [`replay`], not looped, and tells what came of every sensor's messages, however it ended.
pub fn replay_once(
    recording: &Recording,
    speed: Speed,
    output: &pipe::Sender<Sample>,
    stop: &AtomicBool,
) -> (BTreeMap<SensorId, Tally>, Result<Replayed, RecordingError>) {
    let mut samples = recording.samples();
    let ended = Pace::of(recording, speed, stop).send_all(&mut samples, |sample| sample, output);
    (samples.tallies().clone(), ended)
}

/// When samples are sent, and until when.
struct Pace<'a> {
    speed: Speed,
    began: MonoTime,
    first_arrival: MonoTime,
    stop: &'a AtomicBool,
}

impl<'a> Pace<'a> {
    fn of(recording: &Recording, speed: Speed, stop: &'a AtomicBool) -> Self {
        Self { speed, began: now(), first_arrival: recording.arrivals().start, stop }
    }

    fn due(&self, sample: &Sample) -> MonoTime {
        match self.speed {
            Speed::Max => self.began,
            Speed::Real(factor) => {
                let since_first = sample.arrived_at.nanos_since(self.first_arrival) as f64 / factor.max(1e-3);
                self.began.shifted(since_first as i64)
            }
        }
    }

    fn send_all(
        &self,
        samples: &mut Samples<'_>,
        change: impl Fn(Sample) -> Sample,
        output: &pipe::Sender<Sample>,
    ) -> Result<Replayed, RecordingError> {
        let mut samples = samples.map(|sample| sample.map(&change)).peekable();
        let most_together = if self.speed == Speed::Max { 1 } else { MOST_TOGETHER };
        while let Some(first) = samples.next().transpose()? {
            let latest = self.due(&first).shifted(MOST_LATE_NANOS);
            let mut together = vec![first];
            while together.len() < most_together
                && let Some(Ok(next)) = samples.next_if(|next| next.as_ref().is_ok_and(|next| self.due(next) <= latest))
            {
                together.push(next);
            }
            if let Some(last) = together.last() {
                pause_until(self.due(last), self.stop);
            }
            if self.stop.load(Ordering::Relaxed) || output.send_all(together).is_err() {
                return Ok(Replayed::Stopped);
            }
        }
        Ok(Replayed::Whole)
    }
}

/// Length in whole seconds, and the step of each sensor's sequence numbers from one turn to the next.
fn turn_of(recording: &Recording) -> (i64, BTreeMap<SensorId, u64>) {
    let (mut first, mut end) = (i64::MAX, i64::MIN);
    let mut numbers: BTreeMap<SensorId, (u64, u64)> = BTreeMap::new();
    for sample in recording.samples().flatten() {
        first = first.min(sample.captured_at.nanos());
        end = end.max(end_of(&sample).nanos());
        let (lowest, highest) = numbers.entry(sample.sensor).or_insert((sample.seq, sample.seq));
        (*lowest, *highest) = (sample.seq.min(*lowest), sample.seq.max(*highest));
    }
    let length = end.saturating_sub(first).max(1);
    let whole = length.saturating_add(NANOS_PER_SEC - 1) / NANOS_PER_SEC * NANOS_PER_SEC;
    let step = |(lowest, highest): (u64, u64)| (highest - lowest).saturating_add(1);
    (whole, numbers.into_iter().map(|(sensor, numbers)| (sensor, step(numbers))).collect())
}

fn end_of(sample: &Sample) -> MonoTime {
    match &sample.data {
        SampleData::Audio { sample_rate_hz, samples } => {
            let nanos = samples.len() as f64 / f64::from((*sample_rate_hz).max(1)) * NANOS_PER_SEC as f64;
            sample.captured_at.shifted(nanos.round() as i64)
        }
        SampleData::Imu(readings) => readings.last().map_or(sample.captured_at, |r| r.captured_at.shifted(1)),
        _ => sample.captured_at.shifted(1),
    }
}

fn shifted(mut sample: Sample, nanos: i64, seq: u64) -> Sample {
    if nanos != 0 {
        sample.captured_at = sample.captured_at.shifted(nanos);
        sample.arrived_at = sample.arrived_at.shifted(nanos);
        sample.seq = sample.seq.saturating_add(seq);
        if let SampleData::Imu(readings) = &mut sample.data {
            readings.iter_mut().for_each(|r| r.captured_at = r.captured_at.shifted(nanos));
        }
    }
    sample
}
