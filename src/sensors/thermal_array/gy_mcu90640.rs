//! GY-MCU90640: an MLX90640 thermal array (32×24) behind a microcontroller on a serial port.
//!
//! A frame is 1544 bytes: `5A 5A`, length 0x0602 LE, 768 × i16 LE hundredths of °C row by row, the chip's own temperature likewise, two
//! bytes of checksum. Real frames match none of the usual sums (found by the s3cam project), so a frame is accepted on its headers and on
//! the range of the sensor, and mismatches are only counted.

use std::time::Duration;

use crate::media::Plane;
use crate::modality::SensorId;
use crate::sensors::serial::SerialLine;
use crate::sensors::{Sample, SampleData, Sensor, SensorError, SerialPortSettings};
use crate::time::now;

const WIDTH: u32 = 32;
const HEIGHT: u32 = 24;
const PIXELS: usize = 768;
const HEADER: [u8; 4] = [0x5A, 0x5A, 0x02, 0x06];
const FRAME_BYTES: usize = 4 + 2 * PIXELS + 2 + 2;

/// What the MLX90640 can read (datasheet, object temperature), in °C.
const RANGE_CELSIUS: std::ops::RangeInclusive<f32> = -40.0..=300.0;

/// Tells the board to send frames by itself (the last byte is the sum of the first three).
const SEND_BY_ITSELF: [u8; 4] = [0xA5, 0x35, 0x02, 0xDC];

/// One frame.
#[derive(Clone, Debug, PartialEq)]
pub struct ThermalFrame {
    /// Place of its first byte, counted from the first byte ever pushed.
    pub offset: u64,
    /// °C, 32×24.
    pub plane: Plane,
    /// The chip's own temperature in °C.
    pub chip_celsius: f32,
}

/// Finds frames in a stream of bytes; passes over garbage.
#[derive(Debug, Default)]
pub struct GyMcu90640Parser {
    buffer: Vec<u8>,
    passed: u64,
    /// Frames accepted although their 16-bit sum does not match.
    pub sum_mismatches: u64,
}

impl GyMcu90640Parser {
    /// Takes bytes in; gives the frames that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<ThermalFrame> {
        self.buffer.extend_from_slice(bytes);
        let (mut frames, mut at) = (Vec::new(), 0);
        while let Some(rest) = self.buffer.get(at..).filter(|rest| rest.len() >= HEADER.len()) {
            if !rest.starts_with(&HEADER) {
                at += 1;
                continue;
            }
            let Some((frame, next)) = rest.split_first_chunk::<FRAME_BYTES>() else { break };
            match parse(frame).filter(|_| may_begin_frame(next)) {
                Some((plane, chip_celsius)) => {
                    self.sum_mismatches += u64::from(!sum_matches(frame));
                    frames.push(ThermalFrame { offset: self.passed + at as u64, plane, chip_celsius });
                    at += FRAME_BYTES;
                }
                // No frame: its header was chance, or bytes were lost inside; the true next header lies further on.
                None => at += 1,
            }
        }
        self.buffer.drain(..at);
        self.passed += at as u64;
        frames
    }

    /// Where the bytes begin that may still become part of a frame.
    #[must_use]
    pub const fn needed_from(&self) -> u64 {
        self.passed
    }
}

/// Whether what follows a frame can be the next one, as far as it has come.
fn may_begin_frame(next: &[u8]) -> bool {
    next.iter().zip(HEADER).all(|(byte, wanted)| *byte == wanted)
}

fn parse(frame: &[u8; FRAME_BYTES]) -> Option<(Plane, f32)> {
    let (pairs, _) = frame.get(HEADER.len()..)?.as_chunks::<2>();
    let mut celsius = pairs.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) / 100.0);
    let values: Vec<f32> = celsius.by_ref().take(PIXELS).collect();
    let chip_celsius = celsius.next()?;
    let is_possible = values.iter().chain([&chip_celsius]).all(|v| RANGE_CELSIUS.contains(v));
    is_possible.then_some((Plane { width: WIDTH, height: HEIGHT, values }, chip_celsius))
}

fn sum_matches(frame: &[u8; FRAME_BYTES]) -> bool {
    let (data, sum) = frame.split_at(FRAME_BYTES - 2);
    let total = data.iter().fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    sum == total.to_le_bytes()
}

/// The device on its port.
pub(super) struct GyMcu90640 {
    id: SensorId,
    line: SerialLine,
    parser: GyMcu90640Parser,
    seq: u64,
}

impl GyMcu90640 {
    pub(super) fn open(id: SensorId, port: &SerialPortSettings) -> Result<Self, SensorError> {
        let mut line = SerialLine::open(port)?;
        line.write(&SEND_BY_ITSELF)?;
        Ok(Self { id, line, parser: GyMcu90640Parser::default(), seq: 0 })
    }
}

impl Sensor for GyMcu90640 {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let frames = self.parser.push(self.line.read(timeout)?);
        let arrived_at = now();
        self.seq += frames.len() as u64;
        // Two frames in one read mean that we were late by a period: only the newer one is still of use, and the jump in seq tells.
        let newest = frames.into_iter().next_back();
        let stamp = newest.as_ref().and_then(|frame| self.line.clock.began(frame.offset));
        self.line.clock.forget_before(self.parser.needed_from());
        let Some(frame) = newest else { return Ok(None) };
        let captured_at = stamp.unwrap_or(arrived_at);
        let (sensor, seq) = (self.id.clone(), self.seq - 1);
        Ok(Some(Sample { sensor, captured_at, arrived_at, seq, data: SampleData::Thermal(frame.plane) }))
    }
}

#[cfg(test)]
pub(in crate::sensors) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::sensors) fn frame_bytes(celsius: impl Fn(usize) -> f32) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        bytes.extend((0..=PIXELS).flat_map(|pixel| ((celsius(pixel) * 100.0).round() as i16).to_le_bytes()));
        let sum = bytes.iter().fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    fn scene(n: usize) -> Vec<u8> {
        frame_bytes(|pixel| 20.0 + n as f32 + (pixel % 32) as f32 / 4.0)
    }

    #[test]
    fn a_frame_is_read_in_degrees() {
        let mut parser = GyMcu90640Parser::default();
        let frames = parser.push(&frame_bytes(|pixel| if pixel == 33 { -12.34 } else { 36.6 }));
        assert_eq!((frames[0].plane.width, frames[0].plane.height), (32, 24));
        assert_eq!(
            (frames[0].plane.values[33], frames[0].plane.values[34], frames[0].chip_celsius),
            (-12.34, 36.6, 36.6)
        );
        assert_eq!(parser.sum_mismatches, 0);
    }

    #[test]
    fn a_wrong_sum_is_counted_and_an_impossible_value_refused() {
        let mut parser = GyMcu90640Parser::default();
        let mut bytes = scene(0);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(parser.push(&bytes).len(), 1);
        assert_eq!(parser.sum_mismatches, 1);
        assert!(parser.push(&frame_bytes(|pixel| if pixel == 7 { 310.0 } else { 20.0 })).is_empty());
        assert_eq!(parser.push(&scene(1)).len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn where_the_bytes_are_split_does_not_matter(cut in 0usize..4632, more in 0usize..2000) {
            let bytes = [scene(0), scene(1), scene(2)].concat();
            let whole = GyMcu90640Parser::default().push(&bytes);
            let mut parser = GyMcu90640Parser::default();
            let second = (cut + more).min(bytes.len());
            let parts: Vec<_> =
                [&bytes[..cut], &bytes[cut..second], &bytes[second..]].iter().flat_map(|part| parser.push(part)).collect();
            prop_assert_eq!(whole.len(), 3);
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn it_finds_its_way_after_noise_or_a_cut(
            noise in prop::collection::vec(any::<u8>(), 0..40), at in 0usize..1544, lost in 0usize..1544,
        ) {
            let broken = scene(0);
            let resumed = (at + lost).min(broken.len());
            let bytes = [&broken[..at], &noise[..], &broken[resumed..], &scene(5)[..], &scene(6)[..]].concat();
            let found = GyMcu90640Parser::default().push(&bytes);
            let wanted = GyMcu90640Parser::default().push(&[scene(5), scene(6)].concat());
            prop_assert_eq!(&found.last().unwrap().plane, &wanted[1].plane);
        }

        #[test]
        fn any_bytes_at_all(bytes in prop::collection::vec(prop_oneof![Just(0x5A), Just(0x02), Just(0x06), any::<u8>()], 0..4000)) {
            let mut parser = GyMcu90640Parser::default();
            parser.push(&bytes);
            prop_assert!(parser.buffer.len() < FRAME_BYTES);
        }
    }
}
