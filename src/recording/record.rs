//! Recording live: samples from a pipe into a file, until the pipe closes or there is enough.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{RecordingError, RecordingWriter};
use crate::modality::SensorId;
use crate::pipe::{Received, Receiver};
use crate::sensors::Sample;
use crate::time::{MonoTime, now};

/// What waits for its chunk to fill is written after this long: a crash loses no more of it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// After this long the file is on its disk: a power cut loses no more of it.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// How often the clock is looked at while no sample comes.
const TURN: Duration = Duration::from_millis(200);

/// What ends a recording by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLimit {
    /// Longest duration, by the clock or by the samples' arrivals, whichever is over first.
    pub duration: Duration,
    /// The recording ends with the sample that reaches so many bytes.
    pub bytes: u64,
}

impl RecordLimit {
    /// Whether a recording that began at `began`, and holds so many bytes, is over at `time`.
    fn is_over(&self, began: MonoTime, time: MonoTime, bytes: u64) -> bool {
        time >= began + self.duration || bytes >= self.bytes
    }
}

/// What a recording holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Samples by sensor; a sensor that gave none is missing.
    pub samples: BTreeMap<SensorId, u64>,
}

/// Writes what comes out of `input` until every sender is gone, or `limit` is reached, then ends the recording.
///
/// # Errors
/// When the file cannot be written, such as on a full disk. What was written before stays readable.
pub fn record(
    mut writer: RecordingWriter,
    input: &Receiver<Sample>,
    limit: Option<RecordLimit>,
) -> Result<Recorded, RecordingError> {
    let mut recorded = Recorded::default();
    let began = now();
    let (mut first_arrival, mut flushed_at, mut synced_at) = (None, began, began);
    loop {
        match input.recv(TURN) {
            Received::Item(sample) => {
                let first = *first_arrival.get_or_insert(sample.arrived_at);
                if limit.is_some_and(|limit| limit.is_over(first, sample.arrived_at, 0)) {
                    break;
                }
                writer.write(&sample)?;
                *recorded.samples.entry(sample.sensor).or_default() += 1;
            }
            Received::TimedOut => {}
            Received::Closed => break,
        }
        let time = now();
        if limit.is_some_and(|limit| limit.is_over(began, time, writer.bytes())) {
            break;
        }
        if time >= flushed_at + FLUSH_EVERY {
            flushed_at = time;
            writer.flush()?;
        }
        if time >= synced_at + SYNC_EVERY {
            synced_at = time;
            writer.sync()?;
        }
    }
    writer.finish()?;
    Ok(recorded)
}
