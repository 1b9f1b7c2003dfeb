//! When a health message is due.

use std::time::Duration;

use crate::telemetry::{SensorState, Telemetry};
use crate::time::MonoTime;

/// From one health message to the next.
const HEALTH_EVERY: Duration = Duration::from_secs(10);
/// The same when the state of a sensor has changed: its absence is seen within two seconds.
const HEALTH_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Says when a health message is due: every ten seconds, and soon after a sensor was lost or found.
pub(super) struct HealthTimer {
    telemetry: Telemetry,
    said_at: Option<MonoTime>,
    states: Vec<SensorState>,
}

impl HealthTimer {
    pub(super) const fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, said_at: None, states: Vec::new() }
    }

    pub(super) fn is_due(&mut self, time: MonoTime) -> bool {
        let states: Vec<SensorState> = self.telemetry.read().into_iter().map(|(_, reading)| reading.state).collect();
        let wait = if states == self.states { HEALTH_EVERY } else { HEALTH_AT_MOST_EVERY };
        let is_due = self.said_at.is_none_or(|said_at| time >= said_at + wait);
        if is_due {
            (self.said_at, self.states) = (Some(time), states);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modality::SensorId;

    #[test]
    fn health_comes_every_ten_seconds_and_soon_after_a_sensor_has_changed() {
        let telemetry = Telemetry::default();
        let front = telemetry.sensor(&SensorId::new("front").unwrap());
        let mut timer = HealthTimer::new(telemetry);
        let mut dues = |tenths: std::ops::Range<i64>| -> Vec<i64> {
            tenths.filter(|tenth| timer.is_due(MonoTime::from_nanos(tenth * 100_000_000))).collect()
        };
        assert_eq!(dues(0..250), [0, 100, 200]);
        front.set_state(SensorState::Ok);
        assert_eq!(dues(250..255), [250], "the last word is old enough");
        front.set_state(SensorState::Lost("unplugged".to_owned()));
        assert_eq!(dues(255..400), [260, 360], "a second after the last word");
    }
}
