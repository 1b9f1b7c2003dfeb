//! One frame and one prompt into scored boxes.

use super::regions::regions;
use super::suppress::suppressed;
use super::{Detection, Settings};
use crate::encoders::PatchMap;
use crate::modality::Modality;
use crate::prompts::{Prompt, PromptId};
use crate::space::{Bank, Look, Score};

/// Why a frame could not be searched.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The prompt is not looked for in pictures.
    #[error("prompt `{0}` is not calibrated for pictures: enrol it with the modality `image`")]
    NotForImages(PromptId),
    /// The map has no cells, or its vectors are not of the prompt's dimension.
    #[error(
        "the patch map ({rows}×{cols} cells of dimension {dim}) is broken or does not fit the prompt of dimension {wanted}"
    )]
    Map {
        /// Rows of the map.
        rows: usize,
        /// Columns of the map.
        cols: usize,
        /// Dimension of its cells.
        dim: usize,
        /// Dimension of the prompt.
        wanted: usize,
    },
}

/// A frame, with what is computed once however many prompts are looked for in it.
#[derive(Debug)]
pub struct Frame {
    size_px: (u32, u32),
    look: Look,
}

impl Frame {
    /// A frame of `size_px` (width, height) and its map; `made_of` are the modalities of the prompts that will be looked for.
    #[must_use]
    pub fn new(bank: &Bank, size_px: (u32, u32), map: &PatchMap, made_of: &[Modality]) -> Self {
        Self { size_px, look: bank.look(map, made_of) }
    }
}

/// What a prompt found in a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Whether it is there at all: the score of the best candidate.
    pub frame: Score,
    /// Every candidate, best first, whether it fires or not; at least one.
    pub candidates: Vec<Detection>,
}

/// Turns maps into boxes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detector {
    settings: Settings,
}

impl Detector {
    /// A detector with these settings.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Looks for a prompt in a frame.
    ///
    /// # Errors
    /// When the prompt is not for pictures, or the map does not fit it.
    pub fn detect(&self, frame: &Frame, prompt: &Prompt) -> Result<Found, DetectError> {
        let not_for_images = || DetectError::NotForImages(prompt.id.clone());
        let calibration = prompt.calibrations.get(&Modality::Image).ok_or_else(not_for_images)?;
        let cells = &frame.look.cells;
        if !cells.is_sound() || cells.dim() != prompt.vector.len() {
            let ((rows, cols), dim, wanted) = (cells.shape(), cells.dim(), prompt.vector.len());
            return Err(DetectError::Map { rows, cols, dim, wanted });
        }
        let similarity = calibration.similarity(&frame.look).ok_or_else(not_for_images)?;
        let found = regions(&similarity.grid, |row, col| cells.likeness(row, col), &self.settings);
        let candidates = found.iter().map(|region| Detection {
            box_in_image: region.box_in_image(cells.shape(), frame.size_px, &self.settings),
            score: similarity.at(region.place),
        });
        let candidates = suppressed(candidates.collect(), self.settings.suppression_iou);
        let frame = candidates.first().map_or_else(|| similarity.frame(), |best| best.score);
        Ok(Found { frame, candidates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoders::BankTensors;
    use crate::geometry::PixelBox;
    use crate::space::{Probe, unit};

    const DIM: usize = 16;
    const SIZE_PX: (u32, u32) = (800, 600);

    fn noise(rng: &mut fastrand::Rng) -> Vec<f32> {
        let v: Vec<f32> = (0..DIM).map(|_| rng.f32() - 0.5).collect();
        unit(&v).unwrap().into_iter().map(|x| 0.3 * x).collect()
    }

    fn noise_map(rng: &mut fastrand::Rng) -> PatchMap {
        PatchMap { rows: 6, cols: 8, dim: DIM, cells: (0..48).flat_map(|_| noise(rng)).collect() }
    }

    fn bank(rng: &mut fastrand::Rng) -> Bank {
        let units = |n: usize, rng: &mut fastrand::Rng| -> Vec<Vec<f32>> {
            (0..n).map(|_| unit(&noise(rng)).unwrap()).collect()
        };
        Bank::new(BankTensors {
            revision: 1,
            backgrounds: vec![(Modality::Image, units(64, rng))],
            background_maps: (0..64).map(|_| noise_map(rng)).collect(),
            cohorts: vec![(Modality::Text, units(32, rng))],
        })
    }

    fn prompt(bank: &Bank, vector: &[f32], negatives: &[Vec<f32>]) -> Prompt {
        let probe = Probe { vector: vector.to_vec(), made_of: Modality::Text, negatives: negatives.to_vec() };
        Prompt::new("thing".into(), probe, &[Modality::Image], 0.05, bank).unwrap()
    }

    /// The thing fills rows 1 to 3 and columns 1 to 3: pixels 100 to 400 both ways.
    fn with_thing(mut map: PatchMap, thing: &[f32]) -> PatchMap {
        for (row, col) in (1..4).flat_map(|row| (1..4).map(move |col| (row, col))) {
            let start = (row * 8 + col) * DIM;
            map.cells[start..start + DIM].copy_from_slice(thing);
        }
        map
    }

    #[test]
    fn a_thing_is_boxed_where_it_is_and_nothing_fires_without_it() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (bank, thing) = (bank(&mut rng), unit(&noise(&mut rng)).unwrap());
        let prompt = prompt(&bank, &thing, &[]);
        let look = |map: &PatchMap, prompt: &Prompt| {
            let frame = Frame::new(&bank, SIZE_PX, map, &[Modality::Text]);
            Detector::default().detect(&frame, prompt).unwrap()
        };
        let found = look(&with_thing(noise_map(&mut rng), &thing), &prompt);
        let truth = PixelBox { x0: 100.0, y0: 100.0, x1: 400.0, y1: 400.0 };
        assert!(found.frame.fires() && found.candidates[0].score.fires(), "{found:?}");
        assert!(found.candidates[0].box_in_image.iou(&truth) > 0.6, "{found:?}");
        assert!(found.candidates.iter().all(|c| !c.score.worst_first(&found.frame).is_gt()));
        let false_alarms = (0..100).filter(|_| look(&noise_map(&mut rng), &prompt).frame.fires()).count();
        assert!(false_alarms <= 10, "{false_alarms} of 100");
        let silenced = self::prompt(&bank, &thing, std::slice::from_ref(&thing));
        assert!(!look(&with_thing(noise_map(&mut rng), &thing), &silenced).frame.fires());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (bank, thing) = (bank(&mut rng), unit(&noise(&mut rng)).unwrap());
        let prompt = prompt(&bank, &thing, &[]);
        let short = PatchMap { rows: 6, cols: 8, dim: DIM, cells: vec![0.0; 5] };
        let wide = PatchMap { rows: 1, cols: 1, dim: 2 * DIM, cells: vec![0.0; 2 * DIM] };
        let broken = PatchMap { rows: 1, cols: 1, dim: DIM, cells: vec![f32::NAN; DIM] };
        for map in [short, wide, broken] {
            let refused = Detector::default().detect(&Frame::new(&bank, SIZE_PX, &map, &[Modality::Text]), &prompt);
            assert!(matches!(refused, Err(DetectError::Map { .. })), "{refused:?}");
        }
    }
}
