//! The fixed grid on which windows lie: arithmetic only, saturating, so that no stamp can overflow it.

use crate::time::{MonoTime, NANOS_PER_SEC, Span};

/// Cells `[k·hop, k·hop + length)` of the reference clock, `k ≥ 0`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// From one start to the next, nanoseconds.
    pub(super) hop: i64,
    /// Length of a cell, nanoseconds.
    pub(super) length: i64,
    /// How long after its end a cell stays open, nanoseconds.
    pub(super) lateness: i64,
}

impl Grid {
    pub(super) fn cell(&self, k: i64) -> Span {
        let start = k.saturating_mul(self.hop);
        Span { start: MonoTime::from_nanos(start), end: MonoTime::from_nanos(start.saturating_add(self.length)) }
    }

    /// Whether cell `k` no longer waits at `now`.
    pub(super) fn is_late(&self, k: i64, now: MonoTime) -> bool {
        now >= self.cell(k).end.shifted(self.lateness)
    }

    /// The first cell that still waits at `now`.
    pub(super) fn first_open(&self, now: MonoTime) -> i64 {
        let past = now.nanos().saturating_sub(self.length).saturating_sub(self.lateness);
        if past < 0 { 0 } else { past / self.hop + 1 }
    }

    /// The first cell of which at least half lies at or after `stamp`.
    pub(super) fn first_half_after(&self, stamp: MonoTime) -> i64 {
        let earliest_start = stamp.nanos().saturating_sub(self.length / 2);
        if earliest_start <= 0 { 0 } else { (earliest_start - 1) / self.hop + 1 }
    }

    /// The cell whose first hop holds `stamp`; none before the clock's zero.
    pub(super) fn hop_of(&self, stamp: MonoTime) -> Option<i64> {
        (stamp.nanos() >= 0).then(|| stamp.nanos() / self.hop)
    }
}

/// The index on a uniform rate whose instant is nearest to `stamp`.
pub(super) fn nearest_index(stamp: MonoTime, rate_hz: u32) -> i64 {
    let scaled = i128::from(stamp.nanos()) * i128::from(rate_hz);
    let half = i128::from(NANOS_PER_SEC / 2);
    saturated((scaled + half).div_euclid(i128::from(NANOS_PER_SEC)))
}

/// The instant of an index on a uniform rate, rounded down to the nanosecond.
pub(super) fn instant_of(index: i64, rate_hz: u32) -> MonoTime {
    let nanos = (i128::from(index) * i128::from(NANOS_PER_SEC)).div_euclid(i128::from(rate_hz.max(1)));
    MonoTime::from_nanos(saturated(nanos))
}

fn saturated(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: f64) -> MonoTime {
        MonoTime::from_secs_f64(secs)
    }

    #[test]
    fn cells_open_and_close_in_time() {
        let grid = Grid { hop: 500_000_000, length: 2_000_000_000, lateness: 200_000_000 };
        let open: Vec<i64> = [0.0, 2.19, 2.2, 2.69, 2.7, 100.0].map(|s| grid.first_open(at(s))).into();
        assert_eq!(open, [0, 0, 1, 1, 2, 196]);
        for k in [0, 1, 7, 196] {
            assert_eq!(grid.is_late(k, at(2.2)), k < grid.first_open(at(2.2)), "{k}");
        }
        let half: Vec<i64> = [-5.0, 0.0, 1.0, 1.01, 1.5, 1.6].map(|s| grid.first_half_after(at(s))).into();
        assert_eq!(half, [0, 0, 0, 1, 1, 2]);
    }

    #[test]
    fn extreme_stamps_saturate() {
        let grid = Grid { hop: 1, length: i64::MAX, lateness: i64::MAX };
        for nanos in [i64::MIN, -1, 0, i64::MAX] {
            let stamp = MonoTime::from_nanos(nanos);
            let k = grid.first_open(stamp).max(grid.first_half_after(stamp)).max(grid.hop_of(stamp).unwrap_or(0));
            assert!(grid.cell(k).end.nanos() >= 0);
            let back = instant_of(nearest_index(stamp, 384_000), 384_000);
            assert!(back.nanos().abs_diff(nanos) <= 2605, "{nanos}");
        }
    }

    #[test]
    fn indices_and_instants_agree() {
        for rate_hz in [10, 16_000, 44_100] {
            for index in [0, 1, 12_345_678] {
                assert_eq!(nearest_index(instant_of(index, rate_hz), rate_hz), index);
            }
        }
    }
}
