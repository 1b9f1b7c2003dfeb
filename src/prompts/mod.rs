//! What to look for: enrolment of prompts, and what each is made of.
//!
//! Reads the files that a prompt names, and nothing else. It does not keep prompts; who asked for them does.

mod enrol;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use enrol::enrol;
pub use source::UnknownSource;

use crate::encoders::EncodersError;
use crate::media::MediaError;
use crate::modality::Modality;
use crate::space::{Bank, Calibration, Probe, VectorError};

/// A prompt's name: as a sensor's, 1 to 32 of `a-z 0-9 _ -`.
pub type PromptId = Arc<str>;

/// One ingredient of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum PartSource {
    /// A sound file.
    AudioFile(PathBuf),
    /// A picture file.
    ImageFile(PathBuf),
    /// The bytes of a sound file.
    AudioBytes(Arc<[u8]>),
    /// The bytes of a picture file.
    ImageBytes(Arc<[u8]>),
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

/// A prompt that can be looked for.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Its name.
    pub id: PromptId,
    /// Unit vector of the prompt.
    pub vector: Vec<f32>,
    /// Modality that most of it is made of.
    pub made_of: Modality,
    /// Unit vectors of what it must not be confused with.
    pub negatives: Vec<Vec<f32>>,
    /// How it is scored in each sense in which it is looked for. A sense without enough background in the bank is missing.
    pub calibrations: BTreeMap<Modality, Calibration>,
}

/// Why a prompt was refused.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// It is not written as it should be.
    #[error("prompt `{prompt}`: {why}")]
    Settings {
        /// The prompt.
        prompt: PromptId,
        /// What is wrong and what to do.
        why: String,
    },
    /// One of its parts cannot be used.
    #[error("prompt `{prompt}`: {}{source}", before(.part, .prompt))]
    Part {
        /// The prompt.
        prompt: PromptId,
        /// The part, as `audio:FILE`, `image:FILE` or `text:WORDS`.
        part: String,
        /// Why.
        source: PartError,
    },
    /// Its parts make no vector.
    #[error("prompt `{prompt}`: the sum of its parts: {source}; change weights or leave parts out")]
    Sum {
        /// The prompt.
        prompt: PromptId,
        /// Why.
        source: VectorError,
    },
    /// It is what the background is.
    #[error(
        "prompt `{prompt}` cannot be told from the {modality} background of the model pack: {percent:.0} % of it is just like the prompt; \
         use a clearer clip or picture of the thing alone, or add words to it"
    )]
    LikeBackground {
        /// The prompt.
        prompt: PromptId,
        /// The sense that it was made of.
        modality: Modality,
        /// Share of the background windows that are like it, in per cent.
        percent: f64,
    },
    /// It can be looked for nowhere.
    #[error(
        "prompt `{prompt}`: the model pack has no background for {asked}: look for it in another sense, or use another pack"
    )]
    NotCalibrated {
        /// The prompt.
        prompt: PromptId,
        /// The senses it was asked for.
        asked: String,
    },
}

/// Why a part of a prompt cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Its file is no sound or no picture.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The encoder refused it.
    #[error(transparent)]
    Encoders(#[from] EncodersError),
    /// Its vector has no direction.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// Nothing is to be heard.
    #[error("it is silent ({}, at least -60 dBFS are needed): record it closer or louder", level(*.dbfs))]
    Silent {
        /// Root mean square of the samples, in decibels of full scale; minus infinity when all are 0.
        dbfs: f64,
    },
    /// The recording was too loud.
    #[error(
        "it is clipped ({percent:.1} % of its samples are at full scale, at most 1 % may be): record it again with less gain"
    )]
    Clipped {
        /// Share of the samples at full scale, in per cent.
        percent: f64,
    },
    /// The sound is too short.
    #[error("it lasts {secs:.3} s, at least 0.1 s are needed: use a longer clip")]
    Short {
        /// Its length in seconds.
        secs: f64,
    },
    /// The picture is too small.
    #[error("it measures {width}×{height} pixels, at least 16×16 are needed: use a larger picture")]
    Tiny {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// It was embedded elsewhere, and could not be.
    #[error("{0}")]
    Elsewhere(String),
    /// A text without words.
    #[error("there are no words in it: say what to look for")]
    NoWords,
}

fn level(dbfs: f64) -> String {
    if dbfs.is_finite() { format!("{dbfs:.0} dBFS") } else { "all of its samples are 0".to_owned() }
}

impl PromptError {
    /// The same of a prompt that nobody gave a name: `name` is what it is told by.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        let (Self::Settings { prompt, .. }
        | Self::Part { prompt, .. }
        | Self::Sum { prompt, .. }
        | Self::LikeBackground { prompt, .. }
        | Self::NotCalibrated { prompt, .. }) = &mut self;
        *prompt = name.into();
        self
    }
}

/// A part before what is wrong with it; nothing when the prompt goes by its name.
fn before(part: &str, prompt: &str) -> String {
    if part == prompt { String::new() } else { format!("{part}: ") }
}

impl Prompt {
    /// A prompt from its vectors, calibrated for each of `modalities` that the bank has a background of.
    ///
    /// # Errors
    /// When the bank has a background for none of them.
    pub fn new(
        id: PromptId,
        probe: Probe,
        modalities: &[Modality],
        p_false: f64,
        bank: &Bank,
    ) -> Result<Self, PromptError> {
        let calibrations: BTreeMap<Modality, Calibration> = modalities
            .iter()
            .filter_map(|modality| Some((*modality, Calibration::of(bank, &probe, *modality, p_false)?)))
            .collect();
        if calibrations.is_empty() {
            let asked = modalities.iter().map(|m| m.name()).collect::<Vec<_>>().join(", ");
            return Err(PromptError::NotCalibrated { prompt: id, asked });
        }
        Ok(Self { id, vector: probe.vector, made_of: probe.made_of, negatives: probe.negatives, calibrations })
    }
}
