//! Keys of thermal arrays on serial ports.

use super::camera::celsius_range;
use super::serial_port::serial_port;
use crate::config::section::Section;
use crate::sensors::ThermalArrayDriver;
use crate::sensors::wire::{ArrayElement, SerialArrayFormat};

/// The MLX90640's.
const USUAL_CELSIUS: [f64; 2] = [-40.0, 300.0];

pub(super) fn gy_mcu90640(section: &mut Section<'_>) -> Option<ThermalArrayDriver> {
    serial_port(section).map(ThermalArrayDriver::GyMcu90640)
}

pub(super) fn serial_array(section: &mut Section<'_>) -> Option<ThermalArrayDriver> {
    let port = serial_port(section);
    let header = section.required_text("header", "the bytes with which a frame begins, such as \"AA BB CC DD\"");
    let width_px = required_side(section, "width_px");
    let height_px = required_side(section, "height_px");
    let names = ArrayElement::NAMES.map(|(name, _)| name);
    let element = section.word("element", &names);
    let element = ArrayElement::NAMES.into_iter().find(|(name, _)| Some(*name) == element).map(|(_, element)| element);
    let big_endian = section.word("byte_order", &["little", "big"]) == Some("big");
    let celsius_per_unit = section.number("celsius_per_unit", -1000.0..=1000.0).unwrap_or(1.0);
    let celsius_at_zero = section.number("celsius_at_zero", -1000.0..=1000.0).unwrap_or(0.0);
    let trailer_bytes = section.integer("trailer_bytes", 0..=4096_u16).unwrap_or(0);
    let [low, high] = celsius_range(section, USUAL_CELSIUS);
    let header = header.and_then(|(text, line)| {
        let bytes = hex(&text);
        if bytes.is_none() {
            let what = format!("\"{text}\" is no row of bytes: two hexadecimal digits each, such as \"AA BB CC DD\"");
            section.findings.add(line, section.key("header"), what);
        }
        bytes
    });
    let format = SerialArrayFormat {
        header: header?,
        width_px: width_px?,
        height_px: height_px?,
        element: element.unwrap_or(ArrayElement::I16),
        big_endian,
        celsius_per_unit,
        celsius_at_zero,
        trailer_bytes: trailer_bytes.into(),
        valid_celsius: low..=high,
    };
    if let Err(why) = format.check() {
        section.problem(why);
    }
    Some(ThermalArrayDriver::SerialArray(port?, format))
}

fn required_side(section: &mut Section<'_>, key: &'static str) -> Option<u32> {
    section.require(key, "the pixels of a side of the array");
    section.integer(key, 1..=1024)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.split_whitespace().collect();
    let (pairs, left) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|_| left.is_empty() && !digits.contains('+'))
}
