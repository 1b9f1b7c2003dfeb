//! Inertial measurement units, one file each.

#[cfg(test)]
pub(super) use witmotion::tests as witmotion_tests;
pub use witmotion::{WitMotionParser, WitMotionReading};

mod witmotion;

use super::settings::{ImuDriver, ImuSettings};
use super::{Sensor, SensorError};
use crate::modality::SensorId;

pub(super) fn open(id: SensorId, settings: &ImuSettings) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(match &settings.driver {
        ImuDriver::WitMotion(port) => Box::new(witmotion::WitMotion::open(id, port)?),
    })
}
