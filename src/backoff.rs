//! Jittered exponential back-off for whatever is retried: devices, the broker.

use std::time::Duration;

/// Waits that double from `first` to `longest`, each drawn between half and the whole of the step so that a fleet does not retry in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    step: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// A back-off whose first wait is at most `first` and whose longest is `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, step: first, random: fastrand::Rng::with_seed(seed) }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.step.min(self.longest);
        self.step = (step * 2).min(self.longest);
        step.mul_f64(0.5 + 0.5 * self.random.f64())
    }

    /// Starts over after a success.
    pub const fn reset(&mut self) {
        self.step = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10), 7);
        let waits: Vec<f64> = (0..8).map(|_| backoff.next_wait().as_secs_f64()).collect();
        assert!((0.25..=0.5).contains(&waits[0]), "{waits:?}");
        assert!(waits[6..].iter().all(|w| (5.0..=10.0).contains(w)), "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(500));
    }
}
