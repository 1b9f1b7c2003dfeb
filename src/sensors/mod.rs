//! Devices, one file each, behind one trait; the driver that keeps a device open, lost or found again.
//!
//! Sensors stamp what they read with the time at which it was true and hand it on. They neither resample nor align.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod camera;
mod device_clock;
mod driver;
mod holder;
mod iio;
mod imu;
mod inventory;
mod line;
mod mavlink_device;
mod microphone;
mod mounting;
mod pace;
mod sample_clock;
mod settings;
mod stall;
mod stream;
mod thermal_array;
pub mod wire;

pub use camera::{Offer, SizeOffer, depth_frame, thermal_frame};
pub use driver::run;
pub use inventory::{FoundCamera, FoundIio, FoundMicrophone, FoundSerialPort, Inventory};
pub use mounting::Mounting;
pub use pace::pause_until;
pub use settings::{
    BadHttpUrl, CameraDriver, CommandOutput, CommandSettings, DriverSettings, FolderOrder, FolderSettings,
    HttpMjpegSettings, HttpUrl, IioSettings, IioWay, ImuDriver, ImuSettings, MavlinkLine, MavlinkSettings,
    MicrophoneSettings, NokhwaSettings, PcmEncoding, RawLayout, SensorSettings, SerialPortSettings, StreamDriver,
    ThermalArrayDriver, ThermalLayout, V4lDepthSettings, V4lSettings, V4lThermalSettings, VideoNodeSettings,
};
pub use stream::PcmSplitter;
pub use wire::STANDARD_GRAVITY_MPS2;

use std::time::Duration;

use crate::media::{CameraFrame, Plane};
use crate::modality::{Modality, SensorId};
use crate::telemetry::SensorState;
use crate::time::MonoTime;

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

    /// How often since the last call something that looked like a packet was refused.
    fn take_refused(&mut self) -> u64 {
        0
    }

    /// How often since the last call something was read whole and had a value that is not a finite number.
    fn take_not_finite(&mut self) -> u64 {
        0
    }

    /// How many bytes came since the last call, whether they became a sample or not; 0 of devices that hand over whole frames.
    fn take_bytes(&mut self) -> u64 {
        0
    }

    /// The state of a device that gives nothing for now and need not; none where something is due.
    fn at_rest(&self) -> Option<SensorState> {
        None
    }
}

/// Opens the device that `settings` name; `progress` is how far an earlier opening came. This may block for some seconds.
///
/// # Errors
/// When it is not there, is held by another program, or cannot do what is asked.
fn open(settings: &SensorSettings, progress: &stream::Progress) -> Result<Box<dyn Sensor>, SensorError> {
    let id = settings.id.clone();
    match &settings.driver {
        DriverSettings::Camera(camera) => camera::open(id, camera),
        DriverSettings::Stream(stream) => stream::open(id, stream, progress),
        DriverSettings::Microphone(settings) => Ok(Box::new(microphone::Microphone::open(id, settings)?)),
        DriverSettings::Imu(imu) => imu::open(id, imu),
        DriverSettings::ThermalArray(driver) => thermal_array::open(id, driver),
    }
}

#[cfg(test)]
mod microphone_tests;
#[cfg(test)]
mod tests;
