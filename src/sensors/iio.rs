//! IMUs behind Linux Industrial I/O: sysfs and the character device of the kernel's buffer, without libiio.
//!
//! Polled, each channel is a file that is read anew. Buffered, the kernel gives whole scans with their times. Either way a value is
//! (raw + offset) · scale, which the kernel's ABI (`sysfs-bus-iio`) defines as m/s² and rad/s; a `mount_matrix` of the device tree turns it
//! to the axes of the board.

mod buffer;
mod sysfs;

use std::path::Path;
use std::time::Duration;

use super::mounting::Mounting;
use super::{IioSettings, IioWay, ImuReading, Sample, SampleData, Sensor, SensorError};
use crate::modality::SensorId;
use crate::time::now;

use buffer::Buffer;
use sysfs::{Axes, Device, Polled};

const SYSFS: &str = "/sys/bus/iio/devices";
const DEV: &str = "/dev";

/// An open device.
pub(super) struct Iio {
    id: SensorId,
    source: Source,
    seq: u64,
}

enum Source {
    Polled(Polled),
    Buffered(Buffer),
}

impl Iio {
    pub(super) fn open(id: SensorId, settings: &IioSettings) -> Result<Self, SensorError> {
        Self::open_in(Path::new(SYSFS), Path::new(DEV), id, settings)
    }

    fn open_in(sysfs: &Path, dev: &Path, id: SensorId, settings: &IioSettings) -> Result<Self, SensorError> {
        let accel_device = Device::find(sysfs, &settings.device)?;
        let accel = accel_device
            .axes("accel")?
            .ok_or_else(|| accel_device.unsupported("it has no acceleration (in_accel_x_raw, y, z)"))?;
        let source = match &settings.way {
            IioWay::Buffered { trigger } => {
                let gyro = accel_device.axes("anglvel")?;
                let rate_hz = settings.rate_hz;
                Source::Buffered(Buffer::open(accel_device, dev, accel, gyro, trigger.as_deref(), rate_hz)?)
            }
            IioWay::Polled => {
                let gyro_device = match &settings.gyro_device {
                    Some(name) => Device::find(sysfs, name)?,
                    None => accel_device.clone(),
                };
                let gyro = gyro_device.axes("anglvel")?;
                if gyro.is_none() && settings.gyro_device.is_some() {
                    return Err(gyro_device.unsupported("it has no rotation (in_anglvel_x_raw, y, z)"));
                }
                let gyro = gyro.map(|axes| (axes, gyro_device));
                Source::Polled(Polled::open(&accel_device, accel, gyro, settings.rate_hz)?)
            }
        };
        Ok(Self { id, source, seq: 0 })
    }
}

impl Sensor for Iio {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let readings: Vec<ImuReading> = match &mut self.source {
            Source::Polled(polled) => polled.next(timeout)?.into_iter().collect(),
            Source::Buffered(buffer) => buffer.next(timeout)?,
        };
        let Some(first) = readings.first() else { return Ok(None) };
        let captured_at = first.captured_at;
        self.seq += 1;
        let (sensor, seq) = (self.id.clone(), self.seq - 1);
        Ok(Some(Sample { sensor, captured_at, arrived_at: now(), seq, data: SampleData::Imu(readings) }))
    }
}

/// From the raw numbers of three axes to SI units in the board's axes.
fn in_si(axes: &Axes, raw: [i64; 3]) -> [f32; 3] {
    let mut values = [0.0; 3];
    for ((value, raw), channel) in values.iter_mut().zip(raw).zip(&axes.channels) {
        *value = ((raw as f64 + channel.offset) * channel.scale) as f32;
    }
    axes.mounting.as_ref().map_or(values, |mounting: &Mounting| mounting.turn(values))
}

#[cfg(test)]
mod tests;
