//! The knobs of an event's life.

/// How scores over time become events. The defaults give `new` 0.4 s after the first firing frame at 5 Hz and one hop after the first firing
/// window of sound at 2 Hz, so within 1.5 s and 2.5 s of the onset in the world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The median of this many last windows must pass; odd. Default 3: one window alone neither starts nor ends anything.
    pub median_windows: usize,
    /// Falls below the exit threshold when the odds of a false alarm are this many times those at the enter threshold. Default 4, at least 1.
    pub exit_odds_ratio: f32,
    /// From the first firing window to `new`, at least this long, in seconds. Default 0.4.
    pub min_on_secs: f64,
    /// Below the exit threshold for this long before `end`, in seconds. Default 1.0.
    pub min_off_secs: f64,
    /// An event is ended (`timeout`) when it has lasted this long, in seconds; what goes on then opens the next. Default 300.
    pub max_len_secs: f64,
    /// After an end by quiet, no new event of this prompt and sensor for this long, in seconds. Default 2.0.
    pub cooldown_secs: f64,
    /// At most one `update` in this time, in seconds, unless the box moved clearly. Default 1.0.
    pub update_secs: f64,
    /// The box moved clearly when the overlap (intersection over union) with the one last told is below this. Default 0.5.
    pub moved_iou: f32,
    /// Without any window for this long the source counts as lost, in seconds. Default 5.0. Sensors that give windows seldom have more: see
    /// [`Self::stale_secs_at`].
    pub stale_secs: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            median_windows: 3,
            exit_odds_ratio: 4.0,
            min_on_secs: 0.4,
            min_off_secs: 1.0,
            max_len_secs: 300.0,
            cooldown_secs: 2.0,
            update_secs: 1.0,
            moved_iou: 0.5,
            stale_secs: 5.0,
        }
    }
}

/// Windows that a sensor may miss before it can count as lost. Pictures of neighbouring hops are up to two hops apart.
const STALE_HOPS: f64 = 3.0;

impl Settings {
    /// Without any window for this long a sensor counts as lost that gives one in `hop_secs`, each at most `lateness_secs` late: `stale_secs`,
    /// or three hops where that is longer. Else a slow sensor would be lost from each window to the next, and never have an event.
    #[must_use]
    pub fn stale_secs_at(&self, hop_secs: f64, lateness_secs: f64) -> f64 {
        self.stale_secs.max(STALE_HOPS * hop_secs + lateness_secs)
    }

    /// Below this calibrated score an event that entered at `enter` is fading. A calibrated score is a logistic in the log-odds of a
    /// false alarm, so the ratio is taken there: it means the same at every threshold.
    #[must_use]
    pub fn exit_threshold(&self, enter: f32) -> f32 {
        let enter = enter.clamp(0.0, 1.0);
        enter / (enter + (1.0 - enter) * self.exit_odds_ratio.max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_sensor_is_waited_for() {
        let settings = Settings::default();
        assert_eq!(
            [0.2, 1.5, 5.0, 60.0].map(|hop_secs| settings.stale_secs_at(hop_secs, 0.2)),
            [5.0, 5.0, 15.2, 180.2]
        );
    }

    #[test]
    fn exit_lies_below_enter_at_every_threshold() {
        let settings = Settings::default();
        assert!((settings.exit_threshold(0.5) - 0.2).abs() < 1e-6);
        for enter in [0.01f32, 0.5, 0.9, 0.999, 0.9998] {
            let exit = settings.exit_threshold(enter);
            assert!(exit < enter && exit > 0.0, "{enter}: {exit}");
        }
        assert_eq!(settings.exit_threshold(1.0), 1.0);
    }
}
