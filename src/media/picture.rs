//! Pictures and planes, and decoding of JPEG, PNG and raw camera frames.

use std::path::Path;
use std::sync::Arc;

use super::MediaError;

/// An RGB picture, 8 bits a channel, row-major from the top left, three bytes a pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width · height · 3` bytes.
    pub rgb: Vec<u8>,
}

/// One plane of numbers, row-major from the top left: °C of a thermal frame, metres of a depth frame. NaN = no reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width · height` values.
    pub values: Vec<f32>,
}

/// How a camera's bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// 8-bit R, G, B.
    Rgb8,
    /// 8-bit grey.
    Grey8,
    /// 4:2:2, Y0 U Y1 V, BT.601 limited range.
    Yuyv,
    /// 4:2:0, Y plane then interleaved UV, BT.601 limited range.
    Nv12,
    /// One JPEG picture (also MJPEG's frames, which may lack Huffman tables).
    Jpeg,
}

/// A frame as the camera gave it; decoded only when a window needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraFrame {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Layout of `bytes`.
    pub format: PixelFormat,
    /// The frame.
    pub bytes: Arc<[u8]>,
}

impl CameraFrame {
    /// The frame as RGB.
    ///
    /// # Errors
    /// When the bytes do not fit the format and size.
    pub fn to_picture(&self) -> Result<Picture, MediaError> {
        unimplemented!()
    }
}

impl Picture {
    /// Decodes a JPEG or PNG file's bytes, whichever they are.
    ///
    /// # Errors
    /// When they are neither, broken, or hold no pixel.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MediaError> {
        let _ = bytes;
        unimplemented!()
    }

    /// Reads and decodes a JPEG or PNG file.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], or when the file cannot be read.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        let _ = path;
        unimplemented!()
    }
}
