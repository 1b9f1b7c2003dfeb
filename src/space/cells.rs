//! A picture's cells, ready to be compared with prompts.

use super::grid::Grid;
use super::vector::{dot, unit};
use crate::encoders::PatchMap;
use crate::simd::{Instructions, Kernel};

/// How many cells lie side by side: one number of each, then the next number of each, so that sums over numbers become vector code.
const LANES: usize = 16;

type Lanes = [f32; LANES];

/// How many prompts, or blocks of cells, are multiplied at once: their sums stay in registers.
const TILE: usize = 4;

/// A picture's cells, centred: computed once a picture, whatever the number of prompts.
///
/// Centring subtracts from each cell `|cell|` times the mean direction of background cells, and keeps the cell's length: a cell that the encoder
/// is unsure of is short, and its likeness to anything counts for little.
#[derive(Clone, Debug)]
pub struct Cells {
    rows: usize,
    cols: usize,
    dim: usize,
    is_sound: bool,
    /// Blocks of cells, each of `dim` rows; zeros behind the last cell.
    centred: Vec<Lanes>,
}

impl Cells {
    /// The cells of a map; `mean` is the mean direction of background cells.
    #[must_use]
    pub fn new(map: &PatchMap, mean: &[f32]) -> Self {
        let PatchMap { rows, cols, dim, .. } = *map;
        let mut mean = mean.to_vec();
        mean.resize(dim, 0.0);
        let mut centred = vec![[0.0; LANES]; (rows * cols).div_ceil(LANES) * dim];
        for (cells, block) in map.cells.chunks(LANES * dim.max(1)).zip(centred.chunks_exact_mut(dim.max(1))) {
            for (lane, cell) in cells.chunks_exact(dim.max(1)).enumerate() {
                let length = dot(cell, cell).sqrt();
                for ((lanes, x), m) in block.iter_mut().zip(cell).zip(&mean) {
                    lanes[lane] = x - length * m;
                }
            }
        }
        let wanted = rows * cols * dim;
        let is_finite = centred.as_flattened().iter().fold(true, |all, x| all & x.is_finite());
        let is_sound = wanted > 0 && map.cells.len() == wanted && is_finite;
        Self { rows, cols, dim, is_sound, centred }
    }

    /// What a cohort's prompts score on every cell.
    pub(super) fn cohort_scores(&self, prompts: &[Vec<f32>]) -> CohortOnCells {
        let vectors: Vec<&[f32]> = prompts.iter().map(Vec::as_slice).collect();
        CohortOnCells { prompts: prompts.len(), scores: self.dots_of(&vectors) }
    }

    /// For each block of cells, the dot products of each vector.
    fn dots_of(&self, vectors: &[&[f32]]) -> Vec<Lanes> {
        Instructions::best().run(Dots { blocks: &self.centred, dim: self.dim, vectors })
    }

    /// Rows and columns.
    #[must_use]
    pub const fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Dimension of a cell.
    #[must_use]
    pub const fn dim(&self) -> usize {
        self.dim
    }

    /// Whether there is at least one cell and every value is finite.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.is_sound
    }

    /// Dot product of `vector` with every cell.
    #[must_use]
    pub fn dots(&self, vector: &[f32]) -> Grid {
        let mut values = self.dots_of(&[vector]).into_flattened();
        values.truncate(self.rows * self.cols);
        Grid { rows: self.rows, cols: self.cols, values }
    }

    /// How like every cell is to those around one: the mean of up to nine cells as a direction, smoothed. None where they have none.
    #[must_use]
    pub fn likeness(&self, row: usize, col: usize) -> Option<Grid> {
        let mut sum = vec![0.0; self.dim];
        for row in row.saturating_sub(1)..(row + 2).min(self.rows) {
            for place in (col.saturating_sub(1)..(col + 2).min(self.cols)).map(|col| row * self.cols + col) {
                let block = self.centred.iter().skip(place / LANES * self.dim);
                sum.iter_mut().zip(block).for_each(|(total, lanes)| *total += lanes[place % LANES]);
            }
        }
        Some(self.dots(&unit(&sum).ok()?).smoothed())
    }
}

/// Dot products of vectors with cells: for each block of cells, those of each vector. Sums go over the dimension in order and without
/// fusing, so that every machine gets the same bits, however many vectors there are.
struct Dots<'a> {
    blocks: &'a [Lanes],
    dim: usize,
    vectors: &'a [&'a [f32]],
}

impl Kernel for Dots<'_> {
    type Output = Vec<Lanes>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<Lanes> {
        let blocks = self.blocks.chunks_exact(self.dim.max(1));
        let mut dots = Vec::with_capacity(blocks.len() * self.vectors.len());
        if let [vector] = *self.vectors {
            let blocks: Vec<&[Lanes]> = blocks.collect();
            let (tiles, rest) = blocks.as_chunks::<TILE>();
            for [a, b, c, d] in tiles {
                let mut sums = [[0.0; LANES]; TILE];
                for ((((a, b), c), d), x) in a.iter().zip(*b).zip(*c).zip(*d).zip(vector) {
                    add_products(&mut sums, [a, b, c, d], [*x; TILE]);
                }
                dots.extend(sums);
            }
            dots.extend(rest.iter().map(|block| of_one(block, vector)));
            return dots;
        }
        let (tiles, rest) = self.vectors.as_chunks::<TILE>();
        for block in blocks {
            for [a, b, c, d] in tiles {
                let mut sums = [[0.0; LANES]; TILE];
                for ((((lanes, a), b), c), d) in block.iter().zip(*a).zip(*b).zip(*c).zip(*d) {
                    add_products(&mut sums, [lanes; TILE], [*a, *b, *c, *d]);
                }
                dots.extend(sums);
            }
            dots.extend(rest.iter().map(|vector| of_one(block, vector)));
        }
        dots
    }
}

#[inline(always)]
fn of_one(block: &[Lanes], vector: &[f32]) -> Lanes {
    let mut sums = [[0.0; LANES]];
    for (lanes, x) in block.iter().zip(vector) {
        add_products(&mut sums, [lanes], [*x]);
    }
    sums[0]
}

#[inline(always)]
fn add_products<const N: usize>(sums: &mut [Lanes; N], lanes: [&Lanes; N], xs: [f32; N]) {
    for i in 0..N {
        for lane in 0..LANES {
            sums[i][lane] += lanes[i][lane] * xs[i];
        }
    }
}

/// What the prompts of a cohort score on a picture's cells.
#[derive(Clone, Debug, Default)]
pub(super) struct CohortOnCells {
    prompts: usize,
    /// For each block of cells, the scores of each prompt.
    scores: Vec<Lanes>,
}

impl CohortOnCells {
    /// Mean and standard deviation (of the sample) of the prompts that count, for each block of cells.
    fn spreads(&self, others: &[bool]) -> Vec<Spread> {
        Instructions::best().run(Spreads { scores: &self.scores, prompts: self.prompts, others })
    }

    /// Standard deviations of all prompts' scores on each of the first `cells` cells.
    pub(super) fn sds(&self, cells: usize) -> impl Iterator<Item = f64> {
        self.spreads(&vec![true; self.prompts]).into_iter().flat_map(|spread| spread.sds).take(cells)
    }
}

/// Of the scores on a block of cells.
struct Spread {
    means: [f64; LANES],
    sds: [f64; LANES],
}

struct Spreads<'a> {
    scores: &'a [Lanes],
    prompts: usize,
    others: &'a [bool],
}

impl Kernel for Spreads<'_> {
    type Output = Vec<Spread>;

    /// As [`super::tail::mean_and_sd`], for all cells of a block at once.
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<Spread> {
        let count = self.others.iter().filter(|is_other| **is_other).count() as f64;
        let mut spreads = Vec::with_capacity(self.scores.len() / self.prompts.max(1));
        for scores in self.scores.chunks_exact(self.prompts.max(1)) {
            let counted = || scores.iter().zip(self.others).filter(|(_, is_other)| **is_other);
            let mut means = [0.0; LANES];
            for (scores, _) in counted() {
                for lane in 0..LANES {
                    means[lane] += f64::from(scores[lane]);
                }
            }
            for mean in &mut means {
                *mean /= count.max(1.0);
            }
            let mut sds = [0.0; LANES];
            for (scores, _) in counted() {
                for lane in 0..LANES {
                    let off = f64::from(scores[lane]) - means[lane];
                    sds[lane] += off * off;
                }
            }
            for sd in &mut sds {
                *sd = (*sd / (count - 1.0).max(1.0)).sqrt();
            }
            spreads.push(Spread { means, sds });
        }
        spreads
    }
}

/// How far each cell's dot product stands out from the other prompts' on that cell, in their standard deviations; `sd_floor` is added
/// to these, lest a cell that says nothing of anything stand out. With fewer than `fewest` others, the dot products as they are.
///
/// `others` says which of the cohort's prompts count.
pub(super) fn against_cohort(
    dots: &Grid,
    cohort: &CohortOnCells,
    others: &[bool],
    sd_floor: f64,
    fewest: usize,
) -> Grid {
    let count = others.iter().filter(|is_other| **is_other).count();
    if count < fewest.max(1) {
        return dots.clone();
    }
    // The cohort is all there is: its spread is not an estimate from a sample.
    let of_all = ((count as f64 - 1.0) / count as f64).sqrt();
    let spreads = cohort.spreads(others);
    let spreads = spreads.iter().flat_map(|spread| spread.means.iter().zip(&spread.sds));
    let stands_out = |(dot, (mean, sd)): (&f32, (&f64, &f64))| {
        ((f64::from(*dot) - mean) / (sd * of_all + sd_floor).max(1e-9)) as f32
    };
    Grid { values: dots.values.iter().zip(spreads).map(stands_out).collect(), ..*dots }
}

#[cfg(test)]
mod tests {
    use super::super::tail::mean_and_sd;
    use super::*;

    fn map() -> PatchMap {
        PatchMap { rows: 1, cols: 3, dim: 2, cells: vec![2.0, 0.0, 0.0, 3.0, 0.0, 0.0] }
    }

    #[test]
    fn centring_takes_the_mean_direction_and_keeps_the_length_in_account() {
        let cells = Cells::new(&map(), &[0.5, 0.0]);
        assert_eq!(cells.dots(&[1.0, 0.0]).values, [1.0, -1.5, 0.0]);
        assert_eq!(cells.dots(&[0.0, 1.0]).values, [0.0, 3.0, 0.0]);
        assert!(cells.is_sound());
    }

    #[test]
    fn cohorts_are_scored_cell_by_cell() {
        let cells = Cells::new(&map(), &[0.0, 0.0]);
        let scores = cells.cohort_scores(&[vec![1.0, 0.0], vec![0.0, 1.0]]);
        let of = |prompt: usize| scores.scores[prompt][..3].to_vec();
        assert_eq!((of(0), of(1)), (vec![2.0, 0.0, 0.0], vec![0.0, 3.0, 0.0]));
        assert!(cells.cohort_scores(&[]).scores.is_empty());
    }

    #[test]
    fn a_prompt_is_held_against_others_on_each_cell() {
        let dots = Grid { rows: 1, cols: 2, values: vec![0.5, 0.5] };
        let on_cells =
            |first: f32, second: f32| [[first, second].as_slice(), &[0.0; LANES - 2]].concat().try_into().unwrap();
        let cohort =
            CohortOnCells { prompts: 3, scores: vec![on_cells(0.1, 0.5), on_cells(0.3, 0.7), on_cells(9.0, 9.0)] };
        let against = against_cohort(&dots, &cohort, &[true, true, false], 0.0, 2);
        let spread = 0.1f32;
        assert!((against.values[0] - 0.3 / spread).abs() < 1e-4 && (against.values[1] + 0.1 / spread).abs() < 1e-4);
        assert_eq!(against_cohort(&dots, &cohort, &[true, false, false], 0.0, 2), dots, "too few others");
    }

    /// Blocks that are full, begun and missing; one vector, a tile of them, and some more.
    #[test]
    fn every_set_of_instructions_gives_the_bits_of_the_definition() {
        let rng = &mut fastrand::Rng::with_seed(5);
        for (rows, cols, dim, count) in [(12, 16, 384, 64), (7, 11, 33, 1), (1, 1, 1, 6), (3, 5, 20, 9), (2, 8, 7, 0)] {
            let mut noise = |n: usize| (0..n).map(|_| rng.f32() - 0.5).collect::<Vec<f32>>();
            let map = PatchMap { rows, cols, dim, cells: noise(rows * cols * dim) };
            let (cells, vectors) = (Cells::new(&map, &[]), (0..count).map(|_| noise(dim)).collect::<Vec<_>>());
            let in_order = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b);
            let slices: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
            let others: Vec<bool> = (0..count).map(|prompt| prompt % 3 != 1).collect();
            for with in Instructions::all() {
                let scores = with.run(Dots { blocks: &cells.centred, dim, vectors: &slices });
                let spreads = with.run(Spreads { scores: &scores, prompts: count, others: &others });
                for (place, cell) in map.iter().enumerate() {
                    let (block, lane) = (place / LANES, place % LANES);
                    let found: Vec<f32> = (0..count).map(|v| scores[block * count + v][lane]).collect();
                    let wanted: Vec<f32> = vectors.iter().map(|vector| in_order(cell, vector)).collect();
                    assert_eq!(found, wanted, "{with:?}");
                    let counted = found.iter().zip(&others).filter(|(_, other)| **other).map(|(s, _)| f64::from(*s));
                    if let Some(spread) = spreads.get(block) {
                        assert_eq!((spread.means[lane], spread.sds[lane]), mean_and_sd(counted), "{with:?}");
                    }
                }
            }
        }
    }

    /// What the numpy reference of the recipe (`models/recipe/detector.py`) makes of the same numbers.
    #[test]
    fn similarity_is_that_of_the_reference() {
        #[derive(serde::Deserialize)]
        struct Golden {
            shape: [usize; 3],
            mean: Vec<f32>,
            prompt: Vec<f32>,
            cohort: Vec<Vec<f32>>,
            patches: Vec<f32>,
            plane: Vec<f32>,
        }
        let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/detect.json")).unwrap();
        let [dim, rows, cols] = golden.shape;
        let by_cell = (0..rows * cols).flat_map(|cell| (0..dim).map(move |d| d * rows * cols + cell));
        let map = PatchMap { rows, cols, dim, cells: by_cell.map(|at| golden.patches[at]).collect() };
        let cells = Cells::new(&map, &golden.mean);
        let (dots, scores) = (cells.dots(&golden.prompt), cells.cohort_scores(&golden.cohort));
        let ours = against_cohort(&dots, &scores, &vec![true; golden.cohort.len()], 0.05, 1).smoothed();
        for (ours, theirs) in ours.values.iter().zip(&golden.plane) {
            assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
        }
    }

    #[test]
    fn likeness_peaks_among_its_like() {
        let cells = vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let cells = Cells::new(&PatchMap { rows: 1, cols: 6, dim: 2, cells }, &[0.0, 0.0]);
        let like = cells.likeness(0, 0).unwrap().values;
        assert!(like[0] > 0.9 && like[1] > 0.9 && like[4] < 0.2 && like[5] < 0.1, "{like:?}");
        let empty = Cells::new(&PatchMap { rows: 1, cols: 1, dim: 2, cells: vec![0.0; 2] }, &[0.0, 0.0]);
        assert!(empty.likeness(0, 0).is_none());
    }
}
