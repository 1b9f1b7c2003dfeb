//! Pictures, planes and sounds as values, and decoding of the files and frames that hold them.
//!
//! Decoding only: no scaling, no resampling (see `encoders` and `windows`).

mod picture;
mod sound;

pub use picture::{CameraFrame, Picture, PixelFormat, Plane};
pub use sound::Sound;

/// Why media could not be read. The caller adds which file or frame it was.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not what they should be.
    #[error("not a readable {what}: {why}")]
    Malformed {
        /// Kind of media, such as `JPEG picture`.
        what: &'static str,
        /// What the decoder found.
        why: String,
    },
    /// Nothing to work on: a picture without pixels, a sound without samples.
    #[error("the {0} is empty")]
    Empty(&'static str),
}
