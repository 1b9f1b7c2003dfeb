//! Recordings in MCAP: writing what sensors gave, and reading it back exactly.
//!
//! The message's log_time is the arrival of a sample, its publish_time the capture, both as Unix time through the recording's own
//! [`Timeline`](crate::time::Timeline); so every stamp comes back to the nanosecond. Schemas (protobuf) travel in the file, and Foxglove and
//! the `mcap` tools open it. The bags of ROS 2 are read too, when the topics that are sensors are named; see `docs/recording.md`.
//!
//! Files are streamed, whatever their size. Only writing knows perceptd's own format alone, and never compresses: pictures already are.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod annotated;
mod cdr;
mod convert;
mod index;
pub mod parts;
mod reader;
mod record;
mod records;
mod replay;
mod ros;
#[cfg(test)]
mod tests;
mod topics;
mod wire;
mod writer;

pub use annotated::{AnnotatedWriter, LabelledBox};
pub use convert::Decoded;
pub use reader::{Recording, Samples, Tally};
pub use record::{RecordLimit, Recorded, record};
pub use replay::{Replayed, Speed, replay, replay_once};
pub use ros::{RosType, decode_ros};
pub use topics::{Stamp, TopicSettings, conflict};
pub use writer::RecordingWriter;

use std::path::{Path, PathBuf};

/// Why a recording could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file could not be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no recording of perceptd's.
    #[error("{path} is no recording: {why}")]
    NotARecording {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// A topic cannot be a sensor, or none was named.
    #[error("{path}: {why}")]
    Topics {
        /// The file.
        path: PathBuf,
        /// What is wrong, and which topics could be sensors.
        why: String,
    },
    /// The file is a recording up to some point; what stands before it was read.
    #[error("{path} is damaged after {samples} samples: {why}{}", way_out(.path, *.samples))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Good samples before the damage.
        samples: usize,
        /// What was found.
        why: String,
    },
    /// The file could not be written.
    #[error("cannot write {path}: {why}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A part that a recording was to be made from is missing or unreadable.
    #[error("cannot use {path}: {why}")]
    Part {
        /// The part.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What can be done with a recording whose first samples are whole.
fn way_out(path: &Path, samples: usize) -> String {
    if samples == 0 {
        return String::new();
    }
    format!("; `perceptd replay {} --out NEW.mcap` saves what comes before", path.display())
}
