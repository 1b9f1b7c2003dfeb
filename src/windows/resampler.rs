//! A mono stream from one rate to another: what comes out depends only on what went in, not on how it was cut into blocks.

use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType, WindowFunction};

/// Values that go through the filter at once. Blocks of any size are gathered to this, so its rounding is always the same.
const CHUNK: usize = 256;

/// Taps of the anti-aliasing filter at the input rate. With Blackman-Harris-squared this passes 0 to 6.6 kHz of 48 kHz sound brought
/// to 16 kHz and delays by 128 samples (2.7 ms), which is taken out again.
const SINC_TAPS: usize = 256;

pub(super) struct StreamResampler {
    filter: Async<f32>,
    ratio: f64,
    /// One channel, as rubato wants it; its beginning is input that waits for a whole chunk.
    waiting: [Vec<f32>; 1],
    produced: [Vec<f32>; 1],
    lead: Lead,
    /// Outputs that still belong to the lead.
    lead_left: usize,
    taken: u64,
    given: u64,
}

/// Silence put before a stream, and how many outputs to leave out for it, so that the first output stands exactly where the first
/// input stood. rubato's output `m` of a fresh stream stands at input `(m + 1) / ratio - SINC_TAPS / 2`.
#[derive(Clone, Copy)]
struct Lead {
    zeros: usize,
    outputs: usize,
}

impl Lead {
    fn for_ratio(ratio: f64) -> Self {
        let half = (SINC_TAPS / 2) as f64;
        let first = (half * ratio).ceil() as usize;
        let off = |n: &usize| {
            let place = *n as f64 / ratio;
            (place - place.round()).abs()
        };
        // Within 640 steps every usual pair of rates (such as 44.1 and 16 kHz: 441 to 160) meets exactly.
        let n = (first..first + 640).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(first).max(1);
        Self { zeros: ((n as f64 / ratio).round() - half).max(0.0) as usize, outputs: n - 1 }
    }
}

impl StreamResampler {
    /// None when rubato cannot go between these rates.
    pub(super) fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        let ratio = f64::from(to_hz) / f64::from(from_hz);
        let filter = SincInterpolationParameters::new(SINC_TAPS, WindowFunction::BlackmanHarris2)
            .oversampling_factor(128)
            .interpolation(SincInterpolationType::Linear);
        let filter = Async::new_sinc(ratio, 1.0, &filter, CHUNK, 1, FixedAsync::Input).ok()?;
        let produced = [vec![0.0; filter.output_frames_max()]];
        let lead = Lead::for_ratio(ratio);
        let waiting = [Vec::with_capacity(2 * CHUNK)];
        let mut made = Self { filter, ratio, waiting, produced, lead, lead_left: 0, taken: 0, given: 0 };
        made.begin();
        Some(made)
    }

    /// Takes values in and appends what is finished to `out`.
    pub(super) fn push(&mut self, mut values: &[f32], out: &mut Vec<f32>) {
        self.taken += values.len() as u64;
        while let Some(room) = CHUNK.checked_sub(self.waiting[0].len()).filter(|room| *room <= values.len()) {
            let (now, later) = values.split_at(room);
            self.waiting[0].extend_from_slice(now);
            values = later;
            self.filter_chunk(out);
        }
        self.waiting[0].extend_from_slice(values);
    }

    /// Appends all that is still inside and starts over, ready for a new stream.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        let owed = (self.taken as f64 * self.ratio).round() as u64;
        while self.given < owed {
            let before = out.len();
            self.waiting[0].resize(CHUNK, 0.0);
            self.filter_chunk(out);
            let excess = self.given.saturating_sub(owed) as usize;
            out.truncate(out.len().saturating_sub(excess).max(before));
        }
        self.begin();
    }

    fn begin(&mut self) {
        self.filter.reset();
        self.waiting[0].clear();
        (self.taken, self.given, self.lead_left) = (0, 0, self.lead.outputs);
        // The lead is shorter than a chunk or is filtered at once; either way nothing of it is given out.
        let silence = vec![0.0; self.lead.zeros];
        let mut nothing = Vec::new();
        self.push(&silence, &mut nothing);
        self.taken = 0;
    }

    fn filter_chunk(&mut self, out: &mut Vec<f32>) {
        let capacity = self.produced[0].len();
        let input = SequentialSliceOfVecs::new(&self.waiting, 1, CHUNK);
        let output = SequentialSliceOfVecs::new_mut(&mut self.produced, 1, capacity);
        let written = match (input, output) {
            (Ok(input), Ok(mut output)) => {
                self.filter.process_into_buffer(&input, &mut output, None).map_or(0, |(_, written)| written)
            }
            // The buffers have the sizes that the filter asked for.
            _ => 0,
        };
        let skipped = self.lead_left.min(written);
        self.lead_left -= skipped;
        out.extend(self.produced[0].iter().take(written).skip(skipped));
        self.given += (written - skipped) as u64;
        self.waiting[0].clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate_hz: u32, n: usize) -> Vec<f32> {
        (0..n).map(|i| (std::f64::consts::TAU * hz * i as f64 / f64::from(rate_hz)).sin() as f32).collect()
    }

    #[test]
    fn a_tone_comes_out_in_its_place_and_whole() {
        for from_hz in [48_000, 44_100, 8_000, 22_050] {
            let mut resampler = StreamResampler::new(from_hz, 16_000).unwrap();
            for _twice in 0..2 {
                let mut out = Vec::new();
                resampler.push(&tone(440.0, from_hz, from_hz as usize), &mut out);
                resampler.finish(&mut out);
                assert_eq!(out.len(), 16_000, "{from_hz}");
                let wanted = tone(440.0, 16_000, 16_000);
                let worst =
                    out.iter().zip(&wanted).skip(400).take(15_200).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 0.004, "{from_hz}: {worst}");
            }
        }
    }

    #[test]
    fn what_the_new_rate_cannot_carry_is_gone() {
        let mut resampler = StreamResampler::new(48_000, 16_000).unwrap();
        let mut out = Vec::new();
        resampler.push(&tone(10_000.0, 48_000, 48_000), &mut out);
        let loudest = out.iter().skip(400).fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(loudest < 1e-3, "{loudest}");
    }
}
