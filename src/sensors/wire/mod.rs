//! What devices say on their wires: bytes in, values in SI units out. One file a device.
//!
//! A parser takes bytes as they come, in pieces of any size; it passes over garbage and finds its way again. Nothing here knows a
//! port, a clock or another room: `fuzz/` builds this folder alone.

mod bno08x_rvc;
mod framer;
mod gy_mcu90640;
mod http_chunks;
mod iio_scan;
mod jpeg_stream;
mod mavlink_imu;
mod serial_array;
mod text_line;
mod vectornav;
mod witmotion;
mod xsens;

pub use bno08x_rvc::Bno08xRvcParser;
pub use gy_mcu90640::GyMcu90640Parser;
pub use http_chunks::{BadChunk, ChunkedBody};
pub use iio_scan::{ScanElement, ScanLayout};
pub use jpeg_stream::{JpegPicture, JpegSplitter};
pub use mavlink_imu::{Autopilot, MavlinkParser, heartbeat, message_interval_request};
pub use serial_array::{ArrayElement, SerialArrayFormat, SerialArrayParser};
pub use text_line::{TextColumn, TextLineFormat, TextLineParser};
pub use vectornav::VectorNavParser;
pub use witmotion::WitMotionParser;
pub use xsens::XsensParser;

/// Standard gravity in m/s², for devices that measure in g (ISO 80000-3).
pub const STANDARD_GRAVITY_MPS2: f32 = 9.806_65;

/// One reading of an IMU, in the axes of its case: x forward, y left, z up. At rest and level it reads +9.8 along z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WireReading {
    /// Place of its first byte, counted from the first byte ever pushed.
    pub offset: u64,
    /// The device's own clock when it was measured, in nanoseconds; none when the device tells none.
    pub device_nanos: Option<i64>,
    /// Specific force in m/s².
    pub accel_mps2: [f32; 3],
    /// Rotation in rad/s; none when the device sends none.
    pub gyro_radps: Option<[f32; 3]>,
}

impl WireReading {
    /// Itself, unless a value is not a finite number, which is counted.
    fn finite(self, not_finite: &mut u64) -> Option<Self> {
        let is_finite = self.accel_mps2.iter().chain(self.gyro_radps.iter().flatten()).all(|value| value.is_finite());
        *not_finite += u64::from(!is_finite);
        is_finite.then_some(self)
    }
}

/// One thermal frame.
#[derive(Clone, Debug, PartialEq)]
pub struct ThermalFrame {
    /// Place of its first byte, counted from the first byte ever pushed.
    pub offset: u64,
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// `width_px · height_px` values, row by row from the top left; NaN where a pixel has no reading.
    pub celsius: Vec<f32>,
}

/// Finds what a device says in a stream of bytes.
pub trait WireParser: Send {
    /// What it finds.
    type Found;

    /// Takes bytes in; gives what is complete.
    fn push(&mut self, bytes: &[u8]) -> Vec<Self::Found>;

    /// Where the bytes begin that may still become part of something.
    fn needed_from(&self) -> u64;

    /// How often something looked like a packet and was refused: by its sum, or by values that cannot be.
    fn refused(&self) -> u64;

    /// How often a whole packet was passed over because a value in it was not a finite number.
    fn not_finite(&self) -> u64 {
        0
    }
}

/// From the aerospace body frame (x forward, y right, z down) to ours (x forward, y left, z up).
const fn from_frd([x, y, z]: [f32; 3]) -> [f32; 3] {
    [x, -y, -z]
}

#[cfg(test)]
#[path = "../../../tests/packets/mod.rs"]
pub(in crate::sensors) mod packets;
#[cfg(test)]
mod tests;
