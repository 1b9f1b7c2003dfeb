//! WitMotion IMUs (WT901, JY901, HWT family): 11-byte packets `55 type payload[8] sum`.
//!
//! Scales from the maker's protocol page: acceleration ±16 g, rotation ±2000 °/s, both over 32768. Acceleration and rotation come
//! as separate packets, one after the other in a cycle, and are joined here. The printed axes are taken as the body's.

use std::f32::consts::PI;
use std::time::Duration;

use crate::modality::SensorId;
use crate::sensors::serial::SerialLine;
use crate::sensors::{ImuReading, STANDARD_GRAVITY_MPS2, Sample, SampleData, Sensor, SensorError, SerialPortSettings};
use crate::time::{MonoTime, now};

const PACKET_BYTES: usize = 11;
const HEADER: u8 = 0x55;
const ACCELERATION: u8 = 0x51;
const ROTATION: u8 = 0x52;
/// Time, acceleration, rotation, angle, magnetic field, ports, pressure, position, speed, quaternion, accuracy.
const KINDS: std::ops::RangeInclusive<u8> = 0x50..=0x5A;

/// Cycles without rotation after which the device is taken to send none (it can be switched off in the device).
const CYCLES_WITHOUT_ROTATION: u32 = 3;

/// One joined reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WitMotionReading {
    /// Place of its first byte, counted from the first byte ever pushed.
    pub offset: u64,
    /// Specific force in m/s².
    pub accel_mps2: [f32; 3],
    /// Rotation in rad/s; none when the device sends none.
    pub gyro_radps: Option<[f32; 3]>,
}

/// Finds packets in a stream of bytes. Garbage is passed over; a wrong sum costs one byte, so that a header inside is still found.
#[derive(Debug, Default)]
pub struct WitMotionParser {
    buffer: Vec<u8>,
    /// Bytes taken off the front of the buffer so far.
    passed: u64,
    held: Option<(u64, [f32; 3])>,
    has_rotation: bool,
    cycles_without: u32,
    /// Packets whose sum was wrong.
    pub bad_sums: u64,
}

impl WitMotionParser {
    /// Takes bytes in; gives the readings that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<WitMotionReading> {
        self.buffer.extend_from_slice(bytes);
        let (mut readings, mut at) = (Vec::new(), 0);
        while let Some(packet) = self.buffer.get(at..).and_then(|rest| rest.first_chunk::<PACKET_BYTES>()) {
            let [header, kind, payload @ .., sum] = *packet;
            let is_header = header == HEADER && KINDS.contains(&kind);
            let is_whole =
                is_header && packet.iter().rev().skip(1).fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == sum;
            if is_whole {
                readings.extend(self.take(self.passed + at as u64, kind, payload));
                at += PACKET_BYTES;
            } else {
                self.bad_sums += u64::from(is_header);
                at += 1;
            }
        }
        self.buffer.drain(..at);
        self.passed += at as u64;
        readings
    }

    /// Where the bytes begin that may still become part of a reading.
    #[must_use]
    pub fn needed_from(&self) -> u64 {
        self.held.map_or(self.passed, |(offset, _)| offset)
    }

    fn take(&mut self, offset: u64, kind: u8, payload: [u8; 8]) -> Option<WitMotionReading> {
        let [x0, x1, y0, y1, z0, z1, ..] = payload;
        let axes = [[x0, x1], [y0, y1], [z0, z1]].map(|pair| f32::from(i16::from_le_bytes(pair)) / 32_768.0);
        match kind {
            ACCELERATION => {
                let before = self.held.replace((offset, axes.map(|v| v * 16.0 * STANDARD_GRAVITY_MPS2)));
                let (offset, accel_mps2) = before?;
                self.cycles_without = self.cycles_without.saturating_add(1);
                // Where rotation is known to come, a cycle without it lost a packet and is left out.
                let sends_none = !self.has_rotation && self.cycles_without >= CYCLES_WITHOUT_ROTATION;
                sends_none.then_some(WitMotionReading { offset, accel_mps2, gyro_radps: None })
            }
            ROTATION => {
                self.has_rotation = true;
                let (offset, accel_mps2) = self.held.take()?;
                let gyro_radps = Some(axes.map(|v| v * 2000.0 * PI / 180.0));
                Some(WitMotionReading { offset, accel_mps2, gyro_radps })
            }
            _ => None,
        }
    }
}

/// The device on its port.
pub(super) struct WitMotion {
    id: SensorId,
    line: SerialLine,
    parser: WitMotionParser,
    seq: u64,
}

impl WitMotion {
    pub(super) fn open(id: SensorId, port: &SerialPortSettings) -> Result<Self, SensorError> {
        Ok(Self { id, line: SerialLine::open(port)?, parser: WitMotionParser::default(), seq: 0 })
    }
}

impl Sensor for WitMotion {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let found = self.parser.push(self.line.read(timeout)?);
        let arrived_at = now();
        let mut last = MonoTime::from_nanos(i64::MIN);
        let readings: Vec<ImuReading> = found
            .into_iter()
            .map(|reading| {
                // Reads of several packets: stamps rise even where the adapter hands them over late.
                last = self.line.clock.began(reading.offset).unwrap_or(arrived_at).max(last.shifted(1));
                let WitMotionReading { accel_mps2, gyro_radps, .. } = reading;
                ImuReading { captured_at: last, accel_in_body_mps2: accel_mps2, gyro_in_body_radps: gyro_radps }
            })
            .collect();
        self.line.clock.forget_before(self.parser.needed_from());
        let Some(first) = readings.first() else { return Ok(None) };
        let captured_at = first.captured_at;
        self.seq += 1;
        let (sensor, seq) = (self.id.clone(), self.seq - 1);
        Ok(Some(Sample { sensor, captured_at, arrived_at, seq, data: SampleData::Imu(readings) }))
    }
}

#[cfg(test)]
pub(in crate::sensors) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::sensors) fn packet(kind: u8, axes: [i16; 3]) -> Vec<u8> {
        let mut bytes = vec![HEADER, kind];
        bytes.extend(axes.iter().chain(&[2500]).flat_map(|axis| axis.to_le_bytes()));
        bytes.push(bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
        bytes
    }

    fn cycles(n: i16) -> Vec<u8> {
        (0..n)
            .flat_map(|i| [packet(0x51, [i, 0, 2048]), packet(0x52, [0, i, 0]), packet(0x53, [9, 9, 9])].concat())
            .collect()
    }

    #[test]
    fn one_g_and_full_turn_rate() {
        let mut parser = WitMotionParser::default();
        let bytes = [packet(0x51, [0, 0, 2048]), packet(0x52, [16_384, 0, 0])].concat();
        let [reading] = parser.push(&bytes)[..] else { panic!() };
        assert!((reading.accel_mps2[2] - STANDARD_GRAVITY_MPS2).abs() < 1e-5);
        assert!((reading.gyro_radps.unwrap()[0] - 1000.0f32.to_radians()).abs() < 1e-4);
        assert_eq!(reading.offset, 0);
    }

    #[test]
    fn a_device_without_rotation_is_told_after_three_cycles() {
        let mut parser = WitMotionParser::default();
        let readings: Vec<_> = (0..6).flat_map(|i| parser.push(&packet(0x51, [i, 0, 0]))).collect();
        assert_eq!(readings.len(), 3);
        assert!(readings.iter().all(|reading| reading.gyro_radps.is_none()));
    }

    #[test]
    fn a_wrong_sum_costs_one_cycle() {
        let mut bytes = cycles(5);
        bytes[33 + 4] ^= 0x40; // acceleration of the second cycle
        let mut parser = WitMotionParser::default();
        assert_eq!(parser.push(&bytes).len(), 4);
        assert_eq!(parser.bad_sums, 1);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_split_does_not_matter(cut in 0usize..198, more in 0usize..50) {
            let bytes = cycles(6);
            let whole = WitMotionParser::default().push(&bytes);
            let mut parser = WitMotionParser::default();
            let second = (cut + more).min(bytes.len());
            let parts: Vec<_> =
                [&bytes[..cut], &bytes[cut..second], &bytes[second..]].iter().flat_map(|part| parser.push(part)).collect();
            prop_assert_eq!(whole.len(), 6);
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn noise_is_passed_over(noise in prop::collection::vec(any::<u8>(), 0..60), at in 0usize..6, cut in 0usize..11) {
            let (before, after) = (cycles(at as i16), cycles(6));
            let bytes = [&before[..before.len().saturating_sub(cut)], &noise[..], &after[..]].concat();
            let found = WitMotionParser::default().push(&bytes);
            // Noise may swallow at most what it looks like the head of: one packet, so one cycle.
            let wanted = WitMotionParser::default().push(&after);
            let same = |a: &WitMotionReading, b: &WitMotionReading| a.accel_mps2 == b.accel_mps2 && a.gyro_radps == b.gyro_radps;
            prop_assert!(wanted[1..].iter().all(|reading| found.iter().any(|found| same(found, reading))));
        }

        #[test]
        fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut parser = WitMotionParser::default();
            parser.push(&bytes);
            prop_assert!(parser.buffer.len() < PACKET_BYTES);
        }
    }
}
