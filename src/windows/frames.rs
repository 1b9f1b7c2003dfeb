//! Frames (camera, thermal, depth): the newest of each hop.

use std::collections::VecDeque;

use super::grid::Grid;
use super::windower::{Cut, Source};
use super::{Presence, WindowData};
use crate::sensors::{Sample, SampleData};
use crate::telemetry::DropReason;
use crate::time::{MonoTime, NANOS_PER_SEC, Span};

/// The frames of one hop: only the newest is kept.
struct Hop {
    k: i64,
    captured_at: MonoTime,
    data: WindowData,
    count: u32,
    longest_gap_nanos: i64,
}

pub(super) struct FrameSource {
    grid: Grid,
    hops: VecDeque<Hop>,
    last: Option<(MonoTime, u64)>,
    period: PeriodEstimate,
}

impl FrameSource {
    pub(super) fn new(grid: Grid) -> Self {
        Self { grid, hops: VecDeque::new(), last: None, period: PeriodEstimate::default() }
    }
}

impl Source for FrameSource {
    fn insert(&mut self, sample: &Sample, open_from: MonoTime, out: &mut Vec<Cut>) {
        let captured_at = sample.captured_at;
        let is_new = self.last.is_none_or(|(last, _)| captured_at > last);
        let (Some(k), true) = (self.grid.hop_of(captured_at), is_new && captured_at >= open_from) else {
            out.push(Cut::Dropped(DropReason::Late));
            return;
        };
        let mut gap_nanos = 0;
        if let Some((last, seq)) = self.last {
            gap_nanos = captured_at.nanos_since(last);
            self.period.see(gap_nanos, sample.seq.saturating_sub(seq));
            if sample.seq > seq.saturating_add(1) {
                out.push(Cut::Gap);
            }
        }
        self.last = Some((captured_at, sample.seq));
        let data = match &sample.data {
            SampleData::Image(frame) => WindowData::Image(frame.clone()),
            SampleData::Thermal(plane) => WindowData::Thermal(plane.clone()),
            SampleData::Depth(plane) => WindowData::Depth(plane.clone()),
            SampleData::Audio { .. } | SampleData::Imu(_) => return,
        };
        match self.hops.back_mut() {
            Some(hop) if hop.k == k => {
                let (count, longest_gap_nanos) = (hop.count.saturating_add(1), hop.longest_gap_nanos.max(gap_nanos));
                *hop = Hop { k, captured_at, data, count, longest_gap_nanos };
            }
            _ => self.hops.push_back(Hop { k, captured_at, data, count: 1, longest_gap_nanos: gap_nanos }),
        }
    }

    fn earliest_from(&self, start: MonoTime) -> Option<MonoTime> {
        self.hops.iter().map(|hop| hop.captured_at).find(|captured_at| *captured_at >= start)
    }

    fn reaches(&self, end: MonoTime) -> bool {
        self.last.is_some_and(|(last, _)| last >= end)
    }

    fn cut(&self, cell: Span) -> Option<(Span, Presence, WindowData)> {
        let hop = self.hops.iter().find(|hop| hop.captured_at >= cell.start && hop.captured_at < cell.end)?;
        let presence = Presence {
            count: hop.count,
            expected: self.period.expected_in(cell.nanos()),
            longest_gap_secs: hop.longest_gap_nanos as f64 / NANOS_PER_SEC as f64,
            skew_secs: hop.captured_at.nanos_since(cell.middle()) as f64 / NANOS_PER_SEC as f64,
            measured_rows: 0,
        };
        Some((Span { start: hop.captured_at, end: hop.captured_at }, presence, hop.data.clone()))
    }

    fn forget_before(&mut self, start: MonoTime) {
        while self.hops.front().is_some_and(|hop| hop.captured_at < start) {
            self.hops.pop_front();
        }
    }
}

/// The time between two deliveries of a healthy sensor, learned from the data. Deliveries come in blocks of at least a second, and the
/// estimate is the median of the last blocks' means: a block ends with the first delivery after its second, which in a train of bursts, as
/// adapters hand over what came evenly, is a burst's first; and a hole or a hiccup is one block of several.
#[derive(Default)]
pub(super) struct PeriodEstimate {
    /// The block that grows: deliveries after its first, and the nanoseconds since that.
    counted: u64,
    nanos: i64,
    /// In nanoseconds, oldest first.
    periods: VecDeque<f64>,
}

impl PeriodEstimate {
    /// The least intervals of a block, and nanoseconds that it spans.
    const ENOUGH: u64 = 4;
    const SHORTEST_BLOCK_NANOS: i64 = NANOS_PER_SEC;
    /// Blocks that are remembered: so many of them, less half, until a new rate is believed.
    const BLOCKS: usize = 9;

    /// Takes in the next delivery, so much later than the one before, and the `steps`th after it: more than one where some are known to
    /// be lost.
    pub(super) fn see(&mut self, nanos: i64, steps: u64) {
        self.counted += steps.clamp(1, 1_000);
        self.nanos = self.nanos.saturating_add(nanos);
        if self.counted >= Self::ENOUGH && self.nanos >= Self::SHORTEST_BLOCK_NANOS {
            self.periods.push_back(self.nanos as f64 / self.counted as f64);
            (self.counted, self.nanos) = (0, 0);
            if self.periods.len() > Self::BLOCKS {
                self.periods.pop_front();
            }
        }
    }

    /// How many deliveries `span_nanos` should hold, one at least; 0 while unknown.
    pub(super) fn expected_in(&self, span_nanos: i64) -> u32 {
        let mut periods: Vec<f64> = self.periods.iter().copied().collect();
        periods.sort_by(f64::total_cmp);
        // Holes only lengthen a period: of two in the middle the shorter.
        match periods.get(periods.len().saturating_sub(1) / 2) {
            Some(period) if *period > 0.0 => (span_nanos as f64 / period).round().max(1.0) as u32,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: i64 = NANOS_PER_SEC / 1_000;

    /// What is expected in five seconds after these intervals.
    fn expected(intervals_millis: impl IntoIterator<Item = i64>) -> u32 {
        let mut period = PeriodEstimate::default();
        intervals_millis.into_iter().for_each(|millis| period.see(millis * MILLI, 1));
        period.expected_in(5 * NANOS_PER_SEC)
    }

    /// 100 Hz, handed over so many at once, for 30 s.
    fn bursts(of: i64) -> impl Iterator<Item = i64> {
        (0..3_000).map(move |n| if n % of == 0 { 10 * of - (of - 1) } else { 1 })
    }

    #[test]
    fn bursts_and_hiccups_are_no_losses() {
        assert_eq!(expected(std::iter::repeat_n(10, 50)), 0, "it is not known yet");
        assert_eq!(expected(std::iter::repeat_n(10, 110)), 500);
        assert_eq!([4, 10, 25, 100].map(|of| expected(bursts(of))), [500; 4]);
        // Six tenths of a second late, and then all at once.
        let hiccup = [600].into_iter().chain(std::iter::repeat_n(0, 59));
        let even = || std::iter::repeat_n(10, 500);
        assert_eq!(expected(even().chain(hiccup).chain(even())), 500);
        assert_eq!(expected(even().chain([3_000]).chain(even())), 500, "a hole");
        assert_eq!(
            expected(std::iter::repeat_n(10, 100).chain([3_000, 10, 10, 10])),
            500,
            "a hole in the second block"
        );
    }

    #[test]
    fn a_new_rate_is_believed_in_the_end_and_counted_losses_are_none_of_it() {
        assert_eq!(expected(std::iter::repeat_n(10, 1_000).chain(std::iter::repeat_n(50, 120))), 100);
        let mut period = PeriodEstimate::default();
        (0..100).for_each(|n| period.see(if n % 2 == 0 { 200 } else { 400 } * MILLI, 1 + n % 2));
        assert_eq!(period.expected_in(NANOS_PER_SEC), 5);
        assert_eq!(period.expected_in(NANOS_PER_SEC / 50), 1, "a window that is there holds one");
    }
}
