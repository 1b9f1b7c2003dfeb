//! Windows and prompts into the joint space: the pack's manifest and checks, preprocessing per modality, one session per model.
//!
//! `preprocess` is pure; tensors of the runtime never leave `session`.

mod bank;
mod loading;
mod manifest;
mod pack;
pub mod preprocess;
mod published;
mod session;

use std::path::Path;
use std::sync::Arc;

use self::loading::{Loaded, Slot};
use self::pack::Pack;
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
    /// The pack has this encoder, but it is not loaded.
    #[error("the {0} encoder is not loaded")]
    NotLoaded(Modality),
    /// The input cannot be embedded.
    #[error("cannot embed this {modality}: {why}")]
    Input {
        /// The sense.
        modality: Modality,
        /// What is wrong with it.
        why: String,
    },
}

/// The encoders of one pack: open once, then embed. Each thread that embeds has its own.
pub struct Encoders {
    pack: Pack,
    facts: Vec<(Modality, ModalityFacts)>,
    /// What was asked for and not dropped since.
    wanted: Vec<Modality>,
    loaded: Vec<Loaded>,
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
        let pack = Pack::open(folder)?;
        let facts = Modality::ALL.into_iter().filter_map(|m| pack.manifest.facts(m).map(|facts| (m, facts))).collect();
        let mut encoders = Self { pack, facts, wanted: Vec::new(), loaded: Vec::new() };
        encoders.load_all(modalities, true)?;
        Ok(encoders)
    }

    /// Loads one more modality's session, if it is not loaded.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn load(&mut self, modality: Modality) -> Result<(), EncodersError> {
        self.load_all(&[modality], false)
    }

    fn load_all(&mut self, modalities: &[Modality], check_others: bool) -> Result<(), EncodersError> {
        if let Some(missing) = modalities.iter().find(|m| self.facts(**m).is_none()) {
            return Err(EncodersError::NoEncoder(*missing));
        }
        // Text first: it needs the most room while it loads, in which the others then fit.
        let order = [Slot::Words, Slot::Map, Slot::Frame, Slot::Sound, Slot::Motion];
        let needed = |slot: &Slot| modalities.iter().any(|m| Slot::of(*m).contains(slot));
        let missing: Vec<Slot> = order.into_iter().filter(|slot| needed(slot) && !self.has(*slot)).collect();
        self.loaded.extend(loading::load(&self.pack, &missing, check_others)?);
        for modality in modalities {
            if !self.wanted.contains(modality) {
                self.wanted.push(*modality);
            }
        }
        Ok(())
    }

    /// Drops a modality's session that nothing else uses, to free its memory.
    pub fn unload(&mut self, modality: Modality) {
        self.wanted.retain(|m| *m != modality);
        let wanted = &self.wanted;
        self.loaded.retain(|loaded| wanted.iter().any(|m| Slot::of(*m).contains(&loaded.slot())));
    }

    /// Takes over the sessions that `other`, of the same pack, has and this one has not: so they can be loaded on another thread
    /// while this one works.
    pub fn adopt(&mut self, other: Self) {
        if other.pack.space != self.pack.space {
            return;
        }
        for loaded in other.loaded {
            if !self.has(loaded.slot()) {
                self.loaded.push(loaded);
            }
        }
        for modality in other.wanted {
            if !self.wanted.contains(&modality) {
                self.wanted.push(modality);
            }
        }
    }

    fn has(&self, slot: Slot) -> bool {
        self.loaded.iter().any(|loaded| loaded.slot() == slot)
    }

    /// The joint space's id.
    #[must_use]
    pub fn space(&self) -> &SpaceId {
        &self.pack.space
    }

    /// The joint space's dimension.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.pack.dim()
    }

    /// What the pack says about a modality; none when it has no encoder for it.
    #[must_use]
    pub fn facts(&self, modality: Modality) -> Option<&ModalityFacts> {
        self.facts.iter().find(|(m, _)| *m == modality).map(|(_, facts)| facts)
    }

    /// The pack's bank, read anew from its file.
    ///
    /// # Errors
    /// When the file is not what the contract says.
    pub fn bank(&self) -> Result<BankTensors, EncodersError> {
        self.pack.bank()
    }

    /// Each loaded session by name (`image`, `map`, `audio`, `imu`, `text`) and a run of it alone on the built-in probe, which
    /// says whether it worked: for measurements.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, impl Fn() -> bool)> {
        self.loaded.iter().map(Loaded::session).map(|(name, session)| (name, || session.probe().is_ok()))
    }
}
