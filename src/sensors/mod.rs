//! Devices, one file each, behind one trait; the driver that keeps a device open, lost or found again.
//!
//! Sensors stamp what they read with the time at which it was true and hand it on. They neither resample nor align.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod driver;
mod gy_mcu90640;
mod microphone;
#[cfg(test)]
mod microphone_tests;
mod nokhwa_camera;
mod pace;
mod sample_clock;
mod serial;
#[cfg(test)]
mod tests;
mod v4l_camera;
mod witmotion;

pub use driver::run;
pub use gy_mcu90640::{GyMcu90640Parser, ThermalFrame};
pub use pace::pause_until;
pub use witmotion::{WitMotionParser, WitMotionReading};

use std::time::Duration;

use crate::media::{CameraFrame, Plane};
use crate::modality::{Modality, SensorId};
use crate::time::MonoTime;

/// Standard gravity in m/s², for devices that measure in g (ISO 80000-3).
pub const STANDARD_GRAVITY_MPS2: f32 = 9.806_65;

/// One reading of six axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImuReading {
    /// When it was true.
    pub captured_at: MonoTime,
    /// Specific force along the body's x (forward), y (left), z (up), in m/s².
    pub accel_in_body_mps2: [f32; 3],
    /// Rotation about the same axes in rad/s; none when the device has no gyroscope.
    pub gyro_in_body_radps: Option<[f32; 3]>,
}

/// What a sensor gave.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleData {
    /// A camera frame.
    Image(CameraFrame),
    /// Mono sound; the stamp of the sample is that of the first value.
    Audio {
        /// Samples a second, as the device runs.
        sample_rate_hz: u32,
        /// Values in [-1, 1].
        samples: Vec<f32>,
    },
    /// A thermal frame in °C.
    Thermal(Plane),
    /// A depth frame in metres.
    Depth(Plane),
    /// One or more readings in the order of their stamps.
    Imu(Vec<ImuReading>),
}

impl SampleData {
    /// The sense it belongs to.
    #[must_use]
    pub const fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Audio { .. } => Modality::Audio,
            Self::Thermal(_) => Modality::Thermal,
            Self::Depth(_) => Modality::Depth,
            Self::Imu(_) => Modality::Imu,
        }
    }
}

/// One delivery of a sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which sensor.
    pub sensor: SensorId,
    /// When the data was true (its beginning, for sound and batches).
    pub captured_at: MonoTime,
    /// When it reached us.
    pub arrived_at: MonoTime,
    /// Counts the sensor's deliveries; a jump is a loss on the device's side.
    pub seq: u64,
    /// The data.
    pub data: SampleData,
}

/// Why a device could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// Not there, unplugged, or refused: worth retrying.
    #[error("{device}: {why}")]
    Lost {
        /// The device as the config names it.
        device: String,
        /// What happened.
        why: String,
    },
    /// The device cannot do what the config asks (size, rate, format): retried too, since another device may be plugged in.
    #[error("{device} cannot do this: {why}")]
    Unsupported {
        /// The device as the config names it.
        device: String,
        /// What it cannot do and what it offers.
        why: String,
    },
}

/// An open device.
pub trait Sensor: Send {
    /// The next sample, or none when nothing came within `timeout` (at most 500 ms, so that a stop is seen).
    ///
    /// # Errors
    /// When the device is lost; it must be opened anew.
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError>;
}

/// Opens the device that `settings` name. This may block for some seconds.
///
/// # Errors
/// When it is not there, is held by another program, or cannot do what is asked.
pub fn open(settings: &SensorSettings) -> Result<Box<dyn Sensor>, SensorError> {
    let id = settings.id.clone();
    Ok(match &settings.driver {
        DriverSettings::V4l { device, width_px, height_px, rate_hz, fourcc } => {
            let (width_px, height_px, rate_hz) = (*width_px, *height_px, *rate_hz);
            let wanted = v4l_camera::Wanted { device, width_px, height_px, rate_hz, fourcc: fourcc.as_deref() };
            Box::new(v4l_camera::V4lCamera::open(id, &wanted)?)
        }
        DriverSettings::Nokhwa { index, width_px, height_px, rate_hz } => {
            Box::new(nokhwa_camera::NokhwaCamera::open(id, *index, (*width_px, *height_px), *rate_hz)?)
        }
        DriverSettings::Microphone { host, device, sample_rate_hz } => {
            Box::new(microphone::Microphone::open(id, host.as_deref(), device.as_deref(), *sample_rate_hz)?)
        }
        DriverSettings::WitMotion { device, baud } => Box::new(witmotion::WitMotion::open(id, device, *baud)?),
        DriverSettings::GyMcu90640 { device, baud } => Box::new(gy_mcu90640::GyMcu90640::open(id, device, *baud)?),
    })
}

/// A sensor as the config resolved it.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorSettings {
    /// Its name.
    pub id: SensorId,
    /// Added to every capture stamp: t_ref = t_sensor + offset (Kalibr's sign).
    pub time_offset_ms: f64,
    /// Which device, and how.
    pub driver: DriverSettings,
}

/// A device and how it is opened.
#[derive(Clone, Debug, PartialEq)]
pub enum DriverSettings {
    /// A camera through V4L2 (Linux).
    V4l {
        /// `/dev/v4l/by-id/…`, `/dev/v4l/by-path/…` or `/dev/videoN`.
        device: String,
        /// Wanted width in pixels.
        width_px: u32,
        /// Wanted height in pixels.
        height_px: u32,
        /// Wanted frames a second.
        rate_hz: f64,
        /// Four-character code (`YUYV`, `MJPG`, `NV12`, `GREY`); none = the first of these that the device offers.
        fourcc: Option<String>,
    },
    /// A camera through nokhwa (portable).
    Nokhwa {
        /// Index of the camera.
        index: u32,
        /// Wanted width in pixels.
        width_px: u32,
        /// Wanted height in pixels.
        height_px: u32,
        /// Wanted frames a second.
        rate_hz: f64,
    },
    /// A microphone through cpal.
    Microphone {
        /// cpal's host name (`alsa`, …); none = the platform's default.
        host: Option<String>,
        /// cpal's device id or name, such as `plughw:CARD=Webcam`; none = the default device.
        device: Option<String>,
        /// Wanted samples a second; none = what the device prefers.
        sample_rate_hz: Option<u32>,
    },
    /// A WitMotion IMU on a serial port (0x55 packets).
    WitMotion {
        /// `/dev/serial/by-id/…`.
        device: String,
        /// Bits a second.
        baud: u32,
    },
    /// An MLX90640 thermal array behind a GY-MCU90640 board on a serial port.
    GyMcu90640 {
        /// `/dev/serial/by-id/…`.
        device: String,
        /// Bits a second.
        baud: u32,
    },
}

impl DriverSettings {
    /// The sense this device serves.
    #[must_use]
    pub const fn modality(&self) -> Modality {
        match self {
            Self::V4l { .. } | Self::Nokhwa { .. } => Modality::Image,
            Self::Microphone { .. } => Modality::Audio,
            Self::WitMotion { .. } => Modality::Imu,
            Self::GyMcu90640 { .. } => Modality::Thermal,
        }
    }
}
