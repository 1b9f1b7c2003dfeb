//! Sound: cut by index. The stamps say where a run of blocks begins and whether the device's clock keeps up.

use std::collections::VecDeque;

use super::grid::{Grid, instant_of, nearest_index};
use super::resampler::StreamResampler;
use super::windower::{Cut, Source};
use super::{Presence, WindowData};
use crate::sensors::{Sample, SampleData};
use crate::telemetry::DropReason;
use crate::time::{MonoTime, Span};

/// Stamps may wander this far from the count of samples before the count gives way: more than a driver's jitter, less than a
/// fifth of an analysis frame (25 ms), so that no window is further off than this.
const DRIFT_TOLERANCE_SECS: f64 = 0.002;

/// A jump ahead of more than this is a hole, not drift. At 100 ppm a clock drifts 2 ms in 20 s.
const HOLE_SECS: f64 = 0.02;

/// Sound without a hole, at the wanted rate.
struct Run {
    /// Place of the first value, counted from the clock's zero.
    first: i64,
    values: VecDeque<f32>,
}

impl Run {
    fn end(&self) -> i64 {
        self.first.saturating_add(i64::try_from(self.values.len()).unwrap_or(i64::MAX))
    }
}

/// The run that is being written, at the device's rate.
struct Stream {
    rate_hz: u32,
    /// Stamp of the run's first sample.
    anchor: MonoTime,
    /// Samples fed since, slips included.
    fed: u64,
    /// Samples still to be left out because the device's clock is fast.
    to_skip: u64,
    last_value: f32,
    /// None when the device runs at the wanted rate already.
    resampler: Option<StreamResampler>,
}

impl Stream {
    /// By how many samples the stamp of the next sample is ahead of the count.
    fn ahead(&self, stamp: MonoTime) -> i64 {
        let fed = i64::try_from(self.fed).unwrap_or(i64::MAX);
        let counted = fed.saturating_sub(i64::try_from(self.to_skip).unwrap_or(i64::MAX));
        let told = MonoTime::from_nanos(stamp.nanos_since(self.anchor));
        nearest_index(told, self.rate_hz).saturating_sub(counted)
    }
}

pub(super) struct AudioSource {
    rate_hz: u32,
    window_values: usize,
    runs: VecDeque<Run>,
    stream: Option<Stream>,
    scratch: Vec<f32>,
}

impl AudioSource {
    pub(super) fn new(grid: Grid, rate_hz: u32) -> Self {
        let window_values = nearest_index(MonoTime::from_nanos(grid.length), rate_hz).max(1) as usize;
        Self { rate_hz, window_values, runs: VecDeque::new(), stream: None, scratch: Vec::new() }
    }

    fn begin_run(&mut self, stamp: MonoTime, rate_hz: u32) {
        let mut resampler = None;
        if let Some(mut old) = self.stream.take() {
            if let Some(filter) = &mut old.resampler {
                filter.finish(&mut self.scratch);
                self.append_scratch();
            }
            resampler = old.resampler.filter(|_| old.rate_hz == rate_hz);
        }
        if resampler.is_none() && rate_hz != self.rate_hz {
            resampler = StreamResampler::new(rate_hz, self.rate_hz);
        }
        let stream = Stream { rate_hz, anchor: stamp, fed: 0, to_skip: 0, last_value: 0.0, resampler };
        self.stream = Some(stream);
        // Runs never overlap, whatever the stamps say.
        let first = self.runs.back().map_or(i64::MIN, Run::end).max(nearest_index(stamp, self.rate_hz));
        self.runs.push_back(Run { first, values: VecDeque::new() });
    }

    /// Compares the block's stamp with the count; begins a new run after a hole, slips by a few samples for drift.
    fn align(&mut self, stamp: MonoTime, rate_hz: u32, next_value: f32, out: &mut Vec<Cut>) {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.rate_hz == rate_hz) else {
            return self.begin_run(stamp, rate_hz);
        };
        let ahead = stream.ahead(stamp);
        let samples_in = |secs: f64| (secs * f64::from(rate_hz)) as i64;
        if ahead.saturating_abs() <= samples_in(DRIFT_TOLERANCE_SECS) {
            return;
        }
        if ahead > samples_in(HOLE_SECS) {
            out.push(Cut::Gap);
            return self.begin_run(stamp, rate_hz);
        }
        // What is fed from here on must make up for the whole difference; skips that were still pending are part of it.
        let owed = ahead.saturating_sub(i64::try_from(stream.to_skip).unwrap_or(i64::MAX));
        stream.to_skip = owed.min(0).unsigned_abs();
        let from = stream.last_value;
        let bridge: Vec<f32> = (1..=owed).map(|i| from + (next_value - from) * i as f32 / (owed + 1) as f32).collect();
        self.feed(&bridge);
    }

    fn feed(&mut self, values: &[f32]) {
        let Some(stream) = &mut self.stream else { return };
        stream.fed = stream.fed.saturating_add(values.len() as u64);
        stream.last_value = values.last().copied().unwrap_or(stream.last_value);
        match &mut stream.resampler {
            Some(resampler) => resampler.push(values, &mut self.scratch),
            None => self.scratch.extend_from_slice(values),
        }
        self.append_scratch();
    }

    fn append_scratch(&mut self) {
        if let Some(run) = self.runs.back_mut() {
            run.values.extend(self.scratch.iter());
        }
        self.scratch.clear();
    }

    fn index_of(&self, stamp: MonoTime) -> i64 {
        nearest_index(stamp, self.rate_hz)
    }
}

impl Source for AudioSource {
    fn insert(&mut self, sample: &Sample, open_from: MonoTime, out: &mut Vec<Cut>) {
        let SampleData::Audio { sample_rate_hz, samples } = &sample.data else { return };
        let block_end = instant_of(i64::try_from(samples.len()).unwrap_or(i64::MAX), *sample_rate_hz).nanos();
        if sample.captured_at.shifted(block_end) <= open_from {
            // Told, but fed all the same: the run goes on unbroken into the window that is still open.
            out.push(Cut::Dropped(DropReason::Late));
        }
        let Some(first) = samples.first() else { return };
        self.align(sample.captured_at, *sample_rate_hz, *first, out);
        let mut values = samples.as_slice();
        if let Some(stream) = &mut self.stream {
            let skipped = stream.to_skip.min(values.len() as u64);
            stream.to_skip -= skipped;
            values = values.get(skipped as usize..).unwrap_or_default();
        }
        self.feed(values);
        self.forget_before(open_from);
    }

    fn earliest_from(&self, start: MonoTime) -> Option<MonoTime> {
        let start_index = self.index_of(start);
        let run = self.runs.iter().find(|run| run.end() > start_index && !run.values.is_empty())?;
        Some(if run.first <= start_index { start } else { instant_of(run.first, self.rate_hz).max(start) })
    }

    fn reaches(&self, end: MonoTime) -> bool {
        self.runs.back().is_some_and(|run| !run.values.is_empty() && run.end() >= self.index_of(end))
    }

    fn cut(&self, cell: Span) -> Option<(Span, Presence, WindowData)> {
        let start = self.index_of(cell.start);
        let n = i64::try_from(self.window_values).unwrap_or(i64::MAX);
        let mut values = vec![0.0; self.window_values];
        let (mut count, mut centre, mut longest_gap, mut covered_to) = (0i64, 0.0, 0i64, 0i64);
        for run in &self.runs {
            let (from, to) = (run.first.saturating_sub(start).max(0), run.end().saturating_sub(start).min(n));
            if from >= to {
                continue;
            }
            let skipped = start.saturating_sub(run.first).max(0) as usize;
            for (place, value) in
                values.iter_mut().take(to as usize).skip(from as usize).zip(run.values.iter().skip(skipped))
            {
                *place = *value;
            }
            count += to - from;
            centre += (to - from) as f64 * (from + to) as f64 / 2.0;
            longest_gap = longest_gap.max(from - covered_to);
            covered_to = to;
        }
        if 2 * count < n {
            return None;
        }
        let secs = |values: f64| values / f64::from(self.rate_hz);
        let presence = Presence {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            expected: u32::try_from(n).unwrap_or(u32::MAX),
            longest_gap_secs: secs(longest_gap.max(n - covered_to) as f64),
            skew_secs: secs(centre / count as f64 - n as f64 / 2.0),
            measured_rows: 0,
        };
        Some((cell, presence, WindowData::Audio(values)))
    }

    fn forget_before(&mut self, start: MonoTime) {
        let start = self.index_of(start);
        while self.runs.len() > 1 && self.runs.front().is_some_and(|run| run.end() <= start) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            let passed = usize::try_from(start.saturating_sub(run.first)).unwrap_or(0).min(run.values.len());
            run.values.drain(..passed);
            run.first = run.first.saturating_add(passed as i64);
        }
    }
}
