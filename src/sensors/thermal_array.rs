//! Thermal arrays on serial ports.

use std::time::Duration;

use super::line::{ByteLine, SerialLine};
use super::wire::{GyMcu90640Parser, SerialArrayParser, ThermalFrame, WireParser};
use super::{Sample, SampleData, Sensor, SensorError, ThermalArrayDriver};
use crate::media::Plane;
use crate::modality::SensorId;
use crate::time::now;

pub(super) fn open(id: SensorId, driver: &ThermalArrayDriver) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(match driver {
        ThermalArrayDriver::GyMcu90640(port) => {
            let mut line = SerialLine::open(port)?;
            line.write(&GyMcu90640Parser::SEND_BY_ITSELF)?;
            Box::new(ArrayOnLine { id, line, parser: GyMcu90640Parser::default(), seq: 0, refused: 0 })
        }
        ThermalArrayDriver::SerialArray(port, format) => {
            let (line, parser) = (SerialLine::open(port)?, SerialArrayParser::new(format.clone()));
            Box::new(ArrayOnLine { id, line, parser, seq: 0, refused: 0 })
        }
    })
}

/// A thermal array that speaks on a serial port.
struct ArrayOnLine<P> {
    id: SensorId,
    line: SerialLine,
    parser: P,
    seq: u64,
    refused: u64,
}

impl<P: WireParser<Found = ThermalFrame>> Sensor for ArrayOnLine<P> {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let frames = self.parser.push(self.line.read(timeout)?);
        let arrived_at = now();
        self.seq += frames.len() as u64;
        // Two frames in one read mean that we were late by a period: only the newer one is still of use, and the jump in seq tells.
        let newest = frames.into_iter().next_back();
        let stamp = newest.as_ref().and_then(|frame| self.line.clock().began(frame.offset));
        self.line.clock().forget_before(self.parser.needed_from());
        let Some(ThermalFrame { width_px: width, height_px: height, celsius: values, .. }) = newest else {
            return Ok(None);
        };
        let captured_at = stamp.unwrap_or(arrived_at);
        let (sensor, seq) = (self.id.clone(), self.seq - 1);
        let data = SampleData::Thermal(Plane { width, height, values });
        Ok(Some(Sample { sensor, captured_at, arrived_at, seq, data }))
    }

    fn take_refused(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.refused, self.parser.refused());
        self.refused - before
    }

    fn take_bytes(&mut self) -> u64 {
        self.line.clock().take_bytes()
    }
}
