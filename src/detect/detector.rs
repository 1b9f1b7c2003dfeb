//! One frame and one prompt into scored boxes.

use super::regions::{Region, regions};
use super::suppress::suppressed;
use super::{Detection, Settings};
use crate::encoders::{Embedding, Encoders, EncodersError, PatchMap};
use crate::geometry::PixelBox;
use crate::media::Picture;
use crate::modality::Modality;
use crate::prompts::{Prompt, PromptId};
use crate::space::{Bank, Calibration, CohortScores, Grid, Score};

/// Why a frame could not be searched.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The prompt is not looked for in pictures.
    #[error("prompt `{0}` is not calibrated for pictures: enrol it with the modality `image`")]
    NotForImages(PromptId),
    /// The map has no cells, or its vectors are not of the prompt's dimension.
    #[error("the patch map ({rows}×{cols} cells of dimension {dim}) does not fit the prompt of dimension {wanted}")]
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
    /// A crop could not be embedded.
    #[error(transparent)]
    Encoders(#[from] EncodersError),
}

/// A frame, with what is computed once however many prompts are looked for in it.
#[derive(Debug)]
pub struct Frame<'a> {
    size_px: (u32, u32),
    map: &'a PatchMap,
    cohort: CohortScores,
}

impl<'a> Frame<'a> {
    /// A frame of `size_px` (width, height) and its map; `made_of` are the modalities of the prompts that will be looked for.
    #[must_use]
    pub fn new(bank: &Bank, size_px: (u32, u32), map: &'a PatchMap, made_of: &[Modality]) -> Self {
        Self { size_px, map, cohort: bank.cohort_scores_on_map(map, made_of) }
    }
}

/// What a prompt found in a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Whether it is there at all.
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

    /// Looks for a prompt in a frame. Embeds crops of `picture` only for what would fire.
    ///
    /// # Errors
    /// When the prompt is not for pictures, the map does not fit it, or a crop cannot be embedded.
    pub fn detect(
        &self,
        encoders: &Encoders,
        bank: &Bank,
        picture: &Picture,
        frame: &Frame<'_>,
        prompt: &Prompt,
    ) -> Result<Found, DetectError> {
        self.detect_with(bank, frame, prompt, |place| encoders.crop(picture, place))
    }

    /// As [`Self::detect`], with crops embedded by `embed_crop`.
    ///
    /// # Errors
    /// As [`Self::detect`].
    pub fn detect_with(
        &self,
        bank: &Bank,
        frame: &Frame<'_>,
        prompt: &Prompt,
        mut embed_crop: impl FnMut(PixelBox) -> Result<Embedding, EncodersError>,
    ) -> Result<Found, DetectError> {
        let calibration =
            prompt.calibrations.get(&Modality::Image).ok_or_else(|| DetectError::NotForImages(prompt.id.clone()))?;
        let PatchMap { rows, cols, dim, .. } = *frame.map;
        let wanted = prompt.vector.len();
        if rows == 0 || cols == 0 || dim != wanted || frame.map.cells.len() != rows * cols * dim {
            return Err(DetectError::Map { rows, cols, dim, wanted });
        }
        let grid = Grid::of(frame.map, &prompt.vector).smoothed();
        let found = regions(&grid, calibration.cell_background(), &self.settings);
        let mut candidates = Vec::with_capacity(found.len());
        for (index, region) in found.iter().enumerate() {
            let box_in_image = region.box_in_image(&grid, frame.size_px);
            let on_map = score_region(calibration, frame, region);
            let score = if on_map.fires() && index < self.settings.most_crops {
                worse(on_map, calibration.score(bank, &embed_crop(box_in_image)?.vector))
            } else {
                on_map
            };
            candidates.push(Detection { box_in_image, score });
        }
        let candidates = suppressed(candidates, self.settings.suppression_iou);
        let on_map = calibration.score_map_beside(&frame.cohort, frame.map);
        let frame = candidates.first().map_or(on_map, |best| worse(on_map, best.score));
        Ok(Found { frame, candidates })
    }
}

/// Scores a region by its best cell, as if it were all that the map holds.
fn score_region(calibration: &Calibration, frame: &Frame<'_>, region: &Region) -> Score {
    calibration.score_map_by(&frame.cohort, |vector| {
        let grid = Grid::of(frame.map, vector).smoothed();
        grid.max_inside(&region.bounds)
    })
}

fn worse(a: Score, b: Score) -> Score {
    if a.calibrated <= b.calibrated { a } else { Score { calibrated: b.calibrated, ..a } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoders::BankTensors;
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

    /// What is in a crop of the made-up picture: the thing if the crop's middle lies on it.
    fn crop_of(thing: &[f32]) -> impl FnMut(PixelBox) -> Result<Embedding, EncodersError> {
        let (thing, mut rng) = (thing.to_vec(), fastrand::Rng::with_seed(77));
        move |place| {
            let on_it = (100.0..400.0).contains(&((place.x0 + place.x1) / 2.0));
            let vector = if on_it { thing.clone() } else { unit(&noise(&mut rng)).unwrap() };
            Ok(Embedding { space: "p16-test".into(), modality: Modality::Image, vector: vector.into() })
        }
    }

    #[test]
    fn a_thing_is_boxed_where_it_is_and_nothing_fires_without_it() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (bank, thing) = (bank(&mut rng), unit(&noise(&mut rng)).unwrap());
        let prompt = prompt(&bank, &thing, &[]);
        let look = |map: &PatchMap, prompt: &Prompt| {
            let frame = Frame::new(&bank, SIZE_PX, map, &[Modality::Text]);
            Detector::default().detect_with(&bank, &frame, prompt, crop_of(&thing)).unwrap()
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
    fn crops_are_embedded_only_for_what_would_fire() {
        let mut rng = fastrand::Rng::with_seed(2);
        let (bank, thing) = (bank(&mut rng), unit(&noise(&mut rng)).unwrap());
        let prompt = prompt(&bank, &thing, &[]);
        let crops = |map: &PatchMap| {
            let mut asked = 0;
            let frame = Frame::new(&bank, SIZE_PX, map, &[Modality::Text]);
            let found = Detector::default().detect_with(&bank, &frame, &prompt, |place| {
                asked += 1;
                crop_of(&thing)(place)
            });
            (asked, found.unwrap().candidates.len())
        };
        let empty = PatchMap { rows: 6, cols: 8, dim: DIM, cells: vec![0.0; 48 * DIM] };
        assert_eq!(crops(&empty), (0, 1));
        let (asked, _) = crops(&with_thing(noise_map(&mut rng), &thing));
        assert!((1..=4).contains(&asked), "{asked}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (bank, thing) = (bank(&mut rng), unit(&noise(&mut rng)).unwrap());
        let prompt = prompt(&bank, &thing, &[]);
        let short = PatchMap { rows: 6, cols: 8, dim: DIM, cells: vec![0.0; 5] };
        let frame = Frame { size_px: SIZE_PX, map: &short, cohort: CohortScores::default() };
        let refused = Detector::default().detect_with(&bank, &frame, &prompt, crop_of(&thing));
        assert!(matches!(refused, Err(DetectError::Map { .. })));
    }
}
