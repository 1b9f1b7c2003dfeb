//! Inertial measurement units.

use super::SerialPortSettings;
use crate::sensors::mounting::Mounting;
use crate::sensors::wire::TextLineFormat;

/// An IMU.
#[derive(Clone, Debug, PartialEq)]
pub struct ImuSettings {
    /// The device and what it speaks.
    pub driver: ImuDriver,
    /// From the axes of its case (x forward, y left, z up as it is marked) to the body's.
    pub mounting: Mounting,
}

/// What an IMU speaks, and where.
#[derive(Clone, Debug, PartialEq)]
pub enum ImuDriver {
    /// WitMotion's 0x55 packets.
    WitMotion(SerialPortSettings),
    /// BNO08x in the mode UART-RVC.
    Bno08xRvc(SerialPortSettings),
    /// VectorNav's binary output.
    VectorNav(SerialPortSettings),
    /// Xsens MTData2.
    Xsens(SerialPortSettings),
    /// Lines of numbers.
    TextLine(SerialPortSettings, TextLineFormat),
    /// An autopilot's IMU.
    Mavlink(MavlinkSettings),
    /// Linux Industrial I/O.
    Iio(IioSettings),
}

impl ImuDriver {
    /// The port, address or device that only one may have open; none where it can be shared.
    #[must_use]
    pub fn sole_device(&self) -> Option<&str> {
        match self {
            Self::WitMotion(port)
            | Self::Bno08xRvc(port)
            | Self::VectorNav(port)
            | Self::Xsens(port)
            | Self::TextLine(port, _)
            | Self::Mavlink(MavlinkSettings { line: MavlinkLine::Serial(port), .. }) => Some(&port.device),
            Self::Mavlink(MavlinkSettings { line: MavlinkLine::Udp(address), .. }) => Some(address),
            Self::Iio(IioSettings { device, way: IioWay::Buffered { .. }, .. }) => Some(device),
            Self::Iio(_) => None,
        }
    }
}

/// An autopilot.
#[derive(Clone, Debug, PartialEq)]
pub struct MavlinkSettings {
    /// The way to it.
    pub line: MavlinkLine,
    /// The vehicle that is listened to; none = the first that sends readings.
    pub system_id: Option<u8>,
    /// Readings a second that the autopilot is asked for; none = nothing is said to it.
    pub asked_rate_hz: Option<f64>,
}

/// The way to an autopilot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MavlinkLine {
    /// A serial port.
    Serial(SerialPortSettings),
    /// An address and port of ours to which a router sends.
    Udp(String),
}

/// An IMU behind the kernel's Industrial I/O.
#[derive(Clone, Debug, PartialEq)]
pub struct IioSettings {
    /// Its name or label in sysfs, or `iio:deviceN`.
    pub device: String,
    /// The gyroscope, where it is a device of its own.
    pub gyro_device: Option<String>,
    /// Readings a second.
    pub rate_hz: f64,
    /// How it is read.
    pub way: IioWay,
}

/// How an IIO device is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IioWay {
    /// Channel by channel from sysfs: any device, and readable by everybody.
    Polled,
    /// Through the kernel's buffer with the kernel's stamps; needs write access to sysfs.
    Buffered {
        /// The trigger that starts each reading; none = the one that is set, or the device's own FIFO.
        trigger: Option<String>,
    },
}
