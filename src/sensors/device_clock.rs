//! When a device's own stamps were, on the reference clock: they keep the spacing that adapters and schedulers lose.

use crate::time::{MonoTime, NANOS_PER_SEC};

/// How long a smallest offset is believed. Two halves of this are kept, so that a clock that runs apart is followed.
const HALF_NANOS: i64 = 5 * NANOS_PER_SEC;

/// No delay on the way explains more than this: the device's clock was set anew, or stands still.
const LONGEST_DELAY_NANOS: i64 = NANOS_PER_SEC;

/// Reference clock minus a device's clock, as seen at arrivals: the smallest of the last five to ten seconds. What arrives is only ever late,
/// so the smallest is nearest to the truth.
#[derive(Debug, Default)]
pub(super) struct LeastOffset {
    /// Smallest of the half before and of this one.
    halves: Option<(i64, i64)>,
    half_began: MonoTime,
}

impl LeastOffset {
    /// Takes one in; gives the smallest.
    pub(super) fn see(&mut self, at: MonoTime, offset: i64) -> i64 {
        let (before, this) = self.halves.unwrap_or_else(|| {
            self.half_began = at;
            (offset, offset)
        });
        let halves = if at.nanos_since(self.half_began) > HALF_NANOS {
            self.half_began = at;
            (this, offset)
        } else {
            (before, this.min(offset))
        };
        self.halves = Some(halves);
        halves.0.min(halves.1)
    }
}

/// A device's clock that follows the reference clock.
#[derive(Debug, Default)]
pub(super) struct DeviceClock {
    offset: LeastOffset,
    last_nanos: Option<i64>,
}

impl DeviceClock {
    /// When the device's instant was, given when its bytes began to arrive; never after that.
    pub(super) fn stamp(&mut self, device_nanos: i64, began: MonoTime) -> MonoTime {
        let went_back = self.last_nanos.replace(device_nanos).is_some_and(|last| device_nanos < last);
        let seen = began.nanos().saturating_sub(device_nanos);
        if !went_back {
            let stamp = MonoTime::from_nanos(device_nanos.saturating_add(self.offset.see(began, seen)));
            if began.nanos_since(stamp) <= LONGEST_DELAY_NANOS {
                return stamp;
            }
        }
        self.offset = LeastOffset::default();
        self.offset.see(began, seen);
        began
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: i64 = 1_000_000;

    /// 100 readings a second from a clock that is off by `ppm`, arriving in bursts every 16 ms as an FTDI adapter hands them over.
    fn errors_millis(ppm: i64) -> Vec<f64> {
        let mut clock = DeviceClock::default();
        let error = |n: i64| {
            let true_nanos = 50 * NANOS_PER_SEC + n * 10 * MILLI;
            let device_nanos = true_nanos / 1_000_000 * (1_000_000 + ppm) - 7 * NANOS_PER_SEC;
            let arrived = (true_nanos / (16 * MILLI) + 2) * 16 * MILLI;
            let stamp = clock.stamp(device_nanos, MonoTime::from_nanos(arrived));
            (stamp.nanos() - true_nanos) as f64 / MILLI as f64
        };
        (0..6000).map(error).collect()
    }

    #[test]
    fn bursts_are_spread_out_again() {
        for ppm in [-100, 0, 100] {
            let errors = &errors_millis(ppm)[500..];
            let (low, high) = errors.iter().fold((f64::MAX, f64::MIN), |(low, high), e| (low.min(*e), high.max(*e)));
            // Never nearer than the quickest burst, which was 18 ms late.
            assert!(low > 16.5 && high < 19.5, "{ppm} ppm: {low} to {high} ms late");
        }
    }

    #[test]
    fn a_clock_that_was_set_anew_or_stands_still_does_not_stop_time() {
        let mut clock = DeviceClock::default();
        let at = |secs: f64| MonoTime::from_secs_f64(secs);
        assert_eq!(clock.stamp(1000, at(100.0)), at(100.0));
        assert_eq!(clock.stamp(NANOS_PER_SEC + 1000, at(101.5)), at(101.0));
        // The device restarted.
        assert_eq!(clock.stamp(5, at(102.0)), at(102.0));
        // It jumped ahead, as with a first fix of GNSS: the least offset is the new one.
        assert_eq!(clock.stamp(1_700_000_000 * NANOS_PER_SEC, at(102.1)), at(102.1));
        // It stands still.
        assert_eq!(clock.stamp(1_700_000_000 * NANOS_PER_SEC, at(104.0)), at(104.0));
    }
}
