//! Waiting that a stop can cut short. The only place that sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::time::{MonoTime, now};

/// Longest sleep between two looks at the stop flag.
const SLICE: Duration = Duration::from_millis(100);

/// Waits until `deadline`; returns early, with false, when told to stop.
pub fn pause_until(deadline: MonoTime, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = deadline.nanos_since(now());
        if left <= 0 {
            return true;
        }
        #[expect(clippy::disallowed_methods, reason = "a slice at a time, and the stop is looked at between them")]
        std::thread::sleep(SLICE.min(Duration::from_nanos(left.unsigned_abs())));
    }
}
