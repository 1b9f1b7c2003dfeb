//! Inertial measurement units.

use super::SerialPortSettings;

/// An IMU.
#[derive(Clone, Debug, PartialEq)]
pub struct ImuSettings {
    /// The device and what it speaks.
    pub driver: ImuDriver,
}

/// What an IMU speaks, and where.
#[derive(Clone, Debug, PartialEq)]
pub enum ImuDriver {
    /// WitMotion's 0x55 packets.
    WitMotion(SerialPortSettings),
}
