//! GY-MCU90640: an MLX90640 thermal array (32×24) behind a microcontroller on a serial port.
//!
//! A frame is 1544 bytes: `5A 5A`, length 0x0602 LE, 768 × i16 LE hundredths of °C row by row, the chip's own temperature likewise, two
//! bytes of checksum. Real frames match none of the usual sums (found by the s3cam project), so the sum says nothing: a frame is
//! accepted when its values are possible and the next frame's header does not stand in it, which would tell of lost bytes.

use super::framer::{Framer, Step, holds};
use super::{ThermalFrame, WireParser};

const WIDTH: u32 = 32;
const HEIGHT: u32 = 24;
const PIXELS: usize = 768;
const HEADER: [u8; 4] = [0x5A, 0x5A, 0x02, 0x06];
const FRAME_BYTES: usize = 4 + 2 * PIXELS + 2 + 2;

/// What the MLX90640 can read (datasheet, object temperature), in °C.
const RANGE_CELSIUS: std::ops::RangeInclusive<f32> = -40.0..=300.0;

/// Finds frames in a stream of bytes.
#[derive(Debug, Default)]
pub struct GyMcu90640Parser {
    framer: Framer,
}

impl GyMcu90640Parser {
    /// Tells the board to send frames by itself (the last byte is the sum of the first three).
    pub const SEND_BY_ITSELF: [u8; 4] = [0xA5, 0x35, 0x02, 0xDC];
}

impl WireParser for GyMcu90640Parser {
    type Found = ThermalFrame;

    fn push(&mut self, bytes: &[u8]) -> Vec<ThermalFrame> {
        let mut frames = Vec::new();
        self.framer.push(bytes, |offset, rest| {
            if !begins_frame(rest) {
                return Step::Nothing;
            }
            let Some(frame) = rest.first_chunk::<FRAME_BYTES>() else { return Step::Partial };
            let Some(celsius) = celsius(frame).filter(|_| !lost_bytes(frame)) else { return Step::Refused };
            frames.push(ThermalFrame { offset, width_px: WIDTH, height_px: HEIGHT, celsius });
            Step::Whole(FRAME_BYTES)
        });
        frames
    }

    fn needed_from(&self) -> u64 {
        self.framer.needed_from()
    }

    fn refused(&self) -> u64 {
        self.framer.refused()
    }
}

/// Whether a frame may begin here, as far as the bytes have come.
fn begins_frame(bytes: &[u8]) -> bool {
    bytes.iter().zip(HEADER).all(|(byte, wanted)| *byte == wanted)
}

/// Whether the next frame begins within this one, or in its last bytes, where the sum would be.
fn lost_bytes(frame: &[u8; FRAME_BYTES]) -> bool {
    let [_, _, _, _, data @ ..] = frame;
    holds(data, &HEADER) || data.ends_with(&HEADER[..2]) || data.ends_with(&HEADER[..3])
}

/// The pixels, when they and the chip's temperature are possible.
fn celsius(frame: &[u8; FRAME_BYTES]) -> Option<Vec<f32>> {
    let (pairs, _) = frame.get(HEADER.len()..)?.as_chunks::<2>();
    let mut values: Vec<f32> =
        pairs.iter().take(PIXELS + 1).map(|pair| f32::from(i16::from_le_bytes(*pair)) / 100.0).collect();
    let is_possible = values.iter().all(|value| RANGE_CELSIUS.contains(value));
    values.truncate(PIXELS);
    is_possible.then_some(values)
}

#[cfg(test)]
mod tests {
    use super::super::packets;
    use super::*;

    #[test]
    fn a_frame_is_read_in_degrees() {
        let mut parser = GyMcu90640Parser::default();
        let frames = parser.push(&packets::gy_mcu90640(|pixel| if pixel == 33 { -12.34 } else { 36.6 }));
        let [frame] = &frames[..] else { panic!() };
        assert_eq!((frame.width_px, frame.height_px, frame.celsius.len()), (32, 24, 768));
        assert_eq!((frame.celsius[33], frame.celsius[34]), (-12.34, 36.6));
    }

    #[test]
    fn a_wrong_sum_says_nothing_and_an_impossible_value_is_refused() {
        let mut parser = GyMcu90640Parser::default();
        let mut bytes = packets::gy_mcu90640(|_| 20.0);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(parser.push(&bytes).len(), 1);
        assert!(parser.push(&packets::gy_mcu90640(|pixel| if pixel == 7 { 310.0 } else { 20.0 })).is_empty());
        assert_eq!(parser.refused(), 1);
        assert_eq!(parser.push(&packets::gy_mcu90640(|_| 21.0)).len(), 1);
    }

    #[test]
    fn a_frame_that_lost_bytes_is_refused_and_the_next_one_read() {
        let frame = |celsius: f32| packets::gy_mcu90640(move |_| celsius);
        for lost in [2, 3, 4, 100, 1000] {
            let bytes = [&frame(20.0)[..1540 - lost], &frame(21.0)[..], &frame(22.0)].concat();
            let celsius: Vec<f32> = GyMcu90640Parser::default().push(&bytes).iter().map(|f| f.celsius[5]).collect();
            assert!(!celsius.contains(&20.0) && celsius.ends_with(&[22.0]), "{lost}: {celsius:?}");
        }
    }
}
