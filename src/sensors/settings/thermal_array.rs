//! Thermal arrays on serial ports.

use super::SerialPortSettings;

/// What a thermal array speaks, and where.
#[derive(Clone, Debug, PartialEq)]
pub enum ThermalArrayDriver {
    /// An MLX90640 behind a GY-MCU90640 board.
    GyMcu90640(SerialPortSettings),
}

impl ThermalArrayDriver {
    /// The longest time between two frames of a healthy device, in seconds.
    #[must_use]
    pub const fn period_secs(&self) -> f64 {
        match self {
            // The board can be set to 0.5 to 8 Hz; 2 Hz is what it needs for the default hop.
            Self::GyMcu90640(_) => 0.5,
        }
    }
}
