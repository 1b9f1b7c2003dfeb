//! Windows and prompts into the joint space: the pack's manifest and checks, preprocessing per modality, one session per model.
//!
//! `preprocess` is pure; tensors of the runtime never leave `session`.

use std::path::Path;
use std::sync::Arc;

use crate::geometry::PixelBox;
use crate::media::{Picture, Plane, Sound};
use crate::modality::Modality;

/// The joint space's name: vectors of different spaces are never compared.
pub type SpaceId = Arc<str>;

/// A published vector: centred by the pack's mean of its modality and of unit length.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The joint space.
    pub space: SpaceId,
    /// The sense it came from.
    pub modality: Modality,
    /// The vector, of the space's dimension.
    pub vector: Arc<[f32]>,
}

/// Un-normalised, un-centred embeddings of a picture's cells.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchMap {
    /// Cells from top to bottom.
    pub rows: usize,
    /// Cells from left to right.
    pub cols: usize,
    /// Dimension of a cell's vector.
    pub dim: usize,
    /// Row-major cells, each `dim` values.
    pub cells: Vec<f32>,
}

impl PatchMap {
    /// The vectors of the cells in row-major order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.cells.chunks_exact(self.dim.max(1))
    }
}

/// The pack's numbers for scoring, as the pack file holds them.
#[derive(Clone, Debug, Default)]
pub struct BankTensors {
    /// Revision of the bank.
    pub revision: u32,
    /// Published vectors of background windows by modality: rows of the space's dimension.
    pub backgrounds: Vec<(Modality, Vec<Vec<f32>>)>,
    /// Patch maps of background frames.
    pub background_maps: Vec<PatchMap>,
    /// Published vectors of other prompts by the modality they were made of.
    pub cohorts: Vec<(Modality, Vec<Vec<f32>>)>,
}

/// Why a pack or an input was refused.
#[derive(Debug, thiserror::Error)]
pub enum EncodersError {
    /// The pack is not usable.
    #[error("model pack {path}: {why}")]
    Pack {
        /// The file of the pack.
        path: std::path::PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// The pack has no encoder for this modality.
    #[error("the model pack has no {0} encoder")]
    NoEncoder(Modality),
    /// The input cannot be embedded.
    #[error("cannot embed this {modality}: {why}")]
    Input {
        /// The sense.
        modality: Modality,
        /// What is wrong with it.
        why: String,
    },
}

/// The encoders of one pack. One `Encoders` per thread; not shared.
pub struct Encoders {
    _private: (),
}

/// What the pack says about one modality.
#[derive(Clone, Debug, PartialEq)]
pub struct ModalityFacts {
    /// Window length in seconds; 0 = one frame.
    pub window_secs: f64,
    /// Rate in Hz that windows are resampled to; 0 for frames.
    pub rate_hz: f64,
    /// Weight in the joint vector; 0 when not validated.
    pub joint_weight: f32,
    /// Whether the card has figures on real data.
    pub validated: bool,
    /// The model's logit scale; metadata only.
    pub logit_scale: f32,
}

impl Encoders {
    /// Checks the pack in `folder` (digests, shapes, a finite output on a probe) and loads what `modalities` need. Text and
    /// other encoders can be loaded later with [`Self::load`] and dropped with [`Self::unload`].
    ///
    /// # Errors
    /// One clear error for the first thing that is wrong with the pack.
    pub fn open(folder: &Path, modalities: &[Modality]) -> Result<Self, EncodersError> {
        let _ = (folder, modalities);
        unimplemented!()
    }
    /// Loads one more modality's session, if it is not loaded.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn load(&mut self, modality: Modality) -> Result<(), EncodersError> {
        let _ = modality;
        unimplemented!()
    }
    /// Drops a modality's session that nothing else uses, to free its memory.
    pub fn unload(&mut self, modality: Modality) {
        let _ = modality;
    }
    /// The joint space's id.
    #[must_use]
    pub fn space(&self) -> &SpaceId {
        unimplemented!()
    }
    /// The joint space's dimension.
    #[must_use]
    pub fn dim(&self) -> usize {
        unimplemented!()
    }
    /// What the pack says about a modality; none when it has no encoder for it.
    #[must_use]
    pub fn facts(&self, modality: Modality) -> Option<&ModalityFacts> {
        let _ = modality;
        unimplemented!()
    }
    /// The pack's bank, read anew from its file.
    ///
    /// # Errors
    /// When the file is not what the contract says.
    pub fn bank(&self) -> Result<BankTensors, EncodersError> {
        unimplemented!()
    }
    /// Embeds a whole picture.
    ///
    /// # Errors
    /// When the session is not loaded or the picture is too small.
    pub fn image(&self, picture: &Picture) -> Result<Embedding, EncodersError> {
        let _ = picture;
        unimplemented!()
    }
    /// Embeds a part of a picture, given in its pixels.
    ///
    /// # Errors
    /// As [`Self::image`], or when the part lies outside.
    pub fn crop(&self, picture: &Picture, box_in_image: PixelBox) -> Result<Embedding, EncodersError> {
        let _ = (picture, box_in_image);
        unimplemented!()
    }
    /// The patch map of a picture.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn map(&self, picture: &Picture) -> Result<PatchMap, EncodersError> {
        let _ = picture;
        unimplemented!()
    }
    /// Embeds one window of sound at the pack's rate; shorter ones are followed by zeros.
    ///
    /// # Errors
    /// When it is empty, longer than a window, or not finite.
    pub fn audio(&self, samples: &[f32]) -> Result<Embedding, EncodersError> {
        let _ = samples;
        unimplemented!()
    }
    /// Embeds a sound of any length and rate: clips as the pack's contract says, averaged.
    ///
    /// # Errors
    /// When it is empty or not finite.
    pub fn sound(&self, sound: &Sound) -> Result<Embedding, EncodersError> {
        let _ = sound;
        unimplemented!()
    }
    /// Embeds a thermal frame, °C.
    ///
    /// # Errors
    /// When fewer than half of its pixels are finite.
    pub fn thermal(&self, celsius: &Plane) -> Result<Embedding, EncodersError> {
        let _ = celsius;
        unimplemented!()
    }
    /// Embeds a depth frame, metres.
    ///
    /// # Errors
    /// When no pixel has a reading.
    pub fn depth(&self, metres: &Plane) -> Result<Embedding, EncodersError> {
        let _ = metres;
        unimplemented!()
    }
    /// Embeds six rows of motion at the pack's rate, one window long (see [`crate::windows::WindowData::Imu`]).
    ///
    /// # Errors
    /// When the length is wrong or a value is not finite.
    pub fn imu(&self, rows: &[f32]) -> Result<Embedding, EncodersError> {
        let _ = rows;
        unimplemented!()
    }
    /// Embeds words.
    ///
    /// # Errors
    /// When there is nothing but white space.
    pub fn text(&self, words: &str) -> Result<Embedding, EncodersError> {
        let _ = words;
        unimplemented!()
    }
}
