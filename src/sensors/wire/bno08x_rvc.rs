//! BNO08x IMUs in the mode UART-RVC: 19-byte packets `AA AA index yaw pitch roll ax ay az reserved[3] sum`, 100 a second at 115200.
//!
//! Accelerations are i16 LE in thousandths of g; the sum is of the 16 bytes after the header. The mode has no gyroscope.

use super::framer::{Framer, Step, sum8};
use super::{STANDARD_GRAVITY_MPS2, WireParser, WireReading};

const HEADER: [u8; 2] = [0xAA, 0xAA];
const PACKET_BYTES: usize = 19;

/// Finds packets in a stream of bytes.
#[derive(Debug, Default)]
pub struct Bno08xRvcParser {
    framer: Framer,
}

impl WireParser for Bno08xRvcParser {
    type Found = WireReading;

    fn push(&mut self, bytes: &[u8]) -> Vec<WireReading> {
        let mut readings = Vec::new();
        self.framer.push(bytes, |offset, rest| {
            if !rest.iter().zip(HEADER).all(|(byte, wanted)| *byte == wanted) {
                return Step::Nothing;
            }
            let Some(packet) = rest.first_chunk::<PACKET_BYTES>() else { return Step::Partial };
            let [_, _, summed @ .., sum] = packet;
            if sum8(summed) != *sum {
                return Step::Refused;
            }
            let [_, _, _, _, _, _, _, x0, x1, y0, y1, z0, z1, ..] = *summed;
            let axes = [[x0, x1], [y0, y1], [z0, z1]].map(|pair| f32::from(i16::from_le_bytes(pair)));
            let accel_mps2 = axes.map(|milli_g| milli_g / 1000.0 * STANDARD_GRAVITY_MPS2);
            readings.push(WireReading { offset, device_nanos: None, accel_mps2, gyro_radps: None });
            Step::Whole(PACKET_BYTES)
        });
        readings
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
    use super::*;

    #[test]
    fn a_printed_packet_is_read() {
        // From the maker's driver (Adafruit CircuitPython BNO08x RVC): index DE, 0.01° and mg.
        let bytes = [
            0xAA, 0xAA, 0xDE, 0x01, 0x00, 0x92, 0xFF, 0x25, 0x08, 0x8D, 0xFE, 0xEC, 0xFF, 0xD1, 0x03, 0x00, 0x00, 0x00,
            0xE7,
        ];
        let [reading] = Bno08xRvcParser::default().push(&bytes)[..] else { panic!() };
        // FE8D = -371, FFEC = -20, 03D1 = 977 thousandths of g.
        let expected = [-0.371, -0.020, 0.977].map(|g: f32| g * 9.806_65);
        let close = |(got, wanted): (&f32, &f32)| (got - wanted).abs() < 1e-5;
        assert!(reading.accel_mps2.iter().zip(&expected).all(close), "{reading:?}");
        assert_eq!((reading.gyro_radps, reading.offset), (None, 0));
    }
}
