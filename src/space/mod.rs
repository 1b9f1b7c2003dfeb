//! Pure algebra of the joint space: unit vectors, sums, banks and calibrated scores, the joint vector.
//!
//! No I/O, no clock, no encoder: what is compared here was embedded elsewhere, and time arrives in the data.

mod bank;
mod calibration;
mod cells;
mod grid;
mod joint;
mod norm;
mod tail;
mod vector;

pub use bank::{Bank, CohortScores, FEWEST_BACKGROUNDS, Look};
pub use calibration::{Calibration, P_FALSE_AT_HALF, Similarity};
pub use cells::Cells;
pub use grid::Grid;
pub use joint::{Joint, JointPart, JointSettings, JointVector};
pub use vector::{VectorError, dot, unit, weighted_sum};

use crate::modality::Modality;

/// A prompt's vector with what it must not be confused with.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Unit vector of the prompt.
    pub vector: Vec<f32>,
    /// Modality that most of the prompt is made of; chooses the cohort.
    pub made_of: Modality,
    /// Unit vectors of negatives.
    pub negatives: Vec<Vec<f32>>,
}

/// A comparison that means something across modalities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Cosine, or for a map the maximum of its un-normalised cells.
    pub raw: f32,
    /// Calibrated: 0 to 1, logistic; 0.5 at a false-alarm probability of 0.05 per window.
    pub calibrated: f32,
    /// Where `calibrated` fires for the wanted false-alarm probability.
    pub threshold: f32,
    /// Revision of the bank that both were calibrated on.
    pub bank_revision: u32,
}

impl Score {
    /// Whether it passes.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.calibrated >= self.threshold
    }

    /// Order from the worst to the best: by the calibrated score, then, where that is saturated, by the raw one.
    #[must_use]
    pub fn worst_first(&self, other: &Self) -> std::cmp::Ordering {
        self.calibrated.total_cmp(&other.calibrated).then(self.raw.total_cmp(&other.raw))
    }
}
