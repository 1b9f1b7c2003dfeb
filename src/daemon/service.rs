//! What systemd is told: ready, alive, stopping. Does nothing when systemd did not start us.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager's end of the watchdog.
pub(super) struct Service {
    watchdog: Option<Duration>,
}

impl Service {
    /// Reads how long the service manager waits for a sign of life.
    pub(super) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// Models are loaded and the threads run.
    pub(super) fn ready(&self) {
        tell(&[NotifyState::Ready, NotifyState::Status("perceiving")]);
    }

    /// Feeds the watchdog if the inference loop turned recently enough; a stuck loop starves it.
    pub(super) fn alive(&self, last_turn_ago: Duration) {
        if self.watchdog.is_some_and(|limit| last_turn_ago < limit / 2) {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// An ordered stop has begun.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
