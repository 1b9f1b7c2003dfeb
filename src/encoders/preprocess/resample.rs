//! A whole sound at another sample rate, as `scipy.signal.resample_poly` makes it (Kaiser window, β = 5, ten zero crossings).
//!
//! For files; streams are resampled by `windows`.

use std::f64::consts::PI;

const KAISER_BETA: f64 = 5.0;
const ZERO_CROSSINGS: usize = 10;

/// `samples` at `to_hz` instead of `from_hz`: `ceil(n · to / from)` values.
#[must_use]
pub fn resample(samples: &[f32], from_hz: u32, to_hz: u32) -> Vec<f32> {
    if from_hz == to_hz || from_hz == 0 || to_hz == 0 {
        return samples.to_vec();
    }
    let common = gcd(from_hz, to_hz);
    let (up, down) = ((to_hz / common) as usize, (from_hz / common) as usize);
    let half = ZERO_CROSSINGS * up.max(down);
    let filter = low_pass(half, up.max(down), up as f64);
    let value = |n: usize| {
        // The filter's centre stands at n · down on the axis on which input samples lie `up` apart.
        let centre = n * down;
        let first = (centre.saturating_sub(half)).div_ceil(up);
        let end = ((centre + half) / up + 1).min(samples.len());
        let taps = filter.iter().skip(first * up + half - centre).step_by(up);
        let inputs = samples.get(first..end).unwrap_or_default();
        inputs.iter().zip(taps).map(|(x, h)| f64::from(*x) * h).sum::<f64>() as f32
    };
    (0..(samples.len() * up).div_ceil(down)).map(value).collect()
}

/// `firwin(2 · half + 1, 1 / widest, window=("kaiser", 5)) · gain`.
fn low_pass(half: usize, widest: usize, gain: f64) -> Vec<f64> {
    let shape = |tap: usize| {
        let x = tap as f64 - half as f64;
        let phase = PI * x / widest as f64;
        let sinc = if tap == half { 1.0 } else { phase.sin() / phase };
        let edge = x / half as f64;
        sinc * bessel_i0(KAISER_BETA * (1.0 - edge * edge).max(0.0).sqrt())
    };
    let taps: Vec<f64> = (0..=2 * half).map(shape).collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| tap / sum * gain).collect()
}

/// The modified Bessel function of order 0, by its series (`x` is at most β).
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let mut term = 1.0;
    (1..40).fold(1.0, |sum, k| {
        term *= quarter / f64::from(k * k);
        sum + term
    })
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hz: f64, secs: f64) -> Vec<f32> {
        (0..(f64::from(rate) * secs) as usize)
            .map(|n| (2.0 * PI * hz * n as f64 / f64::from(rate)).sin() as f32)
            .collect()
    }

    #[test]
    fn a_tone_stays_the_same_tone() {
        for from in [8_000, 22_050, 44_100, 48_000] {
            let (made, wanted) = (resample(&tone(from, 440.0, 0.5), from, 16_000), tone(16_000, 440.0, 0.5));
            assert_eq!(made.len(), wanted.len());
            let middle = made.iter().zip(&wanted).skip(800).take(6_000);
            assert!(middle.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 5e-3, "{from}");
        }
    }

    #[test]
    fn what_the_new_rate_cannot_hold_is_gone() {
        let made = resample(&tone(48_000, 15_000.0, 0.2), 48_000, 16_000);
        assert!(made.iter().skip(200).take(2_000).all(|x| x.abs() < 5e-3));
        assert!(resample(&[], 44_100, 16_000).is_empty());
    }
}
