//! Recordings in MCAP: writing what sensors gave, and reading it back exactly.
//!
//! The message's log_time is the arrival of a sample, its publish_time the capture, both as Unix time through the recording's own
//! [`Timeline`](crate::time::Timeline); so every stamp comes back to the nanosecond. Schemas (protobuf) travel in the file, and Foxglove and
//! the `mcap` tools open it. A recording is read into memory as a whole. Compressed chunks and messages of other programs' schemas are
//! not read.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod convert;
pub mod parts;
mod reader;
mod replay;
#[cfg(test)]
mod tests;
mod wire;
mod writer;

pub use reader::{Recording, Samples};
pub use replay::{Replayed, Speed, replay};
pub use writer::RecordingWriter;

use std::path::PathBuf;

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
    /// The file is a recording up to some point; what stands before it was read.
    #[error("{path} is damaged after {samples} samples: {why}")]
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
