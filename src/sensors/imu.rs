//! Inertial measurement units: which speaks what, and the device that reads one from a line of bytes.

use std::time::Duration;

use super::device_clock::DeviceClock;
use super::iio::Iio;
use super::line::{ByteLine, SerialLine};
use super::mavlink_device::MavlinkDevice;
use super::wire::{
    Bno08xRvcParser, TextLineParser, VectorNavParser, WireParser, WireReading, WitMotionParser, XsensParser,
};
use super::{ImuDriver, ImuReading, ImuSettings, Sample, SampleData, Sensor, SensorError, SerialPortSettings};
use crate::modality::SensorId;
use crate::time::{MonoTime, now};

pub(super) fn open(id: SensorId, settings: &ImuSettings) -> Result<Box<dyn Sensor>, SensorError> {
    match &settings.driver {
        ImuDriver::WitMotion(port) => on_port(id, port, WitMotionParser::default()),
        ImuDriver::Bno08xRvc(port) => on_port(id, port, Bno08xRvcParser::default()),
        ImuDriver::VectorNav(port) => on_port(id, port, VectorNavParser::default()),
        ImuDriver::Xsens(port) => on_port(id, port, XsensParser::default()),
        ImuDriver::TextLine(port, format) => on_port(id, port, TextLineParser::new(format.clone())),
        ImuDriver::Mavlink(mavlink) => Ok(Box::new(MavlinkDevice::open(id, mavlink)?)),
        ImuDriver::Iio(iio) => Ok(Box::new(Iio::open(id, iio)?)),
    }
}

fn on_port<P: WireParser<Found = WireReading> + 'static>(
    id: SensorId,
    port: &SerialPortSettings,
    parser: P,
) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(ImuOnLine::new(id, Box::new(SerialLine::open(port)?), parser)))
}

/// An IMU that speaks on a line of bytes.
pub(super) struct ImuOnLine<P> {
    id: SensorId,
    pub(super) line: Box<dyn ByteLine>,
    pub(super) parser: P,
    clock: DeviceClock,
    /// The last reading's stamp.
    last: MonoTime,
    seq: u64,
    refused: u64,
    not_finite: u64,
}

impl<P: WireParser<Found = WireReading>> ImuOnLine<P> {
    pub(super) fn new(id: SensorId, line: Box<dyn ByteLine>, parser: P) -> Self {
        let last = MonoTime::from_nanos(i64::MIN);
        Self { id, line, parser, clock: DeviceClock::default(), last, seq: 0, refused: 0, not_finite: 0 }
    }

    fn reading(&mut self, reading: &WireReading, arrived_at: MonoTime) -> ImuReading {
        let began = self.line.clock().began(reading.offset).unwrap_or(arrived_at);
        let stamp = reading.device_nanos.map_or(began, |nanos| self.clock.stamp(nanos, began));
        // Stamps rise, even where the adapter hands bytes over late or the device's clock is set anew.
        self.last = stamp.max(self.last.shifted(1));
        ImuReading {
            captured_at: self.last,
            accel_in_body_mps2: reading.accel_mps2,
            gyro_in_body_radps: reading.gyro_radps,
        }
    }
}

impl<P: WireParser<Found = WireReading>> Sensor for ImuOnLine<P> {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let found = self.parser.push(self.line.read(timeout)?);
        let arrived_at = now();
        let readings: Vec<ImuReading> = found.iter().map(|reading| self.reading(reading, arrived_at)).collect();
        self.line.clock().forget_before(self.parser.needed_from());
        let Some(first) = readings.first() else { return Ok(None) };
        let captured_at = first.captured_at;
        self.seq += 1;
        let (sensor, seq) = (self.id.clone(), self.seq - 1);
        Ok(Some(Sample { sensor, captured_at, arrived_at, seq, data: SampleData::Imu(readings) }))
    }

    fn take_refused(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.refused, self.parser.refused());
        self.refused - before
    }

    fn take_not_finite(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.not_finite, self.parser.not_finite());
        self.not_finite - before
    }

    fn take_bytes(&mut self) -> u64 {
        self.line.clock().take_bytes()
    }
}
