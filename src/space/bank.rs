//! The factory bank: background windows, and other prompts.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::cells::{Cells, CohortOnCells, against_cohort};
use super::tail::mean_and_sd;
use super::vector::{dot, unit};
use crate::encoders::{BankTensors, PatchMap};
use crate::modality::Modality;

/// A modality with fewer background windows than this cannot be calibrated.
pub const FEWEST_BACKGROUNDS: usize = 8;

/// A cohort with fewer prompts than this says nothing about a window.
pub(super) const FEWEST_COHORT: usize = 8;

/// More cohort prompts than this cost time on every frame (64 × 192 cells × 384 dimensions) and add nothing.
const MOST_COHORT: usize = 64;

/// The factory bank, prepared for scoring.
pub struct Bank {
    revision: u32,
    backgrounds: BTreeMap<Modality, Vec<Vec<f32>>>,
    maps: Vec<Cells>,
    /// Mean direction of the background maps' cells.
    cell_mean: Vec<f32>,
    cohorts: BTreeMap<Modality, Cohort>,
    no_cohort: Cohort,
}

/// Other prompts of one modality.
#[derive(Default)]
struct Cohort {
    prompts: Vec<Vec<f32>>,
    /// What they score on the background maps; computed when the first prompt needs it.
    on_maps: OnceLock<OnMaps>,
}

/// What one cohort scores on the background maps.
#[derive(Default)]
pub(super) struct OnMaps {
    /// For each map.
    pub(super) scores: Vec<CohortOnCells>,
    /// Added to the spread of the scores on a cell: twice the mean of that spread over all background cells. From there on (measured on the
    /// reference pack, between half and four times) telling present from absent hardly depends on it.
    pub(super) cell_sd_floor: f64,
    /// Mean over some of the cohort's prompts of the spread of their best cells over the maps.
    pub(super) typical_sd: f64,
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

impl Bank {
    /// Prepares a pack's bank. Of a larger cohort, an even choice of 64 prompts is kept.
    #[must_use]
    pub fn new(tensors: BankTensors) -> Self {
        let cohorts = tensors.cohorts.into_iter().map(|(modality, prompts)| {
            (modality, Cohort { prompts: even_choice(prompts, MOST_COHORT), on_maps: OnceLock::new() })
        });
        let cell_mean = mean_direction(&tensors.background_maps);
        Self {
            revision: tensors.revision,
            cohorts: cohorts.collect(),
            no_cohort: Cohort::default(),
            backgrounds: tensors.backgrounds.into_iter().collect(),
            maps: tensors.background_maps.iter().map(|map| Cells::new(map, &cell_mean)).collect(),
            cell_mean,
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

    pub(super) fn cohort(&self, made_of: Modality) -> &[Vec<f32>] {
        self.cohorts.get(&made_of).map_or(&[], |cohort| &cohort.prompts)
    }

    /// The background maps.
    pub(super) fn maps(&self) -> &[Cells] {
        &self.maps
    }

    /// What the cohort of this modality scores on them.
    pub(super) fn on_maps(&self, made_of: Modality) -> &OnMaps {
        let cohort = self.cohorts.get(&made_of).unwrap_or(&self.no_cohort);
        cohort.on_maps.get_or_init(|| OnMaps::new(&self.maps, &cohort.prompts))
    }

    /// Scores of the cohorts on a whole window, for prompts made of `made_of`.
    #[must_use]
    pub fn cohort_scores(&self, vector: &[f32], made_of: &[Modality]) -> CohortScores {
        let asked = self.cohorts.iter().filter(|(modality, _)| made_of.contains(modality));
        CohortScores(asked.map(|(m, cohort)| (*m, cohort.prompts.iter().map(|p| dot(p, vector)).collect())).collect())
    }

    /// A picture's cells and what the cohorts score on them, ready to be compared with prompts made of `made_of`.
    #[must_use]
    pub fn look(&self, map: &PatchMap, made_of: &[Modality]) -> Look {
        let cells = Cells::new(map, &self.cell_mean);
        let asked = self.cohorts.iter().filter(|(modality, _)| made_of.contains(modality));
        let cohorts = asked.map(|(modality, cohort)| (*modality, cells.cohort_scores(&cohort.prompts))).collect();
        Look { cells, cohorts }
    }
}

/// A picture, ready to be compared with prompts: make it once a picture, whatever the number of prompts.
#[derive(Clone, Debug)]
pub struct Look {
    /// Its cells.
    pub cells: Cells,
    /// What each cohort scores on them.
    cohorts: BTreeMap<Modality, CohortOnCells>,
}

impl Look {
    /// What the cohort of this modality scores on the cells; none when it was not asked for.
    pub(super) fn cohort(&self, made_of: Modality) -> Option<&CohortOnCells> {
        self.cohorts.get(&made_of)
    }
}

impl OnMaps {
    fn new(maps: &[Cells], prompts: &[Vec<f32>]) -> Self {
        let scores: Vec<CohortOnCells> = maps.iter().map(|cells| cells.cohort_scores(prompts)).collect();
        let on_cells = maps.iter().map(|cells| cells.shape().0 * cells.shape().1).zip(&scores);
        let spreads = on_cells.flat_map(|(cells, scores)| scores.sds(cells));
        let cell_sd_floor = 2.0 * mean_and_sd(spreads.collect::<Vec<_>>().into_iter()).0;
        // A dozen prompts tell what is typical.
        let others = vec![true; prompts.len()];
        let typical = prompts.iter().step_by(prompts.len().div_ceil(12).max(1)).map(|prompt| {
            let best = maps.iter().zip(&scores).map(|(cells, scores)| {
                let against = against_cohort(&cells.dots(prompt), scores, &others, cell_sd_floor, FEWEST_COHORT);
                f64::from(against.smoothed().max())
            });
            mean_and_sd(best.collect::<Vec<_>>().into_iter()).1
        });
        let typical_sd = mean_and_sd(typical.collect::<Vec<_>>().into_iter()).0;
        Self { scores, cell_sd_floor, typical_sd }
    }
}

/// Mean of the cells as unit vectors; empty without any.
fn mean_direction(maps: &[PatchMap]) -> Vec<f32> {
    let (mut sum, mut count): (Vec<f64>, f64) = (Vec::new(), 0.0);
    for cell in maps.iter().flat_map(PatchMap::iter).filter_map(|cell| unit(cell).ok()) {
        sum.resize(cell.len(), 0.0);
        sum.iter_mut().zip(&cell).for_each(|(total, x)| *total += f64::from(*x));
        count += 1.0;
    }
    sum.iter().map(|total| (total / count) as f32).collect()
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

    #[test]
    fn the_mean_direction_ignores_how_long_cells_are() {
        let map = PatchMap { rows: 1, cols: 2, dim: 2, cells: vec![5.0, 0.0, 0.0, 0.1] };
        assert_eq!(mean_direction(&[map]), [0.5, 0.5]);
        assert!(mean_direction(&[]).is_empty());
    }
}
