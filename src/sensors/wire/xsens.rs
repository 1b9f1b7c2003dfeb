//! Xsens MTi: messages `FA FF id length data sum`, of which MTData2 (id 36) carries measurements; all bytes after `FA` sum to 0.
//!
//! MTData2 is a list of {id u16 BE, length u8, value BE}. The low bits of an id tell the number format: f32, fixed 12.20, fixed 16.32,
//! f64. Acceleration 4020 is in m/s², rate of turn 8020 in rad/s, in the axes of the case, x forward, y left, z up; sample time 1060
//! counts tenths of a millisecond.

use super::framer::{Framer, Step, sum8};
use super::{WireParser, WireReading};

const PREAMBLE: [u8; 2] = [0xFA, 0xFF];
const MTDATA2: u8 = 0x36;
/// In the place of the length: the true one follows as u16 BE.
const EXTENDED: u8 = 0xFF;
/// The longest data of a message, by the low-level communication manual.
const MOST_DATA_BYTES: usize = 2048;

const SAMPLE_TIME_FINE: u16 = 0x1060;
const ACCELERATION: u16 = 0x4020;
const RATE_OF_TURN: u16 = 0x8020;
const NANOS_PER_TICK: i64 = 100_000;

/// Finds messages in a stream of bytes.
#[derive(Debug, Default)]
pub struct XsensParser {
    framer: Framer,
    has_gyro: bool,
    not_finite: u64,
}

impl WireParser for XsensParser {
    type Found = WireReading;

    fn push(&mut self, bytes: &[u8]) -> Vec<WireReading> {
        let mut readings = Vec::new();
        let Self { framer, has_gyro, not_finite } = self;
        framer.push(bytes, |offset, rest| {
            let (data, length) = match message(rest) {
                Ok(found) => found,
                Err(step) => return step,
            };
            if let Some(reading) = data.and_then(|data| reading(offset, data)?.finite(not_finite)) {
                // Where rotation is known to come, a message without it would tell of a sensor that has none.
                *has_gyro |= reading.gyro_radps.is_some();
                readings.extend((reading.gyro_radps.is_some() == *has_gyro).then_some(reading));
            }
            Step::Whole(length)
        });
        readings
    }

    fn needed_from(&self) -> u64 {
        self.framer.needed_from()
    }

    fn refused(&self) -> u64 {
        self.framer.refused()
    }

    fn not_finite(&self) -> u64 {
        self.not_finite
    }
}

/// The data of a message of measurements, none for other messages, and the message's length.
fn message(bytes: &[u8]) -> Result<(Option<&[u8]>, usize), Step> {
    if !bytes.iter().zip(PREAMBLE).all(|(byte, wanted)| *byte == wanted) {
        return Err(Step::Nothing);
    }
    let byte = |at: usize| bytes.get(at).copied().ok_or(Step::Partial);
    let id = byte(2)?;
    let (header, data_bytes) = match byte(3)? {
        EXTENDED => (6, usize::from(u16::from_be_bytes([byte(4)?, byte(5)?]))),
        short => (4, usize::from(short)),
    };
    if data_bytes > MOST_DATA_BYTES {
        return Err(Step::Nothing);
    }
    let length = header + data_bytes + 1;
    let whole = bytes.get(..length).ok_or(Step::Partial)?;
    if sum8(whole.get(1..).unwrap_or_default()) != 0 {
        return Err(Step::Refused);
    }
    Ok((whole.get(header..length - 1).filter(|_| id == MTDATA2), length))
}

fn reading(offset: u64, mut data: &[u8]) -> Option<WireReading> {
    let (mut accel_mps2, mut gyro_radps, mut device_nanos) = (None, None, None);
    while let Some(([id0, id1, length], rest)) = data.split_first_chunk::<3>() {
        let id = u16::from_be_bytes([*id0, *id1]);
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        match id & 0xFFF0 {
            SAMPLE_TIME_FINE => {
                let ticks = value.first_chunk::<4>().map(|ticks| i64::from(u32::from_be_bytes(*ticks)));
                device_nanos = ticks.map(|ticks| ticks * NANOS_PER_TICK);
            }
            ACCELERATION => accel_mps2 = vector(id, value),
            RATE_OF_TURN => gyro_radps = vector(id, value),
            _ => {}
        }
        data = rest;
    }
    Some(WireReading { offset, device_nanos, accel_mps2: accel_mps2?, gyro_radps })
}

/// Three numbers in the format that the id tells.
fn vector(id: u16, value: &[u8]) -> Option<[f32; 3]> {
    match id & 3 {
        0 => three(value).map(|axes| axes.map(f32::from_be_bytes)),
        1 => three(value).map(|axes| axes.map(|axis| (f64::from(i32::from_be_bytes(axis)) / (1 << 20) as f64) as f32)),
        // Fixed 16.32: the 32 bits of the fraction come first, then the signed integer.
        2 => three(value).map(|axes| {
            axes.map(|[f0, f1, f2, f3, i0, i1]| {
                let fraction = f64::from(u32::from_be_bytes([f0, f1, f2, f3])) / (1u64 << 32) as f64;
                (f64::from(i16::from_be_bytes([i0, i1])) + fraction) as f32
            })
        }),
        _ => three(value).map(|axes| axes.map(|axis| f64::from_be_bytes(axis) as f32)),
    }
}

/// Three values of N bytes, when that is all there is.
fn three<const N: usize>(value: &[u8]) -> Option<[[u8; N]; 3]> {
    let (values, left) = value.as_chunks::<N>();
    <[[u8; N]; 3]>::try_from(values).ok().filter(|_| left.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::packets;
    use super::*;

    #[test]
    fn a_message_is_read() {
        let bytes = packets::xsens(12_345, [0.5, -1.0, 9.75], [0.25, -0.5, 2.0]);
        let [reading] = XsensParser::default().push(&bytes)[..] else { panic!() };
        let expected = WireReading {
            offset: 0,
            device_nanos: Some(1_234_500_000),
            accel_mps2: [0.5, -1.0, 9.75],
            gyro_radps: Some([0.25, -0.5, 2.0]),
        };
        assert_eq!(reading, expected);
    }

    #[test]
    fn every_number_format_is_read() {
        let twelve_20: Vec<u8> = [0x0010_0000i32, -0x0008_0000, 0].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(vector(0x4021, &twelve_20), Some([1.0, -0.5, 0.0]));
        let sixteen_32 = [[0x80, 0, 0, 0, 0, 9], [0x80, 0, 0, 0, 0xFF, 0xFF], [0, 0, 0, 0, 0x7F, 0xFF]].concat();
        assert_eq!(vector(0x4022, &sixteen_32), Some([9.5, -0.5, 32_767.0]));
        let doubles: Vec<u8> = [1.5f64, -2.5, 0.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(vector(0x4023, &doubles), Some([1.5, -2.5, 0.0]));
        assert_eq!(vector(0x4020, &doubles), None);
    }

    #[test]
    fn long_messages_have_a_longer_length() {
        let short = packets::xsens(1, [1.0, 2.0, 3.0], [0.0; 3]);
        let bytes = packets::xsens_extended(&short, 300);
        assert_eq!(XsensParser::default().push(&bytes)[0].accel_mps2, [1.0, 2.0, 3.0]);
    }
}
