//! Thermal arrays on serial ports, one file each.

mod gy_mcu90640;

#[cfg(test)]
pub(super) use gy_mcu90640::tests as gy_mcu90640_tests;
pub use gy_mcu90640::{GyMcu90640Parser, ThermalFrame};

use super::settings::ThermalArrayDriver;
use super::{Sensor, SensorError};
use crate::modality::SensorId;

pub(super) fn open(id: SensorId, driver: &ThermalArrayDriver) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(match driver {
        ThermalArrayDriver::GyMcu90640(port) => Box::new(gy_mcu90640::GyMcu90640::open(id, port)?),
    })
}
