//! Cameras, thermal and depth cameras on the machine itself: V4L2, or nokhwa where there is none.

mod depth;
mod nokhwa_camera;
mod thermal;
mod v4l_camera;
mod video_node;

pub use depth::depth_frame;
pub use thermal::thermal_frame;
pub(super) use video_node::offers;
pub use video_node::{Offer, SizeOffer};

use super::settings::CameraDriver;
use super::{Sensor, SensorError};
use crate::modality::SensorId;

pub(super) fn open(id: SensorId, driver: &CameraDriver) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(match driver {
        CameraDriver::V4l(settings) => Box::new(v4l_camera::V4lCamera::pictures(id, settings)?),
        CameraDriver::V4lThermal(settings) => Box::new(v4l_camera::V4lCamera::thermal(id, settings)?),
        CameraDriver::V4lDepth(settings) => Box::new(v4l_camera::V4lCamera::depth(id, settings)?),
        CameraDriver::Nokhwa(settings) => Box::new(nokhwa_camera::NokhwaCamera::open(id, settings)?),
    })
}
