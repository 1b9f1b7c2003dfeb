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
            self.period.see(gap_nanos);
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

/// The time between two deliveries of a healthy sensor, learned from the data.
#[derive(Default)]
pub(super) struct PeriodEstimate {
    nanos: f64,
    seen: u32,
}

impl PeriodEstimate {
    /// Intervals that must have been seen before the estimate is told.
    const ENOUGH: u32 = 4;

    /// Takes in one interval. Holes (three periods or more) do not count, unless shorter ones never come.
    pub(super) fn see(&mut self, nanos: i64) {
        let interval = nanos as f64;
        if self.seen == 0 || interval < self.nanos / 3.0 {
            *self = Self { nanos: interval, seen: 1 };
        } else {
            let step = interval.min(self.nanos * 3.0) - self.nanos;
            self.seen = self.seen.saturating_add(1);
            self.nanos += step / f64::from(self.seen.min(16));
        }
    }

    /// How many deliveries `span_nanos` should hold; 0 while unknown.
    pub(super) fn expected_in(&self, span_nanos: i64) -> u32 {
        if self.seen < Self::ENOUGH || self.nanos <= 0.0 { 0 } else { (span_nanos as f64 / self.nanos).round() as u32 }
    }
}
