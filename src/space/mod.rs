//! Pure algebra of the joint space: unit vectors, sums, banks and calibrated scores, the joint vector.

use crate::encoders::{BankTensors, PatchMap};
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
}

/// The factory bank, prepared for scoring.
pub struct Bank {
    _private: (),
}

impl Bank {
    /// Prepares a pack's bank.
    #[must_use]
    pub fn new(tensors: BankTensors) -> Self {
        let _ = tensors;
        unimplemented!()
    }
}

/// One prompt's statistics against the bank, for one probed modality.
pub struct Calibration {
    _private: (),
}

impl Calibration {
    /// Statistics of `probe` against the background windows of `modality`; none when the bank has too few of them.
    #[must_use]
    pub fn of(bank: &Bank, probe: &Probe, modality: Modality, p_false: f64) -> Option<Self> {
        let _ = (bank, probe, modality, p_false);
        unimplemented!()
    }
    /// Scores a whole window (sound, motion, a frame's own vector).
    #[must_use]
    pub fn score(&self, bank: &Bank, vector: &[f32]) -> Score {
        let _ = (bank, vector);
        unimplemented!()
    }
    /// Scores a picture by the maximum over its cells.
    #[must_use]
    pub fn score_map(&self, bank: &Bank, map: &PatchMap) -> Score {
        let _ = (bank, map);
        unimplemented!()
    }
}
