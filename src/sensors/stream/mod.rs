//! Sources that are no devices of this machine: a folder, a network camera, a program.

mod command;
mod folder;
mod frame_cutter;
mod http_mjpeg;
mod pcm;
mod program;

pub(super) use folder::Progress;
pub use pcm::PcmSplitter;

use super::settings::StreamDriver;
use super::{Sensor, SensorError};
use crate::modality::SensorId;

pub(super) fn open(id: SensorId, driver: &StreamDriver, progress: &Progress) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(match driver {
        StreamDriver::Folder(settings) => Box::new(folder::Folder::open(id, settings, progress)?),
        StreamDriver::HttpMjpeg(settings) => Box::new(http_mjpeg::HttpMjpeg::open(id, settings)?),
        StreamDriver::Command(settings) => Box::new(command::Command::start(id, settings)?),
    })
}
