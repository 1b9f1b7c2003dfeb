//! Pictures, planes, sounds and motion as values, and decoding of the files and frames that hold them.
//!
//! Decoding only: no scaling of pictures, no resampling of sound (see `encoders` and `windows`).

mod camera;
mod jpeg;
mod motion;
mod picture;
mod plane;
mod sound;
mod wav;

use std::path::Path;

use crate::files::{MIB, read_at_most};

pub use camera::{CameraFrame, PixelFormat};
pub use jpeg::jpeg_size;
pub use motion::Motion;
pub use picture::Picture;
pub use plane::{Plane, ReadPlane};
pub use sound::Sound;

/// Why media could not be read. The caller adds which file or frame it was.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] std::io::Error),
    /// The bytes are not what they should be.
    #[error("not a readable {what}: {why}")]
    Malformed {
        /// Kind of media, such as `JPEG picture`.
        what: &'static str,
        /// What the decoder found.
        why: String,
    },
    /// Nothing to work on: a picture without pixels, a sound without samples.
    #[error("the {0} is empty: make it anew, or use another one")]
    Empty(&'static str),
}

impl MediaError {
    fn malformed(what: &'static str, why: impl ToString) -> Self {
        let mut why = why.to_string();
        if why.contains("unexpected end of file") {
            why.push_str("; it is cut short or damaged: copy it anew, or use another one");
        }
        Self::Malformed { what, why }
    }
}

/// Below this width or height a picture holds less than one cell of any encoder: nothing takes it.
pub const LEAST_SIDE_PX: u32 = 16;

/// Largest width and height that is decoded: a damaged header must not ask for gigabytes.
const MAX_SIDE_PX: u32 = 16_384;

/// Largest picture file that is read. What a camera or a phone writes is far smaller.
pub const MOST_PICTURE_BYTES: u64 = 64 * MIB;

fn read(path: &Path, most_bytes: u64) -> Result<Vec<u8>, MediaError> {
    read_at_most(path, most_bytes).map_err(MediaError::Read)
}
