//! Recording live: samples from a pipe into a file, until the pipe closes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{RecordingError, RecordingWriter};
use crate::modality::SensorId;
use crate::pipe::{Received, Receiver};
use crate::sensors::Sample;
use crate::time::now;

/// What waits for its chunk to fill is written after this long: a crash loses no more of it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// After this long the file is on its disk: a power cut loses no more of it.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// What a recording holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Samples by sensor; a sensor that gave none is missing.
    pub samples: BTreeMap<SensorId, u64>,
}

/// Writes what comes out of `input` until every sender is gone, then ends the recording.
///
/// # Errors
/// When the file cannot be written, such as on a full disk. What was written before stays readable.
pub fn record(mut writer: RecordingWriter, input: &Receiver<Sample>) -> Result<Recorded, RecordingError> {
    let mut recorded = Recorded::default();
    let (mut flushed_at, mut synced_at) = (now(), now());
    loop {
        match input.recv(FLUSH_EVERY) {
            Received::Item(sample) => {
                writer.write(&sample)?;
                *recorded.samples.entry(sample.sensor).or_default() += 1;
            }
            Received::TimedOut => {}
            Received::Closed => break,
        }
        let time = now();
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
