//! ImageBind's sound front end: a window of samples to a log-mel spectrogram.
//!
//! Equal to torchaudio's `kaldi.fbank` (htk_compat, Hann window, no dither, no energy) on a clip without its mean. Sums are in
//! f64, so that quiet bins beside loud ones keep their digits.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// Kaldi's defaults.
const PRE_EMPHASIS: f64 = 0.97;
const LOW_HZ: f64 = 20.0;
/// f32's machine epsilon, which torchaudio floors mel energies with.
const ENERGY_FLOOR: f64 = 1.192_092_895_507_812_5e-7;

/// The front end's constants, as the pack gives them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogMelSettings {
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Length of an analysis frame in milliseconds.
    pub frame_length_ms: f64,
    /// From one analysis frame to the next, in milliseconds.
    pub frame_shift_ms: f64,
    /// Mel bins.
    pub mel_bins: usize,
    /// Analysis frames that the model takes: padded right with raw 0, or cut.
    pub target_frames: usize,
    /// Subtracted from every value, the padding's too.
    pub mean: f32,
    /// Every value is divided by this after.
    pub std: f32,
}

impl LogMelSettings {
    /// ImageBind's (`data.py`): 2 s clips at 16 kHz, 128 bins; mean and deviation are AudioSet's.
    pub const IMAGEBIND: Self = Self {
        sample_rate_hz: 16_000,
        frame_length_ms: 25.0,
        frame_shift_ms: 10.0,
        mel_bins: 128,
        target_frames: 204,
        mean: -4.268,
        std: 9.138,
    };
}

/// One mel bin's triangle over the FFT's bins.
struct Triangle {
    first: usize,
    weights: Vec<f64>,
}

/// The front end, its tables made once.
pub struct LogMel {
    settings: LogMelSettings,
    frame_samples: usize,
    hop_samples: usize,
    window: Vec<f64>,
    triangles: Vec<Triangle>,
    fft: Arc<dyn RealToComplex<f64>>,
}

impl LogMel {
    /// Makes the tables.
    #[must_use]
    pub fn new(settings: LogMelSettings) -> Self {
        let samples = |ms: f64| ((f64::from(settings.sample_rate_hz) * ms / 1000.0) as usize).max(2);
        let (frame_samples, hop_samples) = (samples(settings.frame_length_ms), samples(settings.frame_shift_ms));
        let fft_size = frame_samples.next_power_of_two();
        let turn = std::f64::consts::TAU / (frame_samples - 1) as f64;
        let window = (0..frame_samples).map(|n| 0.5 - 0.5 * (turn * n as f64).cos()).collect();
        let triangles = triangles(f64::from(settings.sample_rate_hz), fft_size, settings.mel_bins);
        let fft = RealFftPlanner::new().plan_fft_forward(fft_size);
        Self { settings, frame_samples, hop_samples, window, triangles, fft }
    }

    /// `[mel_bins, target_frames]` of `samples` in [-1, 1], normalised.
    #[must_use]
    pub fn compute(&self, samples: &[f32]) -> Vec<f32> {
        let LogMelSettings { mel_bins, target_frames, mean, std, .. } = self.settings;
        let clip_mean = samples.iter().copied().map(f64::from).sum::<f64>() / samples.len().max(1) as f64;
        let centred: Vec<f64> = samples.iter().map(|x| f64::from(*x) - clip_mean).collect();
        let normalised = |value: f64| ((value - f64::from(mean)) / f64::from(std)) as f32;
        let mut out = vec![normalised(0.0); mel_bins * target_frames];
        let mut scratch = Scratch::new(self.fft.as_ref());
        let frames = centred.windows(self.frame_samples).step_by(self.hop_samples).take(target_frames);
        for (time, frame) in frames.enumerate() {
            self.power(frame, &mut scratch);
            for (row, triangle) in out.chunks_exact_mut(target_frames).zip(&self.triangles) {
                let powers = scratch.power.iter().skip(triangle.first);
                let energy: f64 = triangle.weights.iter().zip(powers).map(|(weight, power)| weight * power).sum();
                row.iter_mut().skip(time).take(1).for_each(|cell| *cell = normalised(energy.max(ENERGY_FLOOR).ln()));
            }
        }
        out
    }

    /// The power spectrum of one analysis frame, without its mean, pre-emphasised and windowed.
    fn power(&self, frame: &[f64], scratch: &mut Scratch) {
        let mean = frame.iter().sum::<f64>() / frame.len() as f64;
        let mut before = frame.first().copied().unwrap_or(0.0) - mean;
        scratch.time.fill(0.0);
        for ((slot, sample), window) in scratch.time.iter_mut().zip(frame).zip(&self.window) {
            let sample = sample - mean;
            *slot = (sample - PRE_EMPHASIS * before) * window;
            before = sample;
        }
        // The buffers were made by the plan, so their lengths fit; a failure would leave zeros.
        if self.fft.process_with_scratch(&mut scratch.time, &mut scratch.spectrum, &mut scratch.work).is_err() {
            scratch.spectrum.fill(Complex::default());
        }
        scratch.power.clear();
        scratch.power.extend(scratch.spectrum.iter().map(Complex::norm_sqr));
    }
}

struct Scratch {
    time: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    work: Vec<Complex<f64>>,
    power: Vec<f64>,
}

impl Scratch {
    fn new(fft: &dyn RealToComplex<f64>) -> Self {
        Self {
            time: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            work: fft.make_scratch_vec(),
            power: Vec::new(),
        }
    }
}

/// HTK's mel scale.
fn mel(hz: f64) -> f64 {
    1127.0 * (1.0 + hz / 700.0).ln()
}

/// Triangles that are straight on the mel axis, from 20 Hz to Nyquist; the Nyquist bin itself has no weight, as in Kaldi.
fn triangles(sample_rate_hz: f64, fft_size: usize, mel_bins: usize) -> Vec<Triangle> {
    let (low, high) = (mel(LOW_HZ), mel(sample_rate_hz / 2.0));
    let step = (high - low) / (mel_bins + 1) as f64;
    let of = |bin: usize| {
        let left = low + bin as f64 * step;
        let (centre, right) = (left + step, left + 2.0 * step);
        let weight = |k: usize| {
            let at = mel(k as f64 * sample_rate_hz / fft_size as f64);
            ((at - left) / (centre - left)).min((right - at) / (right - centre)).max(0.0)
        };
        let weights: Vec<f64> = (0..fft_size / 2).map(weight).collect();
        let first = weights.iter().position(|w| *w > 0.0).unwrap_or(0);
        let end = weights.iter().rposition(|w| *w > 0.0).map_or(first, |last| last + 1);
        Triangle { first, weights: weights.get(first..end).unwrap_or_default().to_vec() }
    };
    (0..mel_bins).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imagebind() -> LogMel {
        LogMel::new(LogMelSettings::IMAGEBIND)
    }

    #[test]
    fn silence_is_the_floor_and_the_padding_is_raw_zero() {
        let values = imagebind().compute(&vec![0.25; 32_000]);
        assert_eq!(values.len(), 128 * 204);
        let floor = ((ENERGY_FLOOR.ln() + 4.268) / 9.138) as f32;
        for row in values.chunks_exact(204) {
            assert!(row[..198].iter().all(|v| (v - floor).abs() < 1e-6));
            assert!(row[198..].iter().all(|v| (v - 0.467_061).abs() < 1e-5), "{:?}", &row[196..]);
        }
    }

    #[test]
    fn a_tone_peaks_in_its_mel_bin() {
        let tone: Vec<f32> =
            (0..32_000).map(|n| (std::f32::consts::TAU * 1000.0 * n as f32 / 16_000.0).sin()).collect();
        let values = imagebind().compute(&tone);
        let column: Vec<f32> = values.chunks_exact(204).map(|row| row[100]).collect();
        let peak = (0..128).max_by(|a, b| column[*a].total_cmp(&column[*b])).unwrap();
        // Bin centres lie at low + (bin + 1) · step.
        let expected = (mel(1000.0) - mel(20.0)) / ((mel(8000.0) - mel(20.0)) / 129.0) - 1.0;
        assert!((peak as f64 - expected).abs() <= 1.0, "{peak} {expected}");
    }

    #[test]
    fn short_and_long_clips_fit() {
        for samples in [0, 1, 399, 400, 100_000] {
            assert!(imagebind().compute(&vec![0.1; samples]).iter().all(|v| v.is_finite()));
        }
    }
}
