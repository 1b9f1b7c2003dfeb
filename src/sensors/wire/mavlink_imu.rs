//! MAVLink 1 and 2: the IMU of an autopilot (PX4, ArduPilot), and what is said to it so that it speaks.
//!
//! HIGHRES_IMU (m/s², rad/s) is preferred; SCALED_IMU (thousandths of g and of rad/s) is taken where the former does not come. RAW_IMU is
//! not, since it has no units. Axes are the vehicle's: x forward, y right, z down. Framing is done here, so that every byte has its
//! place in the stream; messages and their checksums are the crate's.

use mavlink::dialects::common::{
    COMMAND_LONG_DATA, HEARTBEAT_DATA, HIGHRES_IMU_DATA, HighresImuUpdatedFlags, MavAutopilot, MavCmd, MavMessage,
    MavState, MavType, SCALED_IMU_DATA,
};
use mavlink::{MAVLinkV2MessageRaw, MavHeader, MavlinkVersion, Message, MessageData, calculate_crc};

use super::framer::{Framer, Step};
use super::{STANDARD_GRAVITY_MPS2, WireParser, WireReading, from_frd};

const MAGIC_V1: u8 = 0xFE;
const MAGIC_V2: u8 = 0xFD;
const HEADER_V1_BYTES: usize = 6;
const HEADER_V2_BYTES: usize = 10;
const CRC_BYTES: usize = 2;
const SIGNATURE_BYTES: usize = 13;
/// The one flag of MAVLink 2 that a reader must understand. A packet with others must be passed over.
const SIGNED: u8 = 1;

/// MAV_COMP_ID_ONBOARD_COMPUTER.
const OUR_COMPONENT: u8 = 191;
/// What the field of a heartbeat for the protocol's version holds.
const MAVLINK_VERSION: u8 = 3;

/// An autopilot on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autopilot {
    /// Its vehicle's number.
    pub system_id: u8,
    /// Its component's number within the vehicle.
    pub component_id: u8,
}

/// Finds readings of one autopilot's first IMU in a stream of bytes.
#[derive(Debug, Default)]
pub struct MavlinkParser {
    framer: Framer,
    filter: Filter,
    not_finite: u64,
}

impl MavlinkParser {
    /// A parser that listens to one vehicle, or to the first that sends readings.
    #[must_use]
    pub fn new(system_id: Option<u8>) -> Self {
        let filter = Filter { system_id, ..Filter::default() };
        Self { filter, ..Self::default() }
    }

    /// The autopilot that was heard last, by its heartbeat.
    #[must_use]
    pub const fn autopilot(&self) -> Option<Autopilot> {
        self.filter.autopilot
    }
}

impl WireParser for MavlinkParser {
    type Found = WireReading;

    fn push(&mut self, bytes: &[u8]) -> Vec<WireReading> {
        let mut readings = Vec::new();
        let Self { framer, filter, not_finite } = self;
        framer.push(bytes, |offset, rest| {
            let frame = match Frame::at(rest) {
                Ok(frame) => frame,
                Err(step) => return step,
            };
            readings.extend(filter.take(offset, &frame).and_then(|reading| reading.finite(not_finite)));
            Step::Whole(frame.length)
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

/// A frame whose checksum is right.
struct Frame<'a> {
    version: MavlinkVersion,
    from: Autopilot,
    message_id: u32,
    payload: &'a [u8],
    length: usize,
}

impl<'a> Frame<'a> {
    fn at(bytes: &'a [u8]) -> Result<Self, Step> {
        let (version, header_bytes) = match bytes.first() {
            Some(&MAGIC_V1) => (MavlinkVersion::V1, HEADER_V1_BYTES),
            Some(&MAGIC_V2) => (MavlinkVersion::V2, HEADER_V2_BYTES),
            _ => return Err(Step::Nothing),
        };
        let header = bytes.get(..header_bytes).ok_or(Step::Partial)?;
        let (payload_bytes, signature_bytes, from, message_id) = match *header {
            [_, length, _, system_id, component_id, id] => {
                (length, 0, Autopilot { system_id, component_id }, u32::from(id))
            }
            [_, length, incompatible, _, _, system_id, component_id, id0, id1, id2] => {
                if incompatible & !SIGNED != 0 {
                    return Err(Step::Nothing);
                }
                let signature_bytes = if incompatible == SIGNED { SIGNATURE_BYTES } else { 0 };
                (length, signature_bytes, Autopilot { system_id, component_id }, u32::from_le_bytes([id0, id1, id2, 0]))
            }
            _ => return Err(Step::Partial),
        };
        let crc_at = header_bytes + usize::from(payload_bytes);
        let length = crc_at + CRC_BYTES + signature_bytes;
        let frame = bytes.get(..length).ok_or(Step::Partial)?;
        let summed = frame.get(1..crc_at).unwrap_or_default();
        let crc = frame.get(crc_at..).and_then(|rest| rest.first_chunk::<CRC_BYTES>()).ok_or(Step::Partial)?;
        let seed = MavMessage::extra_crc(message_id);
        if calculate_crc(summed, seed) != u16::from_le_bytes(*crc) {
            // Messages of other dialects, whose seed the crate gives as 0, are passed over byte by byte and are no damage.
            return Err(if seed == 0 { Step::Nothing } else { Step::Refused });
        }
        Ok(Self { version, from, message_id, payload: frame.get(header_bytes..crc_at).unwrap_or_default(), length })
    }
}

/// Whose readings count.
#[derive(Debug, Default)]
struct Filter {
    system_id: Option<u8>,
    autopilot: Option<Autopilot>,
    /// Who sends the readings that are taken.
    source: Option<Autopilot>,
    has_highres: bool,
    has_gyro: bool,
}

impl Filter {
    fn take(&mut self, offset: u64, frame: &Frame<'_>) -> Option<WireReading> {
        if self.system_id.is_some_and(|wanted| wanted != frame.from.system_id) {
            return None;
        }
        let reading = match frame.message_id {
            HEARTBEAT_DATA::ID => {
                let heartbeat = HEARTBEAT_DATA::deser(frame.version, frame.payload).ok()?;
                // Ground stations and companions have no autopilot of their own.
                if heartbeat.autopilot != MavAutopilot::MAV_AUTOPILOT_INVALID {
                    self.autopilot = Some(frame.from);
                }
                return None;
            }
            HIGHRES_IMU_DATA::ID => highres(offset, &HIGHRES_IMU_DATA::deser(frame.version, frame.payload).ok()?)?,
            SCALED_IMU_DATA::ID if !self.has_highres => {
                scaled(offset, &SCALED_IMU_DATA::deser(frame.version, frame.payload).ok()?)
            }
            _ => return None,
        };
        if *self.source.get_or_insert(frame.from) != frame.from {
            return None;
        }
        self.has_highres |= frame.message_id == HIGHRES_IMU_DATA::ID;
        // Where rotation is known to come, a message without a new one would tell of a sensor that has none.
        self.has_gyro |= reading.gyro_radps.is_some();
        (reading.gyro_radps.is_some() == self.has_gyro).then_some(reading)
    }
}

/// None for a message without a new acceleration, or of another IMU than the autopilot's first.
fn highres(offset: u64, imu: &HIGHRES_IMU_DATA) -> Option<WireReading> {
    const ACCEL: HighresImuUpdatedFlags = HighresImuUpdatedFlags::HIGHRES_IMU_UPDATED_XACC
        .union(HighresImuUpdatedFlags::HIGHRES_IMU_UPDATED_YACC)
        .union(HighresImuUpdatedFlags::HIGHRES_IMU_UPDATED_ZACC);
    const GYRO: HighresImuUpdatedFlags = HighresImuUpdatedFlags::HIGHRES_IMU_UPDATED_XGYRO
        .union(HighresImuUpdatedFlags::HIGHRES_IMU_UPDATED_YGYRO)
        .union(HighresImuUpdatedFlags::HIGHRES_IMU_UPDATED_ZGYRO);
    if imu.id != 0 || !imu.fields_updated.contains(ACCEL) {
        return None;
    }
    let gyro = imu.fields_updated.contains(GYRO).then_some([imu.xgyro, imu.ygyro, imu.zgyro]);
    Some(WireReading {
        offset,
        device_nanos: i64::try_from(imu.time_usec).ok().and_then(|micros| micros.checked_mul(1000)),
        accel_mps2: from_frd([imu.xacc, imu.yacc, imu.zacc]),
        gyro_radps: gyro.map(from_frd),
    })
}

fn scaled(offset: u64, imu: &SCALED_IMU_DATA) -> WireReading {
    let accel = [imu.xacc, imu.yacc, imu.zacc].map(|milli_g| f32::from(milli_g) / 1000.0 * STANDARD_GRAVITY_MPS2);
    let gyro = [imu.xgyro, imu.ygyro, imu.zgyro].map(|milliradps| f32::from(milliradps) / 1000.0);
    WireReading {
        offset,
        device_nanos: Some(i64::from(imu.time_boot_ms) * 1_000_000),
        accel_mps2: from_frd(accel),
        gyro_radps: Some(from_frd(gyro)),
    }
}

/// The heartbeat of an onboard computer, as a MAVLink 2 frame. Routers learn by it where to send, autopilots that somebody listens.
#[must_use]
pub fn heartbeat(sequence: u8, of_vehicle: u8) -> Vec<u8> {
    let data = HEARTBEAT_DATA {
        mavtype: MavType::MAV_TYPE_ONBOARD_CONTROLLER,
        autopilot: MavAutopilot::MAV_AUTOPILOT_INVALID,
        system_status: MavState::MAV_STATE_ACTIVE,
        mavlink_version: MAVLINK_VERSION,
        ..HEARTBEAT_DATA::default()
    };
    framed(sequence, of_vehicle, &data)
}

/// Asks an autopilot to send HIGHRES_IMU and SCALED_IMU at a rate, as MAVLink 2 frames: MAV_CMD_SET_MESSAGE_INTERVAL.
#[must_use]
pub fn message_interval_request(sequence: u8, autopilot: Autopilot, rate_hz: f64) -> Vec<u8> {
    let ask = |message_id: u32| {
        let data = COMMAND_LONG_DATA {
            command: MavCmd::MAV_CMD_SET_MESSAGE_INTERVAL,
            target_system: autopilot.system_id,
            target_component: autopilot.component_id,
            param1: message_id as f32,
            param2: (1e6 / rate_hz) as f32,
            ..COMMAND_LONG_DATA::default()
        };
        framed(sequence, autopilot.system_id, &data)
    };
    [ask(HIGHRES_IMU_DATA::ID), ask(SCALED_IMU_DATA::ID)].concat()
}

fn framed(sequence: u8, system_id: u8, data: &impl MessageData) -> Vec<u8> {
    let mut raw = MAVLinkV2MessageRaw::new();
    let header = MavHeader { system_id: system_id.into(), component_id: OUR_COMPONENT, sequence };
    raw.serialize_message_data(header, data);
    raw.raw_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::packets;
    use super::*;

    fn read(bytes: &[u8]) -> Vec<WireReading> {
        MavlinkParser::default().push(bytes)
    }

    #[test]
    fn highres_is_turned_upright_in_both_versions() {
        for bytes in [
            packets::mavlink_highres(7, 1_500_000, [0.5, 1.0, -9.75], [0.25, 0.5, -1.0]),
            packets::mavlink_highres_v1(7, 1_500_000, [0.5, 1.0, -9.75], [0.25, 0.5, -1.0]),
        ] {
            let expected = WireReading {
                offset: 0,
                device_nanos: Some(1_500_000_000),
                accel_mps2: [0.5, -1.0, 9.75],
                gyro_radps: Some([0.25, -0.5, 1.0]),
            };
            assert_eq!(read(&bytes), [expected]);
        }
    }

    #[test]
    fn scaled_is_taken_until_highres_comes() {
        let scaled = packets::mavlink_scaled(1000, [0, 500, -1000], [1000, 0, -250]);
        let highres = packets::mavlink_highres(1, 1, [0.0; 3], [0.0; 3]);
        let readings = read(&[&scaled[..], &highres, &scaled, &highres].concat());
        assert_eq!(readings.len(), 3);
        assert_eq!(readings[0].device_nanos, Some(1_000_000_000));
        assert!((readings[0].accel_mps2[2] - STANDARD_GRAVITY_MPS2).abs() < 1e-5);
        assert!((readings[0].accel_mps2[1] + STANDARD_GRAVITY_MPS2 / 2.0).abs() < 1e-5);
        assert_eq!(readings[0].gyro_radps, Some([1.0, 0.0, 0.25]));
    }

    #[test]
    fn one_vehicle_is_listened_to() {
        let of = |system: u8| packets::mavlink_highres(system, 5, [system as f32, 0.0, 0.0], [0.0; 3]);
        let readings = read(&[of(3), of(4), of(3)].concat());
        assert!(readings.len() == 2 && readings.iter().all(|reading| reading.accel_mps2[0] == 3.0));
        let mut parser = MavlinkParser::new(Some(4));
        assert_eq!(parser.push(&[of(3), of(4)].concat())[0].accel_mps2[0], 4.0);
    }

    #[test]
    fn heartbeats_tell_autopilots_from_others() {
        let mut parser = MavlinkParser::default();
        parser.push(&heartbeat(0, 9));
        assert_eq!(parser.autopilot(), None);
        parser.push(&packets::mavlink_autopilot_heartbeat(9));
        assert_eq!(parser.autopilot(), Some(Autopilot { system_id: 9, component_id: 1 }));
    }

    #[test]
    fn a_request_asks_for_the_interval_of_both_messages() {
        let bytes = message_interval_request(3, Autopilot { system_id: 9, component_id: 1 }, 200.0);
        let first = Frame::at(&bytes).ok().unwrap();
        let command = COMMAND_LONG_DATA::deser(first.version, first.payload).unwrap();
        assert_eq!((command.target_system, command.param1, command.param2), (9, 105.0, 5000.0));
        let second = Frame::at(&bytes[first.length..]).ok().unwrap();
        let command = COMMAND_LONG_DATA::deser(second.version, second.payload).unwrap();
        assert_eq!((command.command, command.param1), (MavCmd::MAV_CMD_SET_MESSAGE_INTERVAL, 26.0));
        assert_eq!(first.from, Autopilot { system_id: 9, component_id: 191 });
    }

    #[test]
    fn messages_of_other_dialects_are_no_damage() {
        // AHRS (163) of ArduPilot's own dialect.
        let other = packets::mavlink_of_another_dialect(163, &[0x11; 28]);
        let mut parser = MavlinkParser::default();
        let bytes = [&other[..], &packets::mavlink_highres(1, 1, [1.0, 0.0, 0.0], [0.0; 3]), &other].concat();
        assert_eq!((parser.push(&bytes).len(), parser.refused()), (1, 0));
    }

    #[test]
    fn signed_frames_are_read_and_unknown_flags_passed_over() {
        let frame = packets::mavlink_highres(1, 1, [1.0, 0.0, 0.0], [0.0; 3]);
        assert_eq!(read(&[packets::mavlink_with_flags(&frame, 1), frame.clone()].concat()).len(), 2);
        assert_eq!(read(&[packets::mavlink_with_flags(&frame, 2), frame].concat()).len(), 1);
    }
}
