//! Sensors as the config resolved them: one file a family of devices.

mod camera;
mod http_url;
mod imu;
mod microphone;
mod serial_port;
mod stream;
mod thermal_array;

pub use camera::{
    CameraDriver, NokhwaSettings, ThermalLayout, V4lDepthSettings, V4lSettings, V4lThermalSettings, VideoNodeSettings,
};
pub(super) use http_url::without_secrets;
pub use http_url::{BadHttpUrl, HttpUrl};
pub use imu::{IioSettings, IioWay, ImuDriver, ImuSettings, MavlinkLine, MavlinkSettings};
pub use microphone::MicrophoneSettings;
pub use serial_port::SerialPortSettings;
pub use stream::{
    CommandOutput, CommandSettings, FolderOrder, FolderSettings, HttpMjpegSettings, PcmEncoding, RawLayout,
    StreamDriver,
};
pub use thermal_array::ThermalArrayDriver;

use crate::modality::{Modality, SensorId};

/// A sensor.
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
    /// What gives frames through a camera's interface.
    Camera(CameraDriver),
    /// A folder, a network camera or a program.
    Stream(StreamDriver),
    /// A microphone through cpal.
    Microphone(MicrophoneSettings),
    /// An inertial measurement unit.
    Imu(ImuSettings),
    /// A thermal array on a serial port.
    ThermalArray(ThermalArrayDriver),
}

impl DriverSettings {
    /// The sense this device serves.
    #[must_use]
    pub const fn modality(&self) -> Modality {
        match self {
            Self::Camera(camera) => camera.modality(),
            Self::Stream(stream) => stream.modality(),
            Self::Microphone(_) => Modality::Audio,
            Self::Imu(_) => Modality::Imu,
            Self::ThermalArray(_) => Modality::Thermal,
        }
    }

    /// The device as the config names it, where only one may have it open: no second sensor can use it.
    #[must_use]
    pub fn sole_device(&self) -> Option<String> {
        match self {
            Self::Camera(camera) => Some(camera.device()),
            Self::Stream(_) => None,
            // Sound servers and `dsnoop` share.
            Self::Microphone(microphone) => {
                let device = microphone.device.clone()?;
                let name = device.strip_prefix("alsa:").unwrap_or(&device);
                (name.starts_with("hw:") || name.starts_with("plughw:")).then(|| name.to_owned())
            }
            Self::Imu(imu) => imu.driver.sole_device().map(str::to_owned),
            Self::ThermalArray(array) => Some(array.port().device.clone()),
        }
    }

    /// The longest time between two deliveries of a healthy device, in seconds; infinite where nothing is overdue.
    #[must_use]
    pub fn period_secs(&self) -> f64 {
        match self {
            Self::Camera(camera) => camera.period_secs(),
            Self::Stream(stream) => stream.period_secs(),
            Self::Microphone(_) | Self::Imu(_) => 0.1,
            Self::ThermalArray(array) => array.period_secs(),
        }
    }
}
