//! Raw similarities into scores that mean the same for every prompt and every sense.
//!
//! A raw cosine means nothing across modality pairs, so it is s-normalised as in speaker verification: against the background windows of the
//! prompt, and against other prompts on the same window. For pictures the second half is done cell by cell, before the best cell is
//! taken. What the background itself scores this way gives the tail that turns a score into a probability of a false alarm.

use super::bank::{Bank, CohortScores, FEWEST_BACKGROUNDS, FEWEST_COHORT, Look};
use super::cells::{CohortOnCells, against_cohort};
use super::grid::Grid;
use super::norm::{Norm, Observed, fit, over_negatives};
use super::tail::{Tail, mean_and_sd};
use super::vector::dot;
use super::{Probe, Score};
use crate::modality::Modality;

/// The false-alarm probability at which a calibrated score is one half.
pub const P_FALSE_AT_HALF: f64 = 0.05;

/// Cohort prompts closer to the prompt than this (cosine) are the same thing by another name; they would cancel it out.
const SAME_THING: f32 = 0.5;

/// A cohort's spread on a window is believed down to this share of what it is on the background.
const LEAST_SPREAD: f64 = 0.25;

/// One prompt's statistics against the bank, for one probed modality.
#[derive(Clone, Debug)]
pub struct Calibration {
    made_of: Modality,
    /// The prompt, then its negatives.
    sides: Vec<Side>,
    whole: Statistic,
    map: Option<Statistic>,
    threshold: f32,
    bank_revision: u32,
}

/// The prompt or one of its negatives.
#[derive(Clone, Debug)]
struct Side {
    vector: Vec<f32>,
    /// Which of the cohort's prompts are something else.
    others: Vec<bool>,
}

/// How one statistic is normalised.
#[derive(Clone, Debug)]
struct Statistic {
    /// Of each side.
    norms: Vec<Norm>,
    /// Of whole windows: the smallest spread of the cohort that is believed. Of maps: what is added to its spread on a cell.
    cohort_sd_floor: f64,
    tail: Tail,
}

impl Calibration {
    /// Statistics of `probe` against the background windows of `modality`; none when the bank has too few of them (pictures need
    /// background maps, too). `p_false` is the wanted false-alarm probability per window.
    #[must_use]
    pub fn of(bank: &Bank, probe: &Probe, modality: Modality, p_false: f64) -> Option<Self> {
        let cohort = bank.cohort(probe.made_of);
        let sides: Vec<Side> =
            std::iter::once(&probe.vector).chain(&probe.negatives).map(|vector| Side::new(vector, cohort)).collect();
        let whole = fit_whole(&sides, cohort, bank.backgrounds(modality))?;
        let map = if modality == Modality::Image { Some(fit_map(&sides, bank, probe.made_of)?) } else { None };
        let threshold = calibrated(p_false);
        Some(Self { made_of: probe.made_of, sides, whole, map, threshold, bank_revision: bank.revision() })
    }

    /// The modality that the prompt is made of: the cohort that its windows must be scored against.
    #[must_use]
    pub const fn made_of(&self) -> Modality {
        self.made_of
    }

    /// Scores a whole window (sound, motion, a frame's own vector).
    #[must_use]
    pub fn score(&self, bank: &Bank, vector: &[f32]) -> Score {
        self.score_beside(&bank.cohort_scores(vector, &[self.made_of]), vector)
    }

    /// As [`Self::score`], with the window's cohort scores at hand.
    #[must_use]
    pub fn score_beside(&self, cohort: &CohortScores, vector: &[f32]) -> Score {
        let cohort = cohort.of(self.made_of);
        let observe = |side: &Side| side.observe(dot(&side.vector, vector), cohort, self.whole.cohort_sd_floor);
        let observed: Vec<Observed> = self.sides.iter().map(observe).collect();
        let raw = observed.first().map_or(0.0, |own| own.value as f32);
        self.finished(&self.whole, raw, &observed)
    }

    /// How well every cell of a picture matches. None when calibrated for another modality than pictures.
    #[must_use]
    pub fn similarity(&self, look: &Look) -> Option<Similarity<'_>> {
        let statistic = self.map.as_ref()?;
        let (own, negatives) = self.sides.split_first()?;
        let dots = look.cells.dots(&own.vector);
        let nothing = CohortOnCells::default();
        let cohort = look.cohort(self.made_of).unwrap_or(&nothing);
        let similarity = |side: &Side, dots: &Grid| side.similarity(dots, cohort, statistic.cohort_sd_floor);
        let grid = similarity(own, &dots);
        let negatives = negatives.iter().map(|side| similarity(side, &look.cells.dots(&side.vector))).collect();
        Some(Similarity { calibration: self, statistic, grid, negatives, dots })
    }

    fn finished(&self, statistic: &Statistic, raw: f32, observed: &[Observed]) -> Score {
        let mut normed = statistic.norms.iter().zip(observed).map(|(norm, observed)| norm.normed(*observed));
        let own = normed.next().unwrap_or(f64::NEG_INFINITY);
        let p_false = statistic.tail.p_false(over_negatives(own, normed));
        Score { raw, calibrated: calibrated(p_false), threshold: self.threshold, bank_revision: self.bank_revision }
    }
}

/// How well every cell of a picture matches a prompt.
#[derive(Debug)]
pub struct Similarity<'a> {
    calibration: &'a Calibration,
    statistic: &'a Statistic,
    /// How far the prompt stands out from other prompts on each cell, in their standard deviations; smoothed.
    pub grid: Grid,
    negatives: Vec<Grid>,
    /// Dot products of the prompt with the centred cells.
    dots: Grid,
}

impl Similarity<'_> {
    /// The score of the picture: of its best cell.
    #[must_use]
    pub fn frame(&self) -> Score {
        self.at(self.grid.peak())
    }

    /// The score of a cell (row, column), held against the best cells of whole background frames; less what the negatives score there.
    #[must_use]
    pub fn at(&self, place: (usize, usize)) -> Score {
        let observed = observe_at(std::iter::once(&self.grid).chain(&self.negatives), place);
        self.calibration.finished(self.statistic, self.dots.at(place.0 as isize, place.1 as isize), &observed)
    }
}

/// What each side scores on one cell.
fn observe_at<'a>(grids: impl Iterator<Item = &'a Grid>, (row, col): (usize, usize)) -> Vec<Observed> {
    let at = |grid: &Grid| Observed { value: f64::from(grid.at(row as isize, col as isize)), against_others: None };
    grids.map(at).collect()
}

impl Side {
    fn new(vector: &[f32], cohort: &[Vec<f32>]) -> Self {
        let others = cohort.iter().map(|other| dot(other, vector) < SAME_THING).collect();
        Self { vector: vector.to_vec(), others }
    }

    /// A whole window's statistic: `raw`, beside what the cohort scores there.
    fn observe(&self, raw: f32, cohort: &[f32], sd_floor: f64) -> Observed {
        let value = f64::from(raw);
        let others = cohort.iter().zip(&self.others).filter(|(_, is_other)| **is_other).map(|(s, _)| f64::from(*s));
        let against_others = (others.clone().count() >= FEWEST_COHORT).then(|| {
            let (mean, sd) = mean_and_sd(others);
            (value - mean) / sd.max(sd_floor).max(1e-6)
        });
        Observed { value, against_others }
    }

    /// Its dot products with a map's cells against the cohort's, smoothed.
    fn similarity(&self, dots: &Grid, cohort: &CohortOnCells, sd_floor: f64) -> Grid {
        against_cohort(dots, cohort, &self.others, sd_floor, FEWEST_COHORT).smoothed()
    }
}

fn fit_whole(sides: &[Side], cohort: &[Vec<f32>], windows: &[Vec<f32>]) -> Option<Statistic> {
    if windows.len() < FEWEST_BACKGROUNDS {
        return None;
    }
    let scores: Vec<Vec<f32>> = windows.iter().map(|window| cohort.iter().map(|p| dot(p, window)).collect()).collect();
    let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    let spreads: Vec<f64> = scores.iter().map(|scores| mean_and_sd(wide(scores).into_iter()).1).collect();
    let cohort_sd_floor = LEAST_SPREAD * mean_and_sd(spreads.iter().copied()).0;
    let of_prompt = |prompt: usize| scores.iter().filter_map(move |scores| scores.get(prompt)).copied().map(f64::from);
    let typical: Vec<f64> = (0..cohort.len()).map(|prompt| mean_and_sd(of_prompt(prompt)).1).collect();
    let observe = |side: &Side| -> Vec<Observed> {
        let beside = windows.iter().zip(&scores);
        beside.map(|(window, scores)| side.observe(dot(&side.vector, window), scores, cohort_sd_floor)).collect()
    };
    let observed: Vec<Vec<Observed>> = sides.iter().map(observe).collect();
    let (norms, tail) = fit(&observed, mean_and_sd(typical.iter().copied()).0);
    Some(Statistic { norms, cohort_sd_floor, tail })
}

fn fit_map(sides: &[Side], bank: &Bank, made_of: Modality) -> Option<Statistic> {
    if bank.maps().len() < FEWEST_BACKGROUNDS {
        return None;
    }
    let on_maps = bank.on_maps(made_of);
    let frames = bank.maps().iter().zip(&on_maps.scores).map(|(cells, scores)| {
        let grids = sides.iter().map(|side| side.similarity(&cells.dots(&side.vector), scores, on_maps.cell_sd_floor));
        let grids: Vec<Grid> = grids.collect();
        observe_at(grids.iter(), grids.first().map_or((0, 0), Grid::peak))
    });
    let frames: Vec<Vec<Observed>> = frames.collect();
    let of_side = |side: usize| frames.iter().filter_map(|frame| frame.get(side)).copied().collect();
    let observed: Vec<Vec<Observed>> = (0..sides.len()).map(of_side).collect();
    let (norms, tail) = fit(&observed, on_maps.typical_sd);
    Some(Statistic { norms, cohort_sd_floor: on_maps.cell_sd_floor, tail })
}

/// The score that has this false-alarm probability: a logistic in the exponent of the tail, one half at [`P_FALSE_AT_HALF`].
fn calibrated(p_false: f64) -> f32 {
    (P_FALSE_AT_HALF / (P_FALSE_AT_HALF + p_false.max(0.0))) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoders::{BankTensors, PatchMap};
    use crate::space::unit;

    const DIM: usize = 32;

    fn random_unit(rng: &mut fastrand::Rng) -> Vec<f32> {
        let v: Vec<f32> = (0..DIM).map(|_| (0..6).map(|_| rng.f32() - 0.5).sum()).collect();
        unit(&v).unwrap()
    }

    fn random_units(n: usize, rng: &mut fastrand::Rng) -> Vec<Vec<f32>> {
        (0..n).map(|_| random_unit(rng)).collect()
    }

    fn random_map(rng: &mut fastrand::Rng) -> PatchMap {
        let cells = (0..12).flat_map(|_| random_unit(rng)).collect();
        PatchMap { rows: 3, cols: 4, dim: DIM, cells }
    }

    fn bank(backgrounds: usize, cohort: usize, rng: &mut fastrand::Rng) -> Bank {
        Bank::new(BankTensors {
            revision: 7,
            backgrounds: vec![
                (Modality::Image, random_units(backgrounds, rng)),
                (Modality::Audio, random_units(backgrounds, rng)),
            ],
            background_maps: (0..backgrounds).map(|_| random_map(rng)).collect(),
            cohorts: vec![(Modality::Text, random_units(cohort, rng))],
        })
    }

    fn probe(vector: &[f32], negatives: &[Vec<f32>]) -> Probe {
        Probe { vector: vector.to_vec(), made_of: Modality::Text, negatives: negatives.to_vec() }
    }

    #[test]
    fn unseen_background_fires_as_rarely_as_wished() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (rows, cohort, most) in [(200, 32, 0.07), (64, 32, 0.08), (64, 0, 0.08), (8, 32, 0.12)] {
            let (mut fired, mut fired_on_maps, mut windows) = (0, 0, 0);
            for _ in 0..10 {
                let bank = bank(rows, cohort, &mut rng);
                let calibration =
                    Calibration::of(&bank, &probe(&random_unit(&mut rng), &[]), Modality::Image, 0.05).unwrap();
                for _ in 0..100 {
                    windows += 1;
                    fired += usize::from(calibration.score(&bank, &random_unit(&mut rng)).fires());
                    let look = bank.look(&random_map(&mut rng), &[Modality::Text]);
                    fired_on_maps += usize::from(calibration.similarity(&look).unwrap().frame().fires());
                }
            }
            for rate in [fired, fired_on_maps].map(|n| n as f64 / windows as f64) {
                assert!(rate <= most, "{rows} rows, {cohort} others: {rate}");
            }
        }
    }

    #[test]
    fn what_is_asked_for_fires_and_its_negative_silences_it() {
        let mut rng = fastrand::Rng::with_seed(2);
        let bank = bank(64, 32, &mut rng);
        let wanted = random_unit(&mut rng);
        let plain = Calibration::of(&bank, &probe(&wanted, &[]), Modality::Audio, 0.05).unwrap();
        let score = plain.score(&bank, &wanted);
        assert!(score.fires() && score.calibrated > 0.9 && (score.raw - 1.0).abs() < 1e-5, "{score:?}");
        assert_eq!(score.bank_revision, 7);
        let silenced =
            Calibration::of(&bank, &probe(&wanted, std::slice::from_ref(&wanted)), Modality::Audio, 0.05).unwrap();
        assert!(!silenced.score(&bank, &wanted).fires());
    }

    #[test]
    fn the_threshold_is_half_at_five_per_cent_and_rises_as_the_wish_falls() {
        let mut rng = fastrand::Rng::with_seed(3);
        let bank = bank(20, 20, &mut rng);
        let threshold = |p| {
            let calibration = Calibration::of(&bank, &probe(&[1.0; DIM], &[]), Modality::Audio, p).unwrap();
            calibration.score(&bank, &[0.1; DIM]).threshold
        };
        assert_eq!(threshold(0.05), 0.5);
        assert!(threshold(0.001) > threshold(0.01) && threshold(0.01) > 0.5 && threshold(0.2) < 0.5);
    }

    #[test]
    fn without_background_there_is_no_calibration() {
        let mut rng = fastrand::Rng::with_seed(4);
        let few = bank(FEWEST_BACKGROUNDS - 1, 32, &mut rng);
        let enough = bank(FEWEST_BACKGROUNDS, 32, &mut rng);
        let probe = probe(&random_unit(&mut rng), &[]);
        assert!(Calibration::of(&few, &probe, Modality::Image, 0.05).is_none());
        assert!(Calibration::of(&enough, &probe, Modality::Thermal, 0.05).is_none());
        assert!(Calibration::of(&enough, &probe, Modality::Image, 0.05).is_some());
    }

    #[test]
    fn a_map_is_scored_by_its_best_place() {
        let mut rng = fastrand::Rng::with_seed(5);
        let bank = bank(64, 32, &mut rng);
        let wanted = random_unit(&mut rng);
        let calibration = Calibration::of(&bank, &probe(&wanted, &[]), Modality::Image, 0.05).unwrap();
        let mut map = random_map(&mut rng);
        for cell in [5, 6, 9, 10] {
            map.cells[cell * DIM..(cell + 1) * DIM].copy_from_slice(&wanted);
        }
        let look = bank.look(&map, &[Modality::Text]);
        let similarity = calibration.similarity(&look).unwrap();
        let score = similarity.frame();
        assert!(score.fires(), "{score:?}");
        let corner = similarity.at((0, 3));
        assert!(corner.worst_first(&score).is_lt());
    }
}
