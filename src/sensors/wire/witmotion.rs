//! WitMotion IMUs (WT901, JY901, HWT family): 11-byte packets `55 type payload[8] sum`.
//!
//! Scales from the maker's protocol page: acceleration ±16 g, rotation ±2000 °/s, both over 32768. Acceleration and rotation come
//! as separate packets, one after the other in a cycle, and are joined here.

use std::f32::consts::PI;

use super::framer::{Framer, Step, sum8};
use super::{STANDARD_GRAVITY_MPS2, WireParser, WireReading};

const PACKET_BYTES: usize = 11;
const HEADER: u8 = 0x55;
const ACCELERATION: u8 = 0x51;
const ROTATION: u8 = 0x52;
/// Time, acceleration, rotation, angle, magnetic field, ports, pressure, position, speed, quaternion, accuracy.
const KINDS: std::ops::RangeInclusive<u8> = 0x50..=0x5A;

/// Cycles without rotation after which the device is taken to send none (it can be switched off in the device).
const CYCLES_WITHOUT_ROTATION: u32 = 3;

/// Finds packets in a stream of bytes and joins them to readings.
#[derive(Debug, Default)]
pub struct WitMotionParser {
    framer: Framer,
    cycle: Cycle,
}

/// The cycle that is being put together.
#[derive(Debug, Default)]
struct Cycle {
    held: Option<(u64, [f32; 3])>,
    has_rotation: bool,
    without_rotation: u32,
}

impl WireParser for WitMotionParser {
    type Found = WireReading;

    fn push(&mut self, bytes: &[u8]) -> Vec<WireReading> {
        let mut readings = Vec::new();
        let cycle = &mut self.cycle;
        self.framer.push(bytes, |offset, rest| {
            if rest.first() != Some(&HEADER) || rest.get(1).is_some_and(|kind| !KINDS.contains(kind)) {
                return Step::Nothing;
            }
            let Some(packet) = rest.first_chunk::<PACKET_BYTES>() else { return Step::Partial };
            let [summed @ .., sum] = packet;
            if sum8(summed) != *sum {
                return Step::Refused;
            }
            let [_, kind, payload @ ..] = *summed;
            readings.extend(cycle.take(offset, kind, payload));
            Step::Whole(PACKET_BYTES)
        });
        readings
    }

    fn needed_from(&self) -> u64 {
        self.cycle.held.map_or(self.framer.needed_from(), |(offset, _)| offset)
    }

    fn refused(&self) -> u64 {
        self.framer.refused()
    }
}

impl Cycle {
    fn take(&mut self, offset: u64, kind: u8, payload: [u8; 8]) -> Option<WireReading> {
        let [x0, x1, y0, y1, z0, z1, ..] = payload;
        let axes = [[x0, x1], [y0, y1], [z0, z1]].map(|pair| f32::from(i16::from_le_bytes(pair)) / 32_768.0);
        match kind {
            ACCELERATION => {
                let before = self.held.replace((offset, axes.map(|v| v * 16.0 * STANDARD_GRAVITY_MPS2)));
                let (offset, accel_mps2) = before?;
                self.without_rotation = self.without_rotation.saturating_add(1);
                // Where rotation is known to come, a cycle without it lost a packet and is left out.
                let sends_none = !self.has_rotation && self.without_rotation >= CYCLES_WITHOUT_ROTATION;
                sends_none.then_some(WireReading { offset, device_nanos: None, accel_mps2, gyro_radps: None })
            }
            ROTATION => {
                self.has_rotation = true;
                let (offset, accel_mps2) = self.held.take()?;
                let gyro_radps = Some(axes.map(|v| v * 2000.0 * PI / 180.0));
                Some(WireReading { offset, device_nanos: None, accel_mps2, gyro_radps })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packets;
    use super::*;

    #[test]
    fn one_g_and_full_turn_rate() {
        let bytes = [packets::witmotion(0x51, [0, 0, 2048]), packets::witmotion(0x52, [16_384, 0, 0])].concat();
        let [reading] = WitMotionParser::default().push(&bytes)[..] else { panic!() };
        assert!((reading.accel_mps2[2] - STANDARD_GRAVITY_MPS2).abs() < 1e-5);
        assert!((reading.gyro_radps.unwrap()[0] - 1000.0f32.to_radians()).abs() < 1e-4);
        assert_eq!(reading.offset, 0);
    }

    #[test]
    fn a_device_without_rotation_is_told_after_three_cycles() {
        let mut parser = WitMotionParser::default();
        let readings: Vec<_> = (0..6).flat_map(|i| parser.push(&packets::witmotion(0x51, [i, 0, 0]))).collect();
        assert_eq!(readings.len(), 3);
        assert!(readings.iter().all(|reading| reading.gyro_radps.is_none()));
    }

    #[test]
    fn a_wrong_sum_costs_one_cycle() {
        let mut bytes: Vec<u8> = (0..5).flat_map(packets::witmotion_cycle).collect();
        bytes[33 + 4] ^= 0x40; // acceleration of the second cycle
        let mut parser = WitMotionParser::default();
        assert_eq!(parser.push(&bytes).len(), 4);
        assert_eq!(parser.refused(), 1);
    }
}
