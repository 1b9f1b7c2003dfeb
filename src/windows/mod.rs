//! Cuts samples into windows on a fixed grid `[k·hop, k·hop + length)` of the reference clock.
//!
//! Pure: time arrives in the data. A window is given out when it is complete or after a bounded lateness, never waiting for a
//! dead sensor, and says what it holds.
//!
//! ```text
//!                 start                          end        end + lateness
//!   reference ──────┼──────────── window k ───────┼───────────────┼────────▶
//!   sensor     ███████████████████████   ████████████████                      complete: data reached the end
//!   sensor     ██████████████████                                 ▲            died: given out here, if half of it is there
//! ```
//!
//! It does not preprocess (see `encoders`) and reads no clock.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod audio;
mod frames;
mod grid;
mod imu;
mod resampler;
#[cfg(test)]
mod tests;
mod windower;

pub use windower::{Cut, Windower, WindowsError};

use crate::media::{CameraFrame, Plane};
use crate::modality::{Modality, SensorId};
use crate::time::Span;

/// How one sensor's samples are cut.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSettings {
    /// The sensor.
    pub sensor: SensorId,
    /// Its sense.
    pub modality: Modality,
    /// Window length in seconds; 0 = one frame (the newest of the hop).
    pub window_secs: f64,
    /// From one window's start to the next, in seconds.
    pub hop_secs: f64,
    /// Rate that sound and IMU are resampled to; ignored for frames.
    pub rate_hz: f64,
    /// How long after its end a window waits for late samples, in seconds.
    pub lateness_secs: f64,
}

/// How complete a window is.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Presence {
    /// Samples (frames, values, readings) inside.
    pub count: u32,
    /// Samples that a sensor without losses would have given; 0 when its rate is not known yet.
    pub expected: u32,
    /// Longest hole inside, in seconds.
    pub longest_gap_secs: f64,
    /// Middle of the data minus middle of the window, in seconds.
    pub skew_secs: f64,
    /// Rows of motion that were measured: bit k stands for row k of [`WindowData::Imu`]; the others are zeros. 0 for senses
    /// without rows.
    pub measured_rows: u32,
}

/// A window's data, ready for preprocessing.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowData {
    /// The newest camera frame of the hop.
    Image(CameraFrame),
    /// Mono sound at the pack's rate, `window_secs · rate_hz` values.
    Audio(Vec<f32>),
    /// The newest thermal frame, °C.
    Thermal(Plane),
    /// The newest depth frame, metres.
    Depth(Plane),
    /// Six rows (accelerometer x y z in m/s², gyroscope x y z in rad/s), each `window_secs · rate_hz` values, one after another.
    /// [`Presence::measured_rows`] says which of them are measured; the others are zeros.
    Imu(Vec<f32>),
}

/// One window of one sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The sensor.
    pub sensor: SensorId,
    /// Place on the grid: start = `index · hop`.
    pub index: u64,
    /// What it covers: the grid cell for sound and IMU, `[captured_at, captured_at]` of the frame for frames.
    pub span: Span,
    /// What it has.
    pub presence: Presence,
    /// The data.
    pub data: WindowData,
}

impl WindowData {
    /// The sense it belongs to.
    #[must_use]
    pub const fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Audio(_) => Modality::Audio,
            Self::Thermal(_) => Modality::Thermal,
            Self::Depth(_) => Modality::Depth,
            Self::Imu(_) => Modality::Imu,
        }
    }
}
