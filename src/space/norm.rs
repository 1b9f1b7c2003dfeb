//! s-normalisation, and the false-alarm tail of what the background scores that way.

use super::tail::{Tail, mean_and_sd};

/// How many background rows the typical spread of other prompts counts for.
const PRIOR_ROWS: f64 = 8.0;

/// What one vector scored on one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observed {
    /// The statistic: a cosine, or the best cell of a map.
    pub(super) value: f64,
    /// How far it stands out from other prompts on the same window, in their standard deviations; none where there are no others, or
    /// where the statistic itself was taken against them.
    pub(super) against_others: Option<f64>,
}

/// Mean and spread of one vector's statistic over the background.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Norm {
    mean: f64,
    sd: f64,
}

impl Norm {
    /// `typical_sd`: the spread of other prompts, which steadies the own one while there are few rows; 0 when unknown.
    fn of(values: impl Iterator<Item = f64> + Clone, typical_sd: f64) -> Self {
        let count = values.clone().count() as f64;
        let (mean, sd) = mean_and_sd(values);
        let typical_sd = if typical_sd > 0.0 { typical_sd } else { sd };
        let variance = (count * sd * sd + PRIOR_ROWS * typical_sd * typical_sd) / (count + PRIOR_ROWS);
        Self { mean, sd: variance.sqrt().max(1e-6) }
    }

    /// ½·((s − μ_prompt)/σ_prompt + (s − μ_window)/σ_window); the first half alone where there is no second.
    pub(super) fn normed(&self, observed: Observed) -> f64 {
        let own = (observed.value - self.mean) / self.sd;
        observed.against_others.map_or(own, |against_others| 0.5 * (own + against_others))
    }
}

/// The normalised score of a prompt over the best of its negatives; negatives that are not there say nothing.
pub(super) fn over_negatives(own: f64, negatives: impl Iterator<Item = f64>) -> f64 {
    own - negatives.fold(0.0, f64::max)
}

/// From what the prompt (first) and its negatives scored on every background window: the norm of each, and the tail of the final score.
/// In the tail, each window is left out of the statistics that it is scored with, as a window from the field will be.
pub(super) fn fit(observed: &[Vec<Observed>], typical_sd: f64) -> (Vec<Norm>, Tail) {
    let norm = |rows: &[Observed], left_out: Option<usize>| {
        let kept = rows.iter().enumerate().filter(|(index, _)| Some(*index) != left_out);
        Norm::of(kept.map(|(_, observed)| observed.value), typical_sd)
    };
    let windows = observed.first().map_or(0, Vec::len);
    let score = |index: usize| {
        let mut normed = observed.iter().filter_map(|rows| Some(norm(rows, Some(index)).normed(*rows.get(index)?)));
        over_negatives(normed.next().unwrap_or_default(), normed)
    };
    let scores: Vec<f64> = (0..windows).map(score).collect();
    (observed.iter().map(|rows| norm(rows, None)).collect(), Tail::fit(&scores))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_count_alike() {
        let norm = Norm { mean: 1.0, sd: 0.5 };
        assert_eq!(norm.normed(Observed { value: 2.0, against_others: None }), 2.0);
        assert_eq!(norm.normed(Observed { value: 2.0, against_others: Some(4.0) }), 3.0);
    }

    #[test]
    fn a_spread_of_few_rows_leans_on_that_of_others() {
        let equal = Norm::of([1.0; 8].into_iter(), 2.0);
        assert!((equal.sd - 2.0f64.sqrt()).abs() < 1e-12, "half of the variance: {equal:?}");
        assert!(Norm::of([1.0; 8].into_iter(), 0.0).sd > 0.0);
    }

    #[test]
    fn negatives_only_ever_lower() {
        assert_eq!(over_negatives(3.0, [-2.0, -1.0].into_iter()), 3.0);
        assert_eq!(over_negatives(3.0, [-2.0, 2.5].into_iter()), 0.5);
        assert_eq!(over_negatives(3.0, std::iter::empty()), 3.0);
    }
}
