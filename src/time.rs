//! The reference clock: CLOCK_MONOTONIC in nanoseconds, and how it maps to wall-clock time.
//!
//! Everything inside perceptd is stamped on this clock. The wall clock appears only at the edge, through a [`Timeline`].
//! This is the only file that reads a clock.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::ClockId;

/// Nanoseconds in a second.
pub const NANOS_PER_SEC: i64 = 1_000_000_000;

/// A wall clock that moved by more than this against the reference clock was set; the kernel's own discipline moves both alike.
const STEP_NANOS: i64 = NANOS_PER_SEC / 2;

/// A point in time on the reference clock (CLOCK_MONOTONIC of one boot), in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime(i64);

impl MonoTime {
    /// A stamp from nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A stamp from seconds, rounded to the nearest nanosecond.
    #[must_use]
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * NANOS_PER_SEC as f64).round() as i64)
    }

    /// Nanoseconds since the clock's zero.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Seconds since the clock's zero.
    #[must_use]
    pub fn secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC as f64
    }

    /// Nanoseconds from `earlier` to `self`; negative when `self` comes first.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This stamp moved by `nanos`, which may be negative.
    #[must_use]
    pub const fn shifted(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

impl Add<Duration> for MonoTime {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        self.shifted(i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl Sub<Duration> for MonoTime {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        self.shifted(-i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// A half-open span of time `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First instant inside.
    pub start: MonoTime,
    /// First instant after.
    pub end: MonoTime,
}

impl Span {
    /// Length in nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.end.nanos_since(self.start)
    }

    /// The instant half-way.
    #[must_use]
    pub const fn middle(self) -> MonoTime {
        self.start.shifted(self.nanos() / 2)
    }
}

/// How stamps of one boot (or one recording) map to the wall clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The kernel's boot id, or `replay-<digest>` for a recording.
    pub boot_id: Arc<str>,
    /// Unix time in nanoseconds at the reference clock's zero.
    pub unix_nanos_at_zero: i64,
}

impl Timeline {
    /// The running machine's timeline, sampled now.
    ///
    /// # Errors
    /// When `/proc/sys/kernel/random/boot_id` cannot be read.
    pub fn of_this_boot() -> std::io::Result<Self> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self { boot_id: boot_id.trim().into(), unix_nanos_at_zero: unix_now_nanos() - now().nanos() })
    }

    /// Under the same boot id, but by the clocks of the running machine: for what is said about perceptd itself in a replay.
    #[must_use]
    pub fn by_this_machine(&self) -> Self {
        Self { boot_id: Arc::clone(&self.boot_id), unix_nanos_at_zero: unix_now_nanos() - now().nanos() }
    }

    /// The running machine's timeline after its wall clock was set: by NTP some time after the boot, by hand, or in effect by a
    /// suspend, in which the reference clock stands still. None when it was not.
    #[must_use]
    pub fn after_a_step(&self) -> Option<Self> {
        let unix_nanos_at_zero = unix_now_nanos() - now().nanos();
        let has_moved = unix_nanos_at_zero.abs_diff(self.unix_nanos_at_zero) > STEP_NANOS.unsigned_abs();
        has_moved.then(|| Self { boot_id: Arc::clone(&self.boot_id), unix_nanos_at_zero })
    }

    /// `stamp` as Unix time in nanoseconds.
    #[must_use]
    pub const fn unix_nanos(&self, stamp: MonoTime) -> i64 {
        self.unix_nanos_at_zero.saturating_add(stamp.nanos())
    }

    /// Unix time in nanoseconds as a stamp.
    #[must_use]
    pub const fn mono(&self, unix_nanos: i64) -> MonoTime {
        MonoTime::from_nanos(unix_nanos.saturating_sub(self.unix_nanos_at_zero))
    }
}

/// The reference clock's present reading.
#[must_use]
pub fn now() -> MonoTime {
    read(ClockId::Monotonic)
}

/// CPU time that this process has used, in nanoseconds.
#[must_use]
pub fn process_cpu_nanos() -> i64 {
    read(ClockId::ProcessCPUTime).nanos()
}

/// The wall clock in nanoseconds since 1970.
#[must_use]
pub fn unix_now_nanos() -> i64 {
    read(ClockId::Realtime).nanos()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
fn read(clock: ClockId) -> MonoTime {
    let spec = rustix::time::clock_gettime(clock);
    MonoTime(spec.tv_sec.saturating_mul(NANOS_PER_SEC).saturating_add(spec.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_round_trip_through_seconds() {
        assert_eq!(MonoTime::from_secs_f64(1.25).nanos(), 1_250_000_000);
        assert_eq!(MonoTime::from_nanos(-500_000_000).secs_f64(), -0.5);
    }

    #[test]
    fn spans_know_their_length_and_middle() {
        let span = Span { start: MonoTime::from_nanos(10), end: MonoTime::from_nanos(30) };
        assert_eq!((span.nanos(), span.middle().nanos()), (20, 20));
    }

    #[test]
    fn the_clock_never_goes_back_and_maps_to_the_wall_clock() {
        let timeline = Timeline::of_this_boot().unwrap();
        let (first, second) = (now(), now());
        assert!(second >= first);
        assert!((timeline.unix_nanos(second) - unix_now_nanos()).abs() < NANOS_PER_SEC);
    }

    #[test]
    fn a_wall_clock_that_was_set_is_followed() {
        let timeline = Timeline::of_this_boot().unwrap();
        assert_eq!(timeline.after_a_step(), None);
        let before = Timeline { unix_nanos_at_zero: timeline.unix_nanos_at_zero - 3600 * NANOS_PER_SEC, ..timeline };
        let after = before.after_a_step().unwrap();
        assert!((after.unix_nanos(now()) - unix_now_nanos()).abs() < NANOS_PER_SEC);
        assert_eq!(after.boot_id, before.boot_id);
    }
}
