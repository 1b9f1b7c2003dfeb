//! A picture's cells, ready to be compared with prompts.

use super::grid::Grid;
use super::tail::mean_and_sd;
use super::vector::{dot, unit};
use crate::encoders::PatchMap;

/// A picture's cells, centred: computed once a picture, whatever the number of prompts.
///
/// Centring subtracts from each cell `|cell|` times the mean direction of background cells, and keeps the cell's length: a cell that the encoder
/// is unsure of is short, and its likeness to anything counts for little.
#[derive(Clone, Debug)]
pub struct Cells {
    rows: usize,
    cols: usize,
    dim: usize,
    centred: Vec<f32>,
}

impl Cells {
    /// `mean` is the mean direction of background cells.
    pub(super) fn new(map: &PatchMap, mean: &[f32]) -> Self {
        let mut centred = map.cells.clone();
        for cell in centred.chunks_exact_mut(map.dim.max(1)) {
            let length = dot(cell, cell).sqrt();
            cell.iter_mut().zip(mean).for_each(|(x, m)| *x -= length * m);
        }
        Self { rows: map.rows, cols: map.cols, dim: map.dim, centred }
    }

    /// For each cell, its dot product with each of a cohort's prompts.
    pub(super) fn cohort_scores(&self, prompts: &[Vec<f32>]) -> Vec<f32> {
        self.iter().flat_map(|cell| prompts.iter().map(|prompt| dot(cell, prompt))).collect()
    }

    fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.centred.chunks_exact(self.dim.max(1))
    }

    /// Rows and columns.
    #[must_use]
    pub const fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Dimension of a cell.
    #[must_use]
    pub const fn dim(&self) -> usize {
        self.dim
    }

    /// Whether there is at least one cell and every value is finite.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let wanted = self.rows * self.cols * self.dim;
        wanted > 0 && self.centred.len() == wanted && self.centred.iter().all(|x| x.is_finite())
    }

    fn grid(&self, values: Vec<f32>) -> Grid {
        Grid { rows: self.rows, cols: self.cols, values }
    }

    /// Dot product of `vector` with every cell.
    #[must_use]
    pub fn dots(&self, vector: &[f32]) -> Grid {
        self.grid(self.iter().map(|cell| dot(cell, vector)).collect())
    }

    /// How like every cell is to those around one: the mean of up to nine cells as a direction, smoothed. None where they have none.
    #[must_use]
    pub fn likeness(&self, row: usize, col: usize) -> Option<Grid> {
        let near = |at: usize, other: usize| at.abs_diff(other) <= 1;
        let mut sum = vec![0.0; self.dim];
        for (place, cell) in self.iter().enumerate() {
            if near(row, place / self.cols) && near(col, place % self.cols) {
                sum.iter_mut().zip(cell).for_each(|(total, x)| *total += x);
            }
        }
        Some(self.dots(&unit(&sum).ok()?).smoothed())
    }
}

/// How far each cell's dot product stands out from the other prompts' on that cell, in their standard deviations; `sd_floor` is added
/// to these, lest a cell that says nothing of anything stand out. With fewer than `fewest` others, the dot products as they are.
///
/// `cohort` holds for each cell the scores of all prompts, `others` says which of them count.
pub(super) fn against_cohort(dots: &Grid, cohort: &[f32], others: &[bool], sd_floor: f64, fewest: usize) -> Grid {
    if others.iter().filter(|is_other| **is_other).count() < fewest.max(1) {
        return dots.clone();
    }
    let cells = dots.values.iter().zip(cohort.chunks_exact(others.len()));
    let values = cells.map(|(dot, scores)| {
        let scores = scores.iter().zip(others).filter(|(_, is_other)| **is_other).map(|(score, _)| f64::from(*score));
        let (mean, sd) = mean_and_sd(scores);
        ((f64::from(*dot) - mean) / (sd + sd_floor).max(1e-9)) as f32
    });
    Grid { values: values.collect(), ..*dots }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> PatchMap {
        PatchMap { rows: 1, cols: 3, dim: 2, cells: vec![2.0, 0.0, 0.0, 3.0, 0.0, 0.0] }
    }

    #[test]
    fn centring_takes_the_mean_direction_and_keeps_the_length_in_account() {
        let cells = Cells::new(&map(), &[0.5, 0.0]);
        assert_eq!(cells.centred, [1.0, 0.0, -1.5, 3.0, 0.0, 0.0]);
        assert_eq!(cells.dots(&[0.0, 1.0]).values, [0.0, 3.0, 0.0]);
        assert!(cells.is_sound());
    }

    #[test]
    fn cohorts_are_scored_cell_by_cell() {
        let cells = Cells::new(&map(), &[0.0, 0.0]);
        assert_eq!(cells.cohort_scores(&[vec![1.0, 0.0], vec![0.0, 1.0]]), [2.0, 0.0, 0.0, 3.0, 0.0, 0.0]);
        assert!(cells.cohort_scores(&[]).is_empty());
    }

    #[test]
    fn a_prompt_is_held_against_others_on_each_cell() {
        let dots = Grid { rows: 1, cols: 2, values: vec![0.5, 0.5] };
        let cohort = [0.1, 0.3, 9.0, 0.5, 0.7, 9.0];
        let against = against_cohort(&dots, &cohort, &[true, true, false], 0.0, 2);
        let spread = 0.02f32.sqrt();
        assert!((against.values[0] - 0.3 / spread).abs() < 1e-4 && (against.values[1] + 0.1 / spread).abs() < 1e-4);
        assert_eq!(against_cohort(&dots, &cohort, &[true, false, false], 0.0, 2), dots, "too few others");
    }

    #[test]
    fn likeness_peaks_among_its_like() {
        let cells = vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let cells = Cells::new(&PatchMap { rows: 1, cols: 6, dim: 2, cells }, &[0.0, 0.0]);
        let like = cells.likeness(0, 0).unwrap().values;
        assert!(like[0] > 0.9 && like[1] > 0.9 && like[4] < 0.2 && like[5] < 0.1, "{like:?}");
        let empty = Cells::new(&PatchMap { rows: 1, cols: 1, dim: 2, cells: vec![0.0; 2] }, &[0.0, 0.0]);
        assert!(empty.likeness(0, 0).is_none());
    }
}
