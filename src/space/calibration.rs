//! Raw similarities into scores that mean the same for every prompt and every sense.
//!
//! A raw cosine means nothing across modality pairs, so it is s-normalised as in speaker verification: against the background windows of the
//! prompt, and against other prompts on the same window. What the background itself scores this way, each window left out of its own
//! statistics, gives the tail that turns a score into a probability of a false alarm.

use super::bank::{Bank, CohortScores, FEWEST_BACKGROUNDS, FEWEST_COHORT, map_statistic};
use super::tail::{Tail, mean_and_sd};
use super::vector::dot;
use super::{Probe, Score};
use crate::encoders::PatchMap;
use crate::modality::Modality;

/// The false-alarm probability at which a calibrated score is one half.
pub const P_FALSE_AT_HALF: f64 = 0.05;

/// Cohort prompts closer to the prompt than this (cosine) are the same thing by another name; they would cancel it out.
const SAME_THING: f32 = 0.5;

/// How many background rows the typical spread of other prompts counts for.
const PRIOR_ROWS: f64 = 8.0;

/// One prompt's statistics against the bank, for one probed modality.
#[derive(Clone, Debug)]
pub struct Calibration {
    whole: Statistic,
    map: Option<Statistic>,
    cell_background: f32,
    threshold: f32,
    bank_revision: u32,
}

impl Calibration {
    /// Statistics of `probe` against the background windows of `modality`; none when the bank has too few of them (pictures need
    /// background maps, too). `p_false` is the wanted false-alarm probability per window.
    #[must_use]
    pub fn of(bank: &Bank, probe: &Probe, modality: Modality, p_false: f64) -> Option<Self> {
        let windows = bank.backgrounds(modality);
        let cohort = bank.cohort(probe.made_of);
        let on_whole: Vec<Vec<f32>> =
            windows.iter().map(|window| cohort.iter().map(|prompt| dot(prompt, window)).collect()).collect();
        let whole = Statistic::fit(probe, cohort, &on_whole, windows, |window, vector| dot(window, vector))?;
        let map = match modality {
            Modality::Image => {
                let on_maps = bank.cohort_on_background_maps(probe.made_of);
                Some(Statistic::fit(probe, cohort, on_maps, bank.maps(), map_statistic)?)
            }
            _ => None,
        };
        let cells = if map.is_some() { bank.maps() } else { &[] };
        let cell_background = mean_cell(cells, &probe.vector);
        Some(Self { whole, map, cell_background, threshold: calibrated(p_false), bank_revision: bank.revision() })
    }

    /// The modality that the prompt is made of: the cohort that its windows must be scored against.
    #[must_use]
    pub const fn made_of(&self) -> Modality {
        self.whole.made_of
    }

    /// Scores a whole window (sound, motion, a frame's own vector).
    #[must_use]
    pub fn score(&self, bank: &Bank, vector: &[f32]) -> Score {
        self.score_beside(&bank.cohort_scores(vector, &[self.made_of()]), vector)
    }

    /// As [`Self::score`], with the window's cohort scores at hand.
    #[must_use]
    pub fn score_beside(&self, cohort: &CohortScores, vector: &[f32]) -> Score {
        let (raw, normed) = self.whole.normed(cohort.of(self.made_of()), |prompt| dot(prompt, vector));
        self.finished(raw, self.whole.tail.p_false(normed))
    }

    /// Scores a picture by the maximum over its cells. Zero when calibrated for another modality than pictures.
    #[must_use]
    pub fn score_map(&self, bank: &Bank, map: &PatchMap) -> Score {
        self.score_map_beside(&bank.cohort_scores_on_map(map, &[self.made_of()]), map)
    }

    /// As [`Self::score_map`], with the picture's cohort scores at hand.
    #[must_use]
    pub fn score_map_beside(&self, cohort: &CohortScores, map: &PatchMap) -> Score {
        self.score_map_by(cohort, |vector| map_statistic(map, vector))
    }

    /// Scores a part of a picture: `best_cell` gives the best cell of that part for a vector. The part is held against the best
    /// cells of whole frames, so that its score is no better than the frame's.
    #[must_use]
    pub fn score_map_by(&self, cohort: &CohortScores, best_cell: impl Fn(&[f32]) -> f32) -> Score {
        self.map.as_ref().map_or(self.finished(0.0, f64::INFINITY), |statistic| {
            let (raw, normed) = statistic.normed(cohort.of(self.made_of()), best_cell);
            self.finished(raw, statistic.tail.p_false(normed))
        })
    }

    /// Mean over all cells of the background maps: what a cell holds that shows nothing of the prompt.
    #[must_use]
    pub const fn cell_background(&self) -> f32 {
        self.cell_background
    }

    fn finished(&self, raw: f32, p_false: f64) -> Score {
        Score { raw, calibrated: calibrated(p_false), threshold: self.threshold, bank_revision: self.bank_revision }
    }
}

/// Mean of the dot products of `vector` with all cells; 0 without any.
fn mean_cell(maps: &[PatchMap], vector: &[f32]) -> f32 {
    let values = maps.iter().flat_map(PatchMap::iter).map(|cell| dot(cell, vector));
    let (sum, count) = values.fold((0.0f64, 0.0f64), |(sum, count), value| (sum + f64::from(value), count + 1.0));
    (sum / count.max(1.0)) as f32
}

/// The score that has this false-alarm probability: a logistic in the exponent of the tail, one half at [`P_FALSE_AT_HALF`].
fn calibrated(p_false: f64) -> f32 {
    (P_FALSE_AT_HALF / (P_FALSE_AT_HALF + p_false.max(0.0))) as f32
}

/// How one statistic (cosine of a whole window, maximum of a map) of one prompt is normalised.
#[derive(Clone, Debug)]
struct Statistic {
    made_of: Modality,
    prompt: Side,
    negatives: Vec<Side>,
    /// Smallest spread over the cohort that is believed.
    cohort_sd_floor: f64,
    tail: Tail,
}

/// A vector's own statistics on the background.
#[derive(Clone, Debug)]
struct Side {
    vector: Vec<f32>,
    mean: f64,
    sd: f64,
    /// Which of the cohort's prompts are something else.
    others: Vec<bool>,
}

impl Statistic {
    /// `on_backgrounds`: the cohort's scores on each of `windows`.
    fn fit<W>(
        probe: &Probe,
        cohort: &[Vec<f32>],
        on_backgrounds: &[Vec<f32>],
        windows: &[W],
        score: impl Fn(&W, &[f32]) -> f32,
    ) -> Option<Self> {
        if windows.len() < FEWEST_BACKGROUNDS {
            return None;
        }
        let cohort_sds: Vec<f64> = on_backgrounds.iter().map(|scores| mean_and_sd(&wide(scores)).1).collect();
        let typical_sd = typical_sd(on_backgrounds);
        let side = |vector: &[f32]| -> (Side, Vec<f64>) {
            let scores: Vec<f64> = windows.iter().map(|window| f64::from(score(window, vector))).collect();
            let (mean, sd) = mean_and_sd(&scores);
            let others = cohort.iter().map(|other| dot(other, vector) < SAME_THING).collect();
            let sd = steadied(sd, scores.len(), typical_sd);
            (Side { vector: vector.to_vec(), mean, sd, others }, scores)
        };
        let sides: Vec<(Side, Vec<f64>)> =
            std::iter::once(&probe.vector).chain(&probe.negatives).map(|vector| side(vector)).collect();
        let floor = 0.25 * mean_and_sd(&cohort_sds).0;
        let tail = Tail::fit(&left_out_scores(&sides, on_backgrounds, floor, typical_sd));
        let mut sides = sides.into_iter().map(|(side, _)| side);
        let prompt = sides.next()?;
        Some(Self { made_of: probe.made_of, prompt, negatives: sides.collect(), cohort_sd_floor: floor, tail })
    }

    /// Raw score, and s-normalised score minus the best negative's.
    fn normed(&self, cohort: &[f32], score: impl Fn(&[f32]) -> f32) -> (f32, f64) {
        let of = |side: &Side| {
            let raw = score(&side.vector);
            (raw, side.normed(f64::from(raw), cohort, self.cohort_sd_floor))
        };
        let (raw, own) = of(&self.prompt);
        let best_negative = self.negatives.iter().map(|side| of(side).1).fold(0.0, f64::max);
        (raw, own - best_negative)
    }
}

impl Side {
    fn normed(&self, raw: f64, cohort: &[f32], sd_floor: f64) -> f64 {
        s_norm(raw, (self.mean, self.sd), cohort.iter().zip(&self.others), sd_floor)
    }
}

/// ½·((s − μ_prompt)/σ_prompt + (s − μ_window)/σ_window); the first half alone where there is no cohort.
fn s_norm<'a>(
    raw: f64,
    (prompt_mean, prompt_sd): (f64, f64),
    cohort: impl Iterator<Item = (&'a f32, &'a bool)>,
    sd_floor: f64,
) -> f64 {
    let own = (raw - prompt_mean) / prompt_sd;
    let others: Vec<f64> = cohort.filter(|(_, is_other)| **is_other).map(|(s, _)| f64::from(*s)).collect();
    if others.len() < FEWEST_COHORT {
        return own;
    }
    let (mean, sd) = mean_and_sd(&others);
    0.5 * (own + (raw - mean) / sd.max(sd_floor).max(1e-6))
}

/// What each background window scores when it is left out of the prompt's own statistics.
fn left_out_scores(sides: &[(Side, Vec<f64>)], on_backgrounds: &[Vec<f32>], floor: f64, typical_sd: f64) -> Vec<f64> {
    let windows = sides.first().map_or(0, |(_, scores)| scores.len());
    let left_out = |(side, scores): &(Side, Vec<f64>), index: usize| -> f64 {
        let raw = scores.get(index).copied().unwrap_or_default();
        let rest: Vec<f64> = scores.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, s)| *s).collect();
        let (mean, sd) = mean_and_sd(&rest);
        let cohort = on_backgrounds.get(index).map_or(&[][..], Vec::as_slice).iter().zip(&side.others);
        s_norm(raw, (mean, steadied(sd, rest.len(), typical_sd)), cohort, floor)
    };
    let score = |index| {
        let best_negative = sides.iter().skip(1).map(|side| left_out(side, index)).fold(0.0, f64::max);
        sides.first().map_or(0.0, |side| left_out(side, index)) - best_negative
    };
    (0..windows).map(score).collect()
}

/// Standard deviation of `count` scores, drawn towards that of other prompts while there are few.
fn steadied(sd: f64, count: usize, typical_sd: f64) -> f64 {
    let count = count as f64;
    let typical_sd = if typical_sd > 0.0 { typical_sd } else { sd };
    let variance = (count * sd * sd + PRIOR_ROWS * typical_sd * typical_sd) / (count + PRIOR_ROWS);
    variance.sqrt().max(1e-6)
}

/// Mean over the cohort's prompts of their spread over the background windows; 0 without a cohort.
fn typical_sd(on_backgrounds: &[Vec<f32>]) -> f64 {
    let prompts = on_backgrounds.first().map_or(0, Vec::len);
    let of_prompt = |prompt: usize| -> f64 {
        let column: Vec<f64> =
            on_backgrounds.iter().filter_map(|scores| scores.get(prompt)).map(|s| f64::from(*s)).collect();
        mean_and_sd(&column).1
    };
    (0..prompts).map(of_prompt).sum::<f64>() / (prompts as f64).max(1.0)
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoders::BankTensors;
    use crate::space::{Bank, unit};

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
                    fired_on_maps += usize::from(calibration.score_map(&bank, &random_map(&mut rng)).fires());
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
        assert!(calibration.score_map(&bank, &map).fires());
        let one_by_one = calibration.score_map(&bank, &map);
        assert_eq!(one_by_one, calibration.score_map_beside(&bank.cohort_scores_on_map(&map, &[Modality::Text]), &map));
    }
}
