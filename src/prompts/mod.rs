//! What to look for: enrolment of prompts, and what each is made of.

use std::path::PathBuf;
use std::sync::Arc;

use crate::modality::Modality;

/// A prompt's name: as a sensor's, 1 to 32 of `a-z 0-9 _ -`.
pub type PromptId = Arc<str>;

/// One ingredient of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum PartSource {
    /// A sound file.
    AudioFile(PathBuf),
    /// A picture file.
    ImageFile(PathBuf),
    /// Words.
    Text(String),
}

/// One ingredient and its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is.
    pub source: PartSource,
    /// Its weight in the sum; positive.
    pub weight: f32,
}

/// A prompt as the config asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptSettings {
    /// Its name.
    pub id: PromptId,
    /// What it is made of; several parts are weighted, summed and made unit again.
    pub parts: Vec<Part>,
    /// What it must not be confused with.
    pub negatives: Vec<PartSource>,
    /// Senses in which it is looked for.
    pub modalities: Vec<Modality>,
    /// Wanted probability of a false alarm per window.
    pub p_false: f64,
}
