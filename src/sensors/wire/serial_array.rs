//! Thermal arrays that send a header and then a number for each pixel, as home-made boards do: the config says how.

use std::ops::RangeInclusive;

use super::framer::{Framer, Step, holds};
use super::{ThermalFrame, WireParser};

/// Limits of a frame, so that nobody's typing mistake takes the memory.
const MOST_HEADER_BYTES: usize = 64;
const SIDE_PX: RangeInclusive<u32> = 1..=1024;
const MOST_TRAILER_BYTES: usize = 4096;

/// A header this long does not stand among pixels by chance; when it does, bytes were lost and the next frame began.
const TELLING_HEADER_BYTES: usize = 4;

/// The number of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrayElement {
    /// One byte.
    U8,
    /// Two bytes, unsigned.
    U16,
    /// Two bytes, signed.
    I16,
    /// Four bytes, signed.
    I32,
    /// Four bytes, IEEE 754.
    F32,
}

impl ArrayElement {
    /// The names of elements in a config.
    pub const NAMES: [(&str, Self); 5] =
        [("u8", Self::U8), ("u16", Self::U16), ("i16", Self::I16), ("i32", Self::I32), ("f32", Self::F32)];

    const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
}

/// How frames are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SerialArrayFormat {
    /// The bytes with which a frame begins.
    pub header: Vec<u8>,
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// The number of a pixel; pixels come row by row from the top left.
    pub element: ArrayElement,
    /// Whether its most significant byte comes first.
    pub big_endian: bool,
    /// °C = number · scale + offset.
    pub celsius_per_unit: f64,
    /// °C of the number 0.
    pub celsius_at_zero: f64,
    /// Bytes after the pixels, up to the next header.
    pub trailer_bytes: usize,
    /// What the sensor can read. A pixel beyond it has no reading; a frame with half its pixels beyond it is no frame.
    pub valid_celsius: RangeInclusive<f32>,
}

impl SerialArrayFormat {
    /// Whether frames can be found; `Err` says what is wrong.
    ///
    /// # Errors
    /// When the header is empty or longer than 64 bytes, a side is not 1 to 1024 pixels, or the trailer is longer than 4096 bytes.
    pub fn check(&self) -> Result<(), String> {
        if self.header.is_empty() || self.header.len() > MOST_HEADER_BYTES {
            return Err(format!("the header has {} bytes: 1 to {MOST_HEADER_BYTES}", self.header.len()));
        }
        if !SIDE_PX.contains(&self.width_px) || !SIDE_PX.contains(&self.height_px) {
            return Err(format!("{}x{} pixels: each side 1 to {}", self.width_px, self.height_px, SIDE_PX.end()));
        }
        if self.trailer_bytes > MOST_TRAILER_BYTES {
            return Err(format!("the trailer has {} bytes: at most {MOST_TRAILER_BYTES}", self.trailer_bytes));
        }
        Ok(())
    }

    /// Bytes from one header to the next.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.header.len() + self.pixels() * self.element.bytes() + self.trailer_bytes
    }

    fn pixels(&self) -> usize {
        self.width_px as usize * self.height_px as usize
    }

    /// Whether a frame may begin here, as far as the bytes have come.
    fn begins_frame(&self, bytes: &[u8]) -> bool {
        bytes.iter().zip(&self.header).all(|(byte, wanted)| byte == wanted)
    }

    /// The pixels; none when they are no frame's.
    fn celsius(&self, pixels: &[u8]) -> Option<Vec<f32>> {
        let celsius = |number: f64| {
            let celsius = (number * self.celsius_per_unit + self.celsius_at_zero) as f32;
            if self.valid_celsius.contains(&celsius) { celsius } else { f32::NAN }
        };
        let values: Vec<f32> = match self.element {
            ArrayElement::U8 => pixels.iter().map(|byte| celsius(f64::from(*byte))).collect(),
            ArrayElement::U16 => self.numbers(pixels, |bytes| celsius(f64::from(u16::from_le_bytes(bytes)))),
            ArrayElement::I16 => self.numbers(pixels, |bytes| celsius(f64::from(i16::from_le_bytes(bytes)))),
            ArrayElement::I32 => self.numbers(pixels, |bytes| celsius(f64::from(i32::from_le_bytes(bytes)))),
            ArrayElement::F32 => self.numbers(pixels, |bytes| celsius(f64::from(f32::from_le_bytes(bytes)))),
        };
        let beyond = values.iter().filter(|value| value.is_nan()).count();
        (2 * beyond < values.len().max(1)).then_some(values)
    }

    /// Numbers of N bytes, their least significant first.
    fn numbers<const N: usize>(&self, pixels: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let (bytes, _) = pixels.as_chunks::<N>();
        let little_endian = |mut bytes: [u8; N]| {
            if self.big_endian {
                bytes.reverse();
            }
            bytes
        };
        bytes.iter().map(|bytes| number(little_endian(*bytes))).collect()
    }
}

/// Finds frames in a stream of bytes.
#[derive(Debug)]
pub struct SerialArrayParser {
    format: SerialArrayFormat,
    framer: Framer,
}

impl SerialArrayParser {
    /// A parser for such frames.
    #[must_use]
    pub fn new(format: SerialArrayFormat) -> Self {
        Self { format, framer: Framer::default() }
    }
}

impl WireParser for SerialArrayParser {
    type Found = ThermalFrame;

    fn push(&mut self, bytes: &[u8]) -> Vec<ThermalFrame> {
        let mut frames = Vec::new();
        let Self { format, framer } = self;
        framer.push(bytes, |offset, rest| {
            if !format.begins_frame(rest) {
                return Step::Nothing;
            }
            let length = format.frame_bytes();
            let Some(frame) = rest.get(..length) else { return Step::Partial };
            let from = format.header.len();
            let pixels = frame.get(from..length - format.trailer_bytes).unwrap_or_default();
            let lost_bytes = from >= TELLING_HEADER_BYTES && holds(pixels, &format.header);
            let Some(celsius) = format.celsius(pixels).filter(|_| !lost_bytes) else { return Step::Refused };
            let (width_px, height_px) = (format.width_px, format.height_px);
            frames.push(ThermalFrame { offset, width_px, height_px, celsius });
            Step::Whole(length)
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

#[cfg(test)]
mod tests {
    use super::super::packets;
    use super::*;

    #[test]
    fn kelvin_in_big_endian_hundredths() {
        let format = SerialArrayFormat {
            header: vec![0xAB, 0xCD],
            width_px: 2,
            height_px: 2,
            element: ArrayElement::U16,
            big_endian: true,
            celsius_per_unit: 0.01,
            celsius_at_zero: -273.15,
            trailer_bytes: 1,
            valid_celsius: -40.0..=300.0,
        };
        assert_eq!((format.check(), format.frame_bytes()), (Ok(()), 11));
        // 0x733C = 29500 → 21.85 °C, 0x6AB3 = 27315 → 0 °C, 0x7A44 = 31300 → 39.85 °C, 0xFFFF = 65535 → 382.2 °C: no reading.
        let bytes = [0xAB, 0xCD, 0x73, 0x3C, 0x6A, 0xB3, 0x7A, 0x44, 0xFF, 0xFF, 0x00];
        let frames = SerialArrayParser::new(format).push(&bytes);
        let [frame] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!((frame.width_px, frame.height_px), (2, 2));
        assert!((frame.celsius[0] - 21.85).abs() < 1e-5 && frame.celsius[1].abs() < 1e-4);
        assert!((frame.celsius[2] - 39.85).abs() < 1e-5 && frame.celsius[3].is_nan());
    }

    #[test]
    fn every_element_is_read_in_both_orders() {
        for (element, bytes) in [
            (ArrayElement::U8, vec![25]),
            (ArrayElement::U16, 25u16.to_le_bytes().to_vec()),
            (ArrayElement::I16, 25i16.to_le_bytes().to_vec()),
            (ArrayElement::I32, 25i32.to_le_bytes().to_vec()),
            (ArrayElement::F32, 25f32.to_le_bytes().to_vec()),
        ] {
            for big_endian in [false, true] {
                let pixel: Vec<u8> = if big_endian { bytes.iter().rev().copied().collect() } else { bytes.clone() };
                let format =
                    SerialArrayFormat { width_px: 3, height_px: 1, element, big_endian, ..packets::array_format() };
                let frame = [format.header.clone(), pixel.repeat(3)].concat();
                assert_eq!(SerialArrayParser::new(format).push(&frame)[0].celsius, [25.0; 3], "{element:?}");
            }
        }
    }

    #[test]
    fn a_frame_of_impossible_pixels_is_refused() {
        let mut parser = SerialArrayParser::new(packets::array_format());
        assert!(parser.push(&packets::array(|_| 500.0)).is_empty());
        assert_eq!(parser.refused(), 1);
        assert_eq!(parser.push(&packets::array(|pixel| if pixel < 300 { f32::NAN } else { 20.0 })).len(), 1);
    }
}
