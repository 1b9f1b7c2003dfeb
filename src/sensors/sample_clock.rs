//! When a sound card's samples were true: a fit of the sample count to the reference clock.

use super::device_clock::LeastOffset;
use crate::time::{MonoTime, NANOS_PER_SEC};

/// A block this far from the fit is no jitter: samples were lost or the device was swapped; the fit starts over.
const LOST_NANOS: f64 = 0.05 * NANOS_PER_SEC as f64;

/// Gains of the fit for place and rate. At 50 blocks a second the place settles in about a second; the rate gain is half the square of
/// the place gain, which damps the pair (the usual choice for an alpha-beta filter).
const PLACE_GAIN: f64 = 0.02;
const RATE_GAIN: f64 = PLACE_GAIN * PLACE_GAIN / 2.0;

/// No sound card is further off than this.
const WORST_DRIFT: f64 = 500e-6;

/// What the driver says of a block when it hands it over.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockTimes {
    /// Count of the block's first sample since the stream began.
    pub(super) first_sample: u64,
    /// Samples in the block.
    pub(super) samples: u32,
    /// Reference clock at the handing over.
    pub(super) handed_over: MonoTime,
    /// The stream's own clock at the handing over, nanoseconds.
    pub(super) stream_callback: i64,
    /// The stream's own clock when the first sample was captured, nanoseconds.
    pub(super) stream_capture: i64,
}

/// The fit.
#[derive(Debug)]
pub(super) struct SampleClock {
    nominal: f64,
    /// Reference clock minus the stream's clock.
    offset: LeastOffset,
    fit: Option<Fit>,
}

#[derive(Debug)]
struct Fit {
    sample: u64,
    /// Nanoseconds; f64 holds the fraction that the filter needs.
    at: f64,
    nanos_per_sample: f64,
    /// Blocks since it began: the first ones are averaged, so that it settles at once.
    blocks: u32,
}

impl SampleClock {
    pub(super) fn new(sample_rate_hz: u32) -> Self {
        let nominal = NANOS_PER_SEC as f64 / f64::from(sample_rate_hz.max(1));
        Self { nominal, offset: LeastOffset::default(), fit: None }
    }

    /// When the block's first sample was captured.
    pub(super) fn stamp(&mut self, block: BlockTimes) -> MonoTime {
        let seen = block.handed_over.nanos().saturating_sub(block.stream_callback);
        let measured = block.stream_capture.saturating_add(self.offset.see(block.handed_over, seen)) as f64;
        let nominal = self.nominal;
        let start_over = || Fit { sample: block.first_sample, at: measured, nanos_per_sample: nominal, blocks: 0 };
        let fit = self.fit.get_or_insert_with(start_over);
        let step = block.first_sample.saturating_sub(fit.sample) as f64;
        let predicted = fit.at + step * fit.nanos_per_sample;
        let error = measured - predicted;
        if error.abs() > LOST_NANOS {
            let nanos_per_sample = fit.nanos_per_sample;
            *fit = Fit { nanos_per_sample, ..start_over() };
        } else {
            fit.sample = block.first_sample;
            fit.blocks = fit.blocks.saturating_add(1);
            fit.at = predicted + PLACE_GAIN.max(1.0 / f64::from(fit.blocks)) * error;
            if step > 0.0 {
                let rate = fit.nanos_per_sample + RATE_GAIN * error / step;
                fit.nanos_per_sample = rate.clamp(nominal * (1.0 - WORST_DRIFT), nominal * (1.0 + WORST_DRIFT));
            }
        }
        // Whatever the fit believes, the block was all captured before it was handed over.
        let latest = block.handed_over.nanos() as f64 - f64::from(block.samples) * fit.nanos_per_sample;
        fit.at = fit.at.min(latest);
        MonoTime::from_nanos(fit.at.round() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of 20 ms at 48 kHz from a card that is off by `ppm`, handed over up to 3 ms late, the capture told with 1 ms of jitter.
    fn errors_ms(ppm: f64, seconds: usize) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(3);
        let mut clock = SampleClock::new(48_000);
        let start = 1000.0;
        (0..seconds * 50)
            .map(|block| {
                let first_sample = block as u64 * 960;
                let captured = start + first_sample as f64 / (48_000.0 * (1.0 + ppm * 1e-6));
                let callback = captured + 0.03;
                let handed_over = MonoTime::from_secs_f64(callback + 0.003 * random.f64().powi(3));
                let stream = |secs: f64| ((secs - start) * 1e9) as i64;
                let stream_capture = stream(captured + 0.001 * (random.f64() - 0.5));
                let block = BlockTimes {
                    first_sample,
                    samples: 960,
                    handed_over,
                    stream_callback: stream(callback),
                    stream_capture,
                };
                (clock.stamp(block).secs_f64() - captured) * 1e3
            })
            .collect()
    }

    #[test]
    fn drift_and_jitter_are_fitted_away() {
        for ppm in [-100.0, 0.0, 100.0] {
            let errors = errors_ms(ppm, 60);
            let worst = errors.iter().skip(500).fold(0.0f64, |worst, error| worst.max(error.abs()));
            assert!(worst < 0.5, "{ppm} ppm: {worst} ms");
        }
    }

    #[test]
    fn lost_samples_start_the_fit_over() {
        let mut clock = SampleClock::new(48_000);
        let block = |first_sample: u64, secs: f64| BlockTimes {
            first_sample,
            samples: 0,
            handed_over: MonoTime::from_secs_f64(secs),
            stream_callback: (secs * 1e9) as i64,
            stream_capture: (secs * 1e9) as i64,
        };
        clock.stamp(block(0, 1.0));
        let stamp = clock.stamp(block(960, 2.0));
        assert!((stamp.secs_f64() - 2.0).abs() < 1e-6);
    }
}
