//! An autopilot on a serial port or over UDP: listens to its IMU, and asks for it.

use std::time::Duration;

use super::imu::ImuOnLine;
use super::line::{ByteLine, SerialLine, UdpLine};
use super::wire::{MavlinkParser, heartbeat, message_interval_request};
use super::{MavlinkLine, MavlinkSettings, Sample, Sensor, SensorError};
use crate::modality::SensorId;
use crate::time::{MonoTime, now};

/// From one heartbeat to the next, as the protocol recommends.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// Without a reading for this long, the autopilot is asked again: it may have restarted.
const SILENCE: Duration = Duration::from_secs(3);

/// Until an autopilot has spoken, we are part of this vehicle, which is what autopilots are by default.
const USUAL_SYSTEM: u8 = 1;

pub(super) struct MavlinkDevice {
    imu: ImuOnLine<MavlinkParser>,
    /// None = listens and says nothing.
    asked_rate_hz: Option<f64>,
    next_heartbeat: MonoTime,
    /// When the autopilot was last asked, or gave a reading after that; none = was not asked yet.
    last_good: Option<MonoTime>,
    sequence: u8,
}

impl MavlinkDevice {
    pub(super) fn open(id: SensorId, settings: &MavlinkSettings) -> Result<Self, SensorError> {
        let line: Box<dyn ByteLine> = match &settings.line {
            MavlinkLine::Serial(port) => Box::new(SerialLine::open(port)?),
            MavlinkLine::Udp(address) => Box::new(UdpLine::open(address)?),
        };
        Ok(Self {
            imu: ImuOnLine::new(id, line, MavlinkParser::new(settings.system_id)),
            asked_rate_hz: settings.asked_rate_hz,
            next_heartbeat: now(),
            last_good: None,
            sequence: 0,
        })
    }

    fn speak(&mut self) -> Result<(), SensorError> {
        let Some(rate_hz) = self.asked_rate_hz else { return Ok(()) };
        let at = now();
        if at < self.next_heartbeat {
            return Ok(());
        }
        self.next_heartbeat = at + HEARTBEAT_EVERY;
        let autopilot = self.imu.parser.autopilot();
        let of_vehicle = autopilot.map_or(USUAL_SYSTEM, |autopilot| autopilot.system_id);
        self.imu.line.write(&heartbeat(self.sequence, of_vehicle))?;
        let is_silent = self.last_good.is_none_or(|last| at > last + SILENCE);
        if let Some(autopilot) = autopilot.filter(|_| is_silent) {
            self.last_good = Some(at);
            self.imu.line.write(&message_interval_request(self.sequence, autopilot, rate_hz))?;
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }
}

impl Sensor for MavlinkDevice {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        self.speak()?;
        let sample = self.imu.next(timeout)?;
        if let (Some(sample), Some(last_good)) = (&sample, &mut self.last_good) {
            *last_good = sample.arrived_at;
        }
        Ok(sample)
    }

    fn take_refused(&mut self) -> u64 {
        self.imu.take_refused()
    }

    fn take_not_finite(&mut self) -> u64 {
        self.imu.take_not_finite()
    }

    fn take_bytes(&mut self) -> u64 {
        self.imu.take_bytes()
    }
}
