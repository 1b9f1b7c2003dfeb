//! VectorNav's binary output: `FA`, a byte of groups, a u16 LE of fields for each group, the fields, CRC16-CCITT big-endian.
//!
//! Field lengths are those of the VN-100/200/300 manuals. Acceleration is in m/s², rotation in rad/s, both in the axes printed on the
//! case, which are x forward, y right, z down. Compensated values go before uncompensated ones. The device must be told to send
//! them: `$VNWRG,75,3,8,01,0121` gives time, rotation and acceleration, 100 a second from a VN-100.

use super::framer::{Framer, Step};
use super::{WireParser, WireReading, from_frd};

const SYNC: u8 = 0xFA;

/// Bytes of each field, by group (common, time, IMU, GNSS, attitude, INS, GNSS 2) and bit; 0 = unknown, or of no fixed length.
const FIELD_BYTES: [[u8; 16]; 7] = [
    [8, 8, 8, 12, 16, 12, 24, 12, 12, 24, 20, 28, 2, 4, 8, 0],
    [8, 8, 8, 2, 8, 8, 8, 4, 4, 1, 0, 0, 0, 0, 0, 0],
    [2, 12, 12, 12, 4, 4, 16, 12, 12, 12, 12, 2, 40, 0, 0, 0],
    [8, 8, 2, 1, 1, 24, 24, 12, 12, 12, 4, 4, 0, 0, 0, 0],
    [2, 12, 16, 36, 12, 12, 12, 12, 12, 12, 28, 24, 0, 0, 0, 0],
    [2, 24, 24, 12, 12, 12, 12, 12, 12, 4, 4, 68, 64, 0, 0, 0],
    [8, 8, 2, 1, 1, 24, 24, 12, 12, 12, 4, 4, 0, 0, 0, 0],
];

/// Finds packets in a stream of bytes.
#[derive(Debug, Default)]
pub struct VectorNavParser {
    framer: Framer,
    not_finite: u64,
}

impl WireParser for VectorNavParser {
    type Found = WireReading;

    fn push(&mut self, bytes: &[u8]) -> Vec<WireReading> {
        let mut readings = Vec::new();
        let not_finite = &mut self.not_finite;
        self.framer.push(bytes, |offset, rest| {
            if rest.first() != Some(&SYNC) {
                return Step::Nothing;
            }
            let packet = match Packet::at(rest) {
                Ok(packet) => packet,
                Err(step) => return step,
            };
            readings.extend(packet.reading(offset).and_then(|reading| reading.finite(not_finite)));
            Step::Whole(packet.length)
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

/// A packet whose CRC is right.
struct Packet<'a> {
    groups: u8,
    masks: &'a [[u8; 2]],
    payload: &'a [u8],
    length: usize,
}

impl<'a> Packet<'a> {
    fn at(bytes: &'a [u8]) -> Result<Self, Step> {
        let groups = *bytes.get(1).ok_or(Step::Partial)?;
        // The eighth bit announces a second byte of groups, which only newer firmware has.
        if groups == 0 || groups & 0x80 != 0 {
            return Err(Step::Nothing);
        }
        let count = groups.count_ones() as usize;
        let (masks, _) = bytes.get(2..2 + 2 * count).ok_or(Step::Partial)?.as_chunks::<2>();
        let payload_bytes = fields(groups, masks).try_fold(0, |sum, (_, _, length)| match length {
            0 => Err(Step::Nothing),
            length => Ok(sum + length),
        })?;
        let length = 2 + 2 * count + payload_bytes + 2;
        let packet = bytes.get(..length).ok_or(Step::Partial)?;
        // Over everything after the sync, the CRC itself included, it comes out as 0.
        if crc16(packet.get(1..).unwrap_or_default()) != 0 {
            return Err(Step::Refused);
        }
        let payload = packet.get(2 + 2 * count..length - 2).unwrap_or_default();
        Ok(Self { groups, masks, payload, length })
    }

    fn reading(&self, offset: u64) -> Option<WireReading> {
        let accel = self.vector(2, 9, 0).or_else(|| self.vector(0, 8, 0));
        let accel = accel.or_else(|| self.vector(2, 2, 0)).or_else(|| self.vector(0, 9, 0))?;
        let gyro = self.vector(2, 10, 0).or_else(|| self.vector(0, 5, 0));
        let gyro = gyro.or_else(|| self.vector(2, 3, 0)).or_else(|| self.vector(0, 9, 12));
        let startup = self.field(0, 0).or_else(|| self.field(1, 0)).and_then(|field| field.first_chunk::<8>());
        Some(WireReading {
            offset,
            device_nanos: startup.and_then(|nanos| i64::try_from(u64::from_le_bytes(*nanos)).ok()),
            accel_mps2: from_frd(accel),
            gyro_radps: gyro.map(from_frd),
        })
    }

    fn vector(&self, group: usize, bit: usize, skipped: usize) -> Option<[f32; 3]> {
        let (axes, _) = self.field(group, bit)?.get(skipped..)?.as_chunks::<4>();
        Some(axes.first_chunk::<3>()?.map(f32::from_le_bytes))
    }

    fn field(&self, group: usize, bit: usize) -> Option<&'a [u8]> {
        let mut at = 0;
        for (of_group, of_bit, length) in fields(self.groups, self.masks) {
            if (of_group, of_bit) == (group, bit) {
                return self.payload.get(at..at + length);
            }
            at += length;
        }
        None
    }
}

/// The fields that a packet has, in their order: group, bit, bytes.
fn fields(groups: u8, masks: &[[u8; 2]]) -> impl Iterator<Item = (usize, usize, usize)> {
    let present = FIELD_BYTES.iter().enumerate().filter(move |(group, _)| groups >> group & 1 == 1);
    present.zip(masks).flat_map(|((group, lengths), mask)| {
        let mask = u16::from_le_bytes(*mask);
        let wanted = lengths.iter().enumerate().filter(move |(bit, _)| mask >> bit & 1 == 1);
        wanted.map(move |(bit, length)| (group, bit, usize::from(*length)))
    })
}

/// CRC16-CCITT as VectorNav prints it: polynomial 0x1021, from 0, most significant bit first.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, byte| {
        let mut crc = crc.rotate_left(8) ^ u16::from(*byte);
        crc ^= (crc & 0xFF) >> 4;
        crc ^= crc << 12;
        crc ^ (crc & 0xFF) << 5
    })
}

#[cfg(test)]
mod tests {
    use super::super::packets;
    use super::*;

    #[test]
    fn the_crc_has_the_catalogues_check_value() {
        // CRC-16/XMODEM of "123456789" in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn the_set_that_autopilots_ask_for_is_104_bytes() {
        // `$VNWRG,75,3,…,14,073E,0004`: the IMU and attitude groups.
        let bytes = packets::vectornav_autopilot([0.1, 0.2, -9.8], [0.01, -0.02, 0.03]);
        assert_eq!(bytes.len(), 104);
        let [reading] = VectorNavParser::default().push(&bytes)[..] else { panic!() };
        assert_eq!(reading.accel_mps2, [0.1, -0.2, 9.8]);
        assert_eq!((reading.gyro_radps, reading.device_nanos), (Some([0.01, 0.02, -0.03]), None));
    }

    #[test]
    fn common_fields_have_the_time() {
        let bytes = packets::vectornav_common(1_234_567_890, [1.0, 2.0, -3.0], [4.0, 5.0, 6.0]);
        let [reading] = VectorNavParser::default().push(&bytes)[..] else { panic!() };
        let expected = WireReading {
            offset: 0,
            device_nanos: Some(1_234_567_890),
            accel_mps2: [1.0, -2.0, 3.0],
            gyro_radps: Some([4.0, -5.0, -6.0]),
        };
        assert_eq!(reading, expected);
    }
}
