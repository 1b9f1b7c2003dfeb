//! The factory bank: background windows, and other prompts.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::grid::Grid;
use super::vector::dot;
use crate::encoders::{BankTensors, PatchMap};
use crate::modality::Modality;

/// A modality with fewer background windows than this cannot be calibrated.
pub const FEWEST_BACKGROUNDS: usize = 8;

/// A cohort with fewer prompts than this says nothing about a window.
pub(super) const FEWEST_COHORT: usize = 8;

/// More cohort prompts than this cost time on every window (64 × 192 cells × 384 dimensions: about a millisecond) and add nothing.
const MOST_COHORT: usize = 64;

/// The factory bank, prepared for scoring.
pub struct Bank {
    revision: u32,
    backgrounds: BTreeMap<Modality, Vec<Vec<f32>>>,
    maps: Vec<PatchMap>,
    cohorts: BTreeMap<Modality, Cohort>,
}

/// Other prompts of one modality.
struct Cohort {
    prompts: Vec<Vec<f32>>,
    /// Their scores on every background map; computed when the first prompt needs them.
    on_maps: OnceLock<Vec<Vec<f32>>>,
}

/// How well one window matches the cohorts' prompts: compute it once a window, whatever the number of prompts.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CohortScores(BTreeMap<Modality, Vec<f32>>);

impl CohortScores {
    /// Scores of the cohort of this modality, in the bank's order; empty when there is none.
    pub(super) fn of(&self, made_of: Modality) -> &[f32] {
        self.0.get(&made_of).map_or(&[], Vec::as_slice)
    }
}

/// What is scored of a map: the largest cell of the smoothed similarity map.
pub(super) fn map_statistic(map: &PatchMap, vector: &[f32]) -> f32 {
    Grid::of(map, vector).smoothed().max()
}

impl Bank {
    /// Prepares a pack's bank. Of a larger cohort, an even choice of 64 prompts is kept.
    #[must_use]
    pub fn new(tensors: BankTensors) -> Self {
        let cohorts = tensors.cohorts.into_iter().map(|(modality, prompts)| {
            (modality, Cohort { prompts: even_choice(prompts, MOST_COHORT), on_maps: OnceLock::new() })
        });
        Self {
            revision: tensors.revision,
            cohorts: cohorts.collect(),
            backgrounds: tensors.backgrounds.into_iter().collect(),
            maps: tensors.background_maps,
        }
    }

    /// Its revision; every score carries it.
    #[must_use]
    pub const fn revision(&self) -> u32 {
        self.revision
    }

    /// Background windows of a modality: published vectors.
    #[must_use]
    pub fn backgrounds(&self, modality: Modality) -> &[Vec<f32>] {
        self.backgrounds.get(&modality).map_or(&[], Vec::as_slice)
    }

    pub(super) fn maps(&self) -> &[PatchMap] {
        &self.maps
    }

    pub(super) fn cohort(&self, made_of: Modality) -> &[Vec<f32>] {
        self.cohorts.get(&made_of).map_or(&[], |cohort| &cohort.prompts)
    }

    /// The cohort's scores on every background map.
    pub(super) fn cohort_on_background_maps(&self, made_of: Modality) -> &[Vec<f32>] {
        self.cohorts.get(&made_of).map_or(&[], |cohort| {
            cohort.on_maps.get_or_init(|| {
                self.maps.iter().map(|map| cohort.prompts.iter().map(|p| map_statistic(map, p)).collect()).collect()
            })
        })
    }

    /// Scores of the cohorts on a whole window, for prompts made of `made_of`.
    #[must_use]
    pub fn cohort_scores(&self, vector: &[f32], made_of: &[Modality]) -> CohortScores {
        self.scores_of(made_of, |prompt| dot(prompt, vector))
    }

    /// Scores of the cohorts on a picture's map, for prompts made of `made_of`.
    #[must_use]
    pub fn cohort_scores_on_map(&self, map: &PatchMap, made_of: &[Modality]) -> CohortScores {
        self.scores_of(made_of, |prompt| map_statistic(map, prompt))
    }

    fn scores_of(&self, made_of: &[Modality], score: impl Fn(&[f32]) -> f32) -> CohortScores {
        let asked = self.cohorts.iter().filter(|(modality, _)| made_of.contains(modality));
        CohortScores(asked.map(|(m, cohort)| (*m, cohort.prompts.iter().map(|p| score(p)).collect())).collect())
    }
}

/// At most `most` of `rows`, evenly spread.
fn even_choice(rows: Vec<Vec<f32>>, most: usize) -> Vec<Vec<f32>> {
    let (count, most) = (rows.len(), most.min(rows.len()));
    let mut chosen = (0..most).map(|i| i * count / most).peekable();
    rows.into_iter().enumerate().filter(|(i, _)| chosen.next_if_eq(i).is_some()).map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_cohorts_are_thinned_evenly() {
        let rows: Vec<Vec<f32>> = (0..200).map(|i| vec![i as f32]).collect();
        let chosen = even_choice(rows.clone(), 64);
        assert_eq!((chosen.len(), chosen[0][0], chosen[32][0]), (64, 0.0, 100.0));
        assert_eq!(even_choice(rows, 1000).len(), 200);
        assert!(even_choice(Vec::new(), 64).is_empty());
    }

    #[test]
    fn only_the_cohorts_that_were_asked_for_are_scored() {
        let bank = Bank::new(BankTensors {
            cohorts: vec![(Modality::Text, vec![vec![1.0, 0.0]]), (Modality::Audio, vec![vec![0.0, 1.0]])],
            ..BankTensors::default()
        });
        let scores = bank.cohort_scores(&[0.5, 0.25], &[Modality::Audio]);
        assert_eq!((scores.of(Modality::Audio), scores.of(Modality::Text)), (&[0.25][..], &[][..]));
    }
}
