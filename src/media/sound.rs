//! Sounds, and decoding of WAV, Ogg Vorbis, MP3 and FLAC files.

use std::path::Path;

use super::MediaError;

/// A mono sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Samples in [-1, 1]; channel 0 of what the file held.
    pub samples: Vec<f32>,
}

impl Sound {
    /// Length in seconds.
    #[must_use]
    pub fn secs(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate_hz)
    }

    /// Reads and decodes a sound file.
    ///
    /// # Errors
    /// When it cannot be read, is no sound, or holds no sample.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        let _ = path;
        unimplemented!()
    }

    /// Decodes a sound file's bytes.
    ///
    /// # Errors
    /// When they are no sound or hold no sample.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, MediaError> {
        let _ = bytes;
        unimplemented!()
    }
}
