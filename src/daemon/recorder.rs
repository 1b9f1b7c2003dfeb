//! The thread that records what the sensors give, for `cmd/record`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::pipe::{Received, Receiver, Sender, WhenFull, bounded};
use crate::recording::{RecordingError, RecordingWriter};
use crate::sensors::Sample;
use crate::time::{MonoTime, NANOS_PER_SEC, Timeline, now};

/// Samples that may wait for the disk: several seconds of all sensors.
const WAITING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
/// A recording ends when its samples have so many bytes, before the disk is full.
const MOST_BYTES: usize = 1 << 30;
/// How often it looks at the clock while no sample comes.
const TURN: Duration = Duration::from_millis(200);

/// A recording that is to be made.
pub(super) struct Recorder {
    pub(super) path: PathBuf,
    pub(super) timeline: Timeline,
    pub(super) duration_secs: f64,
}

/// The pipe from the windows' thread; a disk that is too slow costs the oldest samples.
pub(super) fn tap() -> (Sender<Sample>, Receiver<Sample>) {
    bounded(WAITING, WhenFull::DropOldest, Box::new(|_| {}))
}

impl Recorder {
    /// Records until the time is over, by the clock or by the samples' own stamps, or no sample will come any more. Gives how many samples
    /// were written.
    pub(super) fn run(self, input: &Receiver<Sample>) -> Result<u64, RecordingError> {
        let mut writer = RecordingWriter::create(&self.path, &self.timeline)?;
        let nanos = (self.duration_secs * NANOS_PER_SEC as f64) as i64;
        let deadline = now().shifted(nanos);
        let (mut first, mut samples, mut bytes) = (None::<MonoTime>, 0, 0);
        while now() < deadline && bytes < MOST_BYTES {
            match input.recv(TURN) {
                Received::Item(sample) => {
                    let begun = *first.get_or_insert(sample.arrived_at);
                    if sample.arrived_at.nanos_since(begun) >= nanos {
                        break;
                    }
                    writer.write(&sample)?;
                    samples += 1;
                    bytes += size(&sample);
                }
                Received::TimedOut => {}
                Received::Closed => break,
            }
        }
        writer.finish()?;
        Ok(samples)
    }
}

/// About how many bytes a sample takes in the file.
fn size(sample: &Sample) -> usize {
    use crate::sensors::SampleData;
    match &sample.data {
        SampleData::Image(frame) => frame.bytes.len(),
        SampleData::Audio { samples, .. } => samples.len() * 2,
        SampleData::Thermal(plane) | SampleData::Depth(plane) => plane.values.len() * 4,
        SampleData::Imu(readings) => readings.len() * 64,
    }
}
