//! Thermal arrays on serial ports.

use super::SerialPortSettings;
use crate::sensors::wire::SerialArrayFormat;

/// What a thermal array speaks, and where.
#[derive(Clone, Debug, PartialEq)]
pub enum ThermalArrayDriver {
    /// An MLX90640 behind a GY-MCU90640 board.
    GyMcu90640(SerialPortSettings),
    /// A header and a number for each pixel.
    SerialArray(SerialPortSettings, SerialArrayFormat),
}

impl ThermalArrayDriver {
    /// Its port.
    #[must_use]
    pub const fn port(&self) -> &SerialPortSettings {
        match self {
            Self::GyMcu90640(port) | Self::SerialArray(port, _) => port,
        }
    }

    /// The longest time between two frames of a healthy device, in seconds.
    #[must_use]
    pub const fn period_secs(&self) -> f64 {
        match self {
            // The board can be set to 0.5 to 8 Hz; 2 Hz is what it needs for the default hop.
            Self::GyMcu90640(_) => 0.5,
            Self::SerialArray(..) => 1.0,
        }
    }
}
