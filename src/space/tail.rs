//! How rarely the background scores as high as this: the upper tail of background scores.

/// Share of the background scores that the tail is fitted on.
const TAIL_SHARE: f64 = 0.25;

/// Mean excess of a normal distribution over its upper quartile, in standard deviations: φ(0.674)/0.25 − 0.674.
const NORMAL_EXCESS: f64 = 0.597;

/// How many excesses the normal guess counts for; it steadies the fit when the bank is small.
const PRIOR_EXCESSES: f64 = 4.0;

/// Exponential tail: `P(score > s) = TAIL_SHARE · exp(−(s − start) / scale)`.
///
/// Maxima and sums of many weak similarities have a tail that falls exponentially or faster (Gumbel's domain), so an exponential above a
/// high quantile errs on the side of silence, and its one parameter, the mean excess, can be had from a few dozen rows; a
/// Gumbel fitted on all rows lets the body of the distribution bend the tail, and a generalised Pareto's shape needs
/// hundreds of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tail {
    start: f64,
    scale: f64,
}

impl Tail {
    /// Fits the tail; `scores` must not be empty.
    pub(super) fn fit(scores: &[f64]) -> Self {
        let mut sorted = scores.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (mean, spread) = mean_and_sd(sorted.iter().copied());
        let start = quantile(&sorted, 1.0 - TAIL_SHARE);
        let excesses: Vec<f64> = sorted.iter().map(|s| s - start).filter(|excess| *excess > 0.0).collect();
        let prior = NORMAL_EXCESS * spread.max(1e-6 * (1.0 + mean.abs()));
        // Few rows place the start badly: the scale makes up for it (three rows' worth; measured in the tests below).
        let uncertainty = 1.0 + 3.0 / sorted.len().max(1) as f64;
        let scale = (excesses.iter().sum::<f64>() + PRIOR_EXCESSES * prior) / (excesses.len() as f64 + PRIOR_EXCESSES)
            * uncertainty;
        Self { start, scale }
    }

    /// Probability that a background window scores above `score`. Below the fitted part it is only a monotone
    /// continuation and may exceed one.
    pub(super) fn p_false(&self, score: f64) -> f64 {
        TAIL_SHARE * (-(score - self.start) / self.scale).exp()
    }
}

/// Mean and standard deviation (of the sample; 0 for fewer than two).
pub(super) fn mean_and_sd(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (sum, count) = values.clone().fold((0.0, 0.0f64), |(sum, count), value| (sum + value, count + 1.0));
    let mean = sum / count.max(1.0);
    let square: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
    (mean, (square / (count - 1.0).max(1.0)).sqrt())
}

/// Quantile of sorted values, linear between neighbours; NaN when there are none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len().saturating_sub(1)) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let at = |i: usize| sorted.get(i.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN);
    at(low) * (1.0 - part) + at(low + 1) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Standard normal numbers by Box and Muller.
    fn normals(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..n)
            .map(|_| (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (2.0 * std::f64::consts::PI * rng.f64()).cos())
            .collect()
    }

    /// How often fresh normal scores pass the threshold that a bank of `n` rows gives, over many banks.
    fn false_rate(n: usize, wanted: f64) -> f64 {
        let fresh = normals(20_000, 999);
        let rates: f64 = (0..40)
            .map(|seed| {
                let tail = Tail::fit(&normals(n, seed));
                fresh.iter().filter(|s| tail.p_false(**s) <= wanted).count() as f64 / fresh.len() as f64
            })
            .sum();
        rates / 40.0
    }

    #[test]
    fn the_wish_is_kept_with_many_and_with_few_rows() {
        for (n, wanted, most) in [(200, 0.05, 0.06), (200, 0.01, 0.012), (64, 0.05, 0.06), (8, 0.05, 0.10)] {
            let rate = false_rate(n, wanted);
            assert!(rate <= most, "{n} rows, wanted {wanted}: {rate}");
            assert!(rate >= wanted / 6.0, "{n} rows, wanted {wanted}: needlessly deaf at {rate}");
        }
    }

    #[test]
    fn equal_scores_give_a_finite_step() {
        let tail = Tail::fit(&[0.5; 10]);
        assert!(tail.p_false(0.5).is_finite());
        assert!(tail.p_false(0.6) < 1e-6);
    }
}
