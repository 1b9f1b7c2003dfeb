//! Motion: readings at the device's own times, brought to a uniform rate by linear interpolation.

use std::collections::VecDeque;

use super::frames::PeriodEstimate;
use super::grid::Grid;
use super::windower::{Cut, Source};
use super::{Presence, WindowData};
use crate::sensors::{ImuReading, Sample, SampleData};
use crate::telemetry::DropReason;
use crate::time::{MonoTime, NANOS_PER_SEC, Span};

/// Readings further apart than this, or than 2.5 wanted periods when that is more, leave a hole: what lies between is
/// interpolated, but not counted as measured. A quarter second is half the default hop.
const SHORTEST_HOLE_NANOS: i64 = NANOS_PER_SEC / 4;

/// Masks of rows: accelerometer alone, and with the gyroscope.
const ACCEL_ROWS: u32 = 0b000_111;
const ALL_ROWS: u32 = 0b111_111;

pub(super) struct ImuSource {
    rate_hz: f64,
    values_per_row: usize,
    hole_nanos: i64,
    readings: VecDeque<ImuReading>,
    last_seq: Option<u64>,
    period: PeriodEstimate,
}

impl ImuSource {
    pub(super) fn new(grid: Grid, rate_hz: f64) -> Self {
        Self {
            rate_hz,
            values_per_row: (grid.length as f64 * rate_hz / NANOS_PER_SEC as f64).round().max(1.0) as usize,
            hole_nanos: SHORTEST_HOLE_NANOS.max((2.5 * NANOS_PER_SEC as f64 / rate_hz) as i64),
            readings: VecDeque::new(),
            last_seq: None,
            period: PeriodEstimate::default(),
        }
    }

    /// Six values at `instant`, and whether they lie between (or within one hole's length of) real readings.
    fn at(&self, instant: MonoTime) -> Option<([f32; 6], bool)> {
        let after = self.readings.partition_point(|r| r.captured_at < instant);
        let right = self.readings.get(after);
        let left = after.checked_sub(1).and_then(|before| self.readings.get(before));
        Some(match (left, right) {
            (Some(left), Some(right)) => {
                let between = right.captured_at.nanos_since(left.captured_at);
                let share = instant.nanos_since(left.captured_at) as f32 / between.max(1) as f32;
                let (from, to) = (six(left), six(right));
                let is_exact = right.captured_at == instant;
                (std::array::from_fn(|axis| mix(&from, &to, axis, share)), is_exact || between <= self.hole_nanos)
            }
            (Some(only), None) | (None, Some(only)) => {
                (six(only), instant.nanos_since(only.captured_at).saturating_abs() <= self.hole_nanos / 2)
            }
            (None, None) => return None,
        })
    }

    fn inside(&self, cell: Span) -> impl Iterator<Item = &ImuReading> {
        self.readings.iter().filter(move |r| r.captured_at >= cell.start && r.captured_at < cell.end)
    }

    fn presence(&self, cell: Span, measured_rows: u32) -> Presence {
        let (mut count, mut sum_secs, mut longest, mut last) = (0u32, 0.0, 0i64, cell.start);
        for reading in self.inside(cell) {
            count = count.saturating_add(1);
            sum_secs += reading.captured_at.nanos_since(cell.middle()) as f64 / NANOS_PER_SEC as f64;
            longest = longest.max(reading.captured_at.nanos_since(last));
            last = reading.captured_at;
        }
        Presence {
            count,
            expected: self.period.expected_in(cell.nanos()),
            longest_gap_secs: longest.max(cell.end.nanos_since(last)) as f64 / NANOS_PER_SEC as f64,
            skew_secs: if count == 0 { 0.0 } else { sum_secs / f64::from(count) },
            measured_rows,
        }
    }
}

impl Source for ImuSource {
    fn insert(&mut self, sample: &Sample, open_from: MonoTime, out: &mut Vec<Cut>) {
        let SampleData::Imu(readings) = &sample.data else { return };
        let mut late = false;
        let mut gap = self.last_seq.is_some_and(|seq| sample.seq > seq.saturating_add(1));
        // How many readings were lost is not known, so the time that they took does not count either.
        let mut after_loss = gap;
        self.last_seq = Some(sample.seq);
        for reading in readings {
            let last = self.readings.back().map(|r| r.captured_at);
            if reading.captured_at < open_from || last.is_some_and(|last| reading.captured_at <= last) {
                late = true;
                continue;
            }
            if let Some(last) = last {
                let interval = reading.captured_at.nanos_since(last);
                gap |= interval > self.hole_nanos;
                if !std::mem::take(&mut after_loss) {
                    self.period.see(interval, 1);
                }
            }
            self.readings.push_back(*reading);
        }
        if gap {
            out.push(Cut::Gap);
        }
        if late {
            out.push(Cut::Dropped(DropReason::Late));
        }
    }

    fn earliest_from(&self, start: MonoTime) -> Option<MonoTime> {
        self.readings.get(self.readings.partition_point(|r| r.captured_at < start)).map(|r| r.captured_at)
    }

    fn reaches(&self, end: MonoTime) -> bool {
        self.readings.back().is_some_and(|r| r.captured_at >= end)
    }

    fn cut(&self, cell: Span) -> Option<(Span, Presence, WindowData)> {
        let n = self.values_per_row;
        let mut rows = vec![0.0; 6 * n];
        let mut measured = 0;
        for column in 0..n {
            let offset = (column as f64 * NANOS_PER_SEC as f64 / self.rate_hz).round() as i64;
            let (values, is_measured) = self.at(cell.start.shifted(offset))?;
            measured += usize::from(is_measured);
            for (row, value) in rows.chunks_exact_mut(n).zip(values) {
                if let Some(place) = row.get_mut(column) {
                    *place = value;
                }
            }
        }
        if 2 * measured < n {
            return None;
        }
        let has_gyro = self.inside(cell).all(|r| r.gyro_in_body_radps.is_some());
        if !has_gyro {
            rows.iter_mut().skip(3 * n).for_each(|value| *value = 0.0);
        }
        let measured_rows = if has_gyro { ALL_ROWS } else { ACCEL_ROWS };
        Some((cell, self.presence(cell, measured_rows), WindowData::Imu(rows)))
    }

    fn forget_before(&mut self, start: MonoTime) {
        // The last reading before the start stays: the first values are interpolated from it.
        while self.readings.get(1).is_some_and(|second| second.captured_at <= start) {
            self.readings.pop_front();
        }
    }
}

fn six(reading: &ImuReading) -> [f32; 6] {
    let [ax, ay, az] = reading.accel_in_body_mps2;
    let [gx, gy, gz] = reading.gyro_in_body_radps.unwrap_or_default();
    [ax, ay, az, gx, gy, gz]
}

fn mix(from: &[f32; 6], to: &[f32; 6], axis: usize, share: f32) -> f32 {
    let value = |six: &[f32; 6]| six.get(axis).copied().unwrap_or(0.0);
    value(from) + (value(to) - value(from)) * share
}
