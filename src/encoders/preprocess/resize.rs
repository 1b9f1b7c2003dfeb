//! Pillow's antialiased bicubic, in two passes.
//!
//! Its filter is written out here because crates with 16-bit coefficients differ from it in about one pixel of two
//! hundred. Like Pillow, each of the two passes rounds to 8 bits; the sums are in f32 where Pillow's are in 22-bit fixed point,
//! which moves about one value in 50,000 by one. No product is fused with a sum, so that every machine gives the same pixels.

use std::ops::Range;

use crate::media::Picture;
use crate::simd::{Instructions, Kernel};

/// Pillow's `BICUBIC`: Keys' cubic with a = −0.5, two pixels to each side (`Resample.c`).
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The source pixels that make one target pixel, and their weights.
#[derive(Clone, Copy)]
struct Taps<'a> {
    first: usize,
    weights: &'a [f32],
}

/// The taps of some target pixels, one's weights behind another's.
struct Filter {
    sources: Vec<Range<usize>>,
    weights: Vec<f32>,
}

impl Filter {
    /// Pillow's `precompute_coeffs` for some of the `to` target pixels: the filter grows with the reduction, weights sum to 1.
    fn new(from: usize, to: usize, targets: Range<usize>) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = 2.0 * stretch;
        let (mut sources, mut weights) = (Vec::with_capacity(targets.len()), Vec::new());
        let mut exact: Vec<f64> = Vec::new();
        for target in targets {
            let centre = (target as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).floor().max(0.0) as usize;
            let end = ((centre + support + 0.5).floor() as usize).min(from);
            exact.clear();
            exact.extend((first..end).map(|x| bicubic((x as f64 - centre + 0.5) / stretch)));
            let sum: f64 = exact.iter().sum();
            weights.extend(exact.iter().map(|weight| (weight / sum) as f32));
            sources.push(first..end);
        }
        Self { sources, weights }
    }

    /// The taps of one target pixel after another.
    fn taps(&self) -> Vec<Taps<'_>> {
        let mut rest = self.weights.as_slice();
        let of = |source: &Range<usize>| {
            let (weights, behind) = rest.split_at(source.len());
            rest = behind;
            Taps { first: source.start, weights }
        };
        self.sources.iter().map(of).collect()
    }
}

/// The columns and rows of the picture resized to `to` (width, height), as Pillow's `resize(to, BICUBIC)`; what is not asked for
/// is not computed.
pub(super) fn resize_part(picture: &Picture, to: (usize, usize), columns: Range<usize>, rows: Range<usize>) -> Picture {
    resize_with(Instructions::best(), picture, to, (columns, rows))
}

fn resize_with(
    with: Instructions,
    picture: &Picture,
    to: (usize, usize),
    (columns, rows): (Range<usize>, Range<usize>),
) -> Picture {
    let (width, height) = (columns.len(), rows.len());
    let from = (picture.width as usize, picture.height as usize);
    let is_vertical_first = vertical_first(from, to);
    let (right, down) = (Filter::new(from.0, to.0, columns), Filter::new(from.1, to.1, rows));
    let source = Rows { bytes: &picture.rgb, row_bytes: from.0 * 3 };
    let rgb = with.run(Resize { source, right: &right.taps(), down: &down.taps(), is_vertical_first });
    Picture { width: width as u32, height: height as u32, rgb }
}

/// Pillow 13 resizes vertically first when that saves much (python-pillow/Pillow#9549); the exact rule was found by comparing
/// results for 1,480 pairs of sizes. Since each pass rounds to 8 bits, the order shows in the pixels.
fn vertical_first(from: (usize, usize), to: (usize, usize)) -> bool {
    let less = |from: usize, to: usize| from as i64 - to as i64;
    less(from.1, to.1) > 0 && less(from.1, to.1) > 2 * less(from.0, to.0)
}

/// Rows of pixels, three bytes each.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
}

impl Rows<'_> {
    /// A band of rows, as far as there are any.
    #[inline(always)]
    fn band(&self, rows: Range<usize>) -> &[u8] {
        let end = (rows.end * self.row_bytes).min(self.bytes.len());
        self.bytes.get(rows.start * self.row_bytes..end).unwrap_or_default()
    }
}

/// Both passes.
struct Resize<'a> {
    source: Rows<'a>,
    right: &'a [Taps<'a>],
    down: &'a [Taps<'a>],
    is_vertical_first: bool,
}

impl Kernel for Resize<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<u8> {
        let Self { source, right, down, is_vertical_first } = self;
        if !is_vertical_first {
            return vertical(down, right.len() * 3, Horizontal::new(source, right));
        }
        let bytes = vertical(down, source.row_bytes, source);
        let mut across = Horizontal::new(Rows { bytes: &bytes, ..source }, right);
        let (row, pitch) = (right.len() * 3, pitch(right.len() * 3));
        let (mut rgb, mut band) = (Vec::with_capacity(row * down.len()), vec![0.0; pitch * ROWS]);
        for first in (0..down.len()).step_by(ROWS) {
            across.fill(first..first + ROWS, &mut band, pitch);
            for values in band.chunks_exact(pitch).take(down.len() - first) {
                rgb.extend(values.iter().take(row).map(|value| *value as u8));
            }
        }
        rgb
    }
}

/// What gives rows of numbers.
trait Fill {
    /// Writes at most `ROWS` rows, as far as there are any, to where `pitch` values are one row's.
    fn fill(&mut self, rows: Range<usize>, out: &mut [f32], pitch: usize);
}

impl Fill for Rows<'_> {
    #[inline(always)]
    fn fill(&mut self, rows: Range<usize>, out: &mut [f32], pitch: usize) {
        for (bytes, out) in self.band(rows).chunks_exact(self.row_bytes).zip(out.chunks_exact_mut(pitch)) {
            widen(bytes, out);
        }
    }
}

/// How many rows are taken at once: the inner loop of the horizontal pass runs over their channels.
const ROWS: usize = 10;

/// The channels of these rows, and room behind them, so that pixels can be moved by fours.
const LANES: usize = ROWS * 3 + 2;

/// How many pixels of a band are turned at once: what they become stays in a first-level cache.
const BLOCK: usize = 32;

/// How many columns the vertical pass takes at once, so that their sums stay in registers over all taps.
const COLUMNS: usize = 32;

/// Values from one row to the next between the passes: whole groups of columns, and one value behind the last pixel.
const fn pitch(row: usize) -> usize {
    (row + 1).next_multiple_of(COLUMNS)
}

/// The horizontal pass.
struct Horizontal<'a> {
    source: Rows<'a>,
    taps: &'a [Taps<'a>],
    used: Range<usize>,
    /// A band of rows with the pixel outermost: pixel `used.start + x` of every row.
    columns: Vec<[f32; LANES]>,
}

impl<'a> Horizontal<'a> {
    #[inline(always)]
    fn new(source: Rows<'a>, taps: &'a [Taps<'a>]) -> Self {
        let first = taps.iter().map(|tap| tap.first).min().unwrap_or(0);
        let end = taps.iter().map(|tap| tap.first + tap.weights.len()).max().unwrap_or(0);
        Self { source, taps, used: first..end, columns: vec![[0.0; LANES]; end - first] }
    }
}

impl Fill for Horizontal<'_> {
    #[inline(always)]
    fn fill(&mut self, rows: Range<usize>, out: &mut [f32], pitch: usize) {
        let Rows { row_bytes, .. } = self.source;
        let band = self.source.band(rows);
        for (columns, first) in self.columns.chunks_mut(BLOCK).zip((self.used.start..).step_by(BLOCK)) {
            let mut turned = [[0u8; LANES]; BLOCK];
            for (row, bytes) in band.chunks_exact(row_bytes).enumerate() {
                let end = (first + columns.len()) * 3;
                turn(row, bytes.get(first * 3..end).unwrap_or_default(), &mut turned);
            }
            for (column, bytes) in columns.iter_mut().zip(&turned) {
                widen(bytes, column);
            }
        }
        let mut made = [[0f32; LANES]; BLOCK];
        for (taps, first) in self.taps.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
            for (tap, made) in taps.iter().zip(&mut made) {
                let mut sums = [0f32; LANES];
                for (weight, column) in tap.weights.iter().zip(self.columns.iter().skip(tap.first - self.used.start)) {
                    for i in 0..LANES {
                        sums[i] += weight * column[i];
                    }
                }
                *made = rounded(&sums);
            }
            for (row, out) in out.chunks_exact_mut(pitch).take(band.len() / row_bytes).enumerate() {
                turn_back(
                    row,
                    made.get(..taps.len()).unwrap_or_default(),
                    out.get_mut(first * 3..).unwrap_or_default(),
                );
            }
        }
    }
}

/// Moves a row's pixels to their places among those of all rows of a band.
#[inline(always)]
fn turn(row: usize, bytes: &[u8], turned: &mut [[u8; LANES]]) {
    let (twelves, rest) = bytes.as_chunks::<12>();
    let (fours, _) = turned.as_chunks_mut::<4>();
    for (lanes, bytes) in fours.iter_mut().zip(twelves) {
        let pixels = [word(bytes, 0), word(bytes, 3), word(bytes, 6), word(bytes, 8) >> 8];
        for (lanes, pixel) in lanes.iter_mut().zip(pixels) {
            // The fourth byte is overwritten by the next row's first, or is nobody's.
            put(lanes, row * 3, pixel.to_le_bytes());
        }
    }
    let lasts = turned.iter_mut().skip(twelves.len() * 4);
    for (lanes, [r, g, b]) in lasts.zip(rest.as_chunks::<3>().0) {
        put(lanes, row * 3, [*r, *g, *b, 0]);
    }
}

/// Moves one row's pixels back from their places among those of all rows of a band.
#[inline(always)]
fn turn_back(row: usize, turned: &[[f32; LANES]], out: &mut [f32]) {
    for (lanes, at) in turned.iter().zip((0..).step_by(3)) {
        if let Some(pixel) = lanes.get(row * 3..).and_then(|lanes| lanes.first_chunk::<4>()) {
            // The fourth value is overwritten by the next pixel, or is nobody's.
            put(out, at, *pixel);
        }
    }
}

#[inline(always)]
fn put<T>(values: &mut [T], at: usize, four: [T; 4]) {
    if let Some(place) = values.get_mut(at..).and_then(|values| values.first_chunk_mut()) {
        *place = four;
    }
}

/// Four bytes as they lie.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Bytes to numbers.
#[inline(always)]
fn widen(bytes: &[u8], out: &mut [f32]) {
    let (blocks, rest) = bytes.as_chunks::<COLUMNS>();
    let (out_blocks, _) = out.as_chunks_mut::<COLUMNS>();
    for (bytes, out) in blocks.iter().zip(out_blocks) {
        let mut values = [0f32; COLUMNS];
        for i in 0..COLUMNS {
            values[i] = f32::from(bytes[i]);
        }
        *out = values;
    }
    for (byte, out) in rest.iter().zip(out.iter_mut().skip(blocks.len() * COLUMNS)) {
        *out = f32::from(*byte);
    }
}

/// The vertical pass to rows of `row` values.
#[inline(always)]
fn vertical(taps: &[Taps<'_>], row: usize, mut source: impl Fill) -> Vec<u8> {
    let pitch = pitch(row);
    let mut out = vec![0u8; row * taps.len()];
    // Each source row enters several target rows: the last ones are kept, in turn.
    let longest = taps.iter().map(|tap| tap.weights.len()).max().unwrap_or(0);
    let held = (longest + ROWS - 1).next_multiple_of(ROWS);
    let mut ring = vec![0f32; held * pitch];
    let mut filled = taps.first().map_or(0, |tap| tap.first / ROWS * ROWS);
    for (out, tap) in out.chunks_exact_mut(row).zip(taps) {
        while filled < tap.first + tap.weights.len() {
            let slot = filled % held * pitch;
            source.fill(filled..filled + ROWS, ring.get_mut(slot..slot + ROWS * pitch).unwrap_or_default(), pitch);
            filled += ROWS;
        }
        let (late, early) = ring.split_at(tap.first % held * pitch);
        let rows: Vec<&[[f32; COLUMNS]]> = early
            .chunks_exact(pitch)
            .chain(late.chunks_exact(pitch))
            .take(tap.weights.len())
            .map(|row| row.as_chunks().0)
            .collect();
        for (group, out) in out.chunks_mut(COLUMNS).enumerate() {
            let mut sums = [0f32; COLUMNS];
            for (weight, row) in tap.weights.iter().zip(&rows) {
                let Some(values) = row.get(group) else { continue };
                for i in 0..COLUMNS {
                    sums[i] += weight * values[i];
                }
            }
            let bytes = narrowed(&sums);
            match out.first_chunk_mut::<COLUMNS>() {
                Some(out) => *out = bytes,
                None => out.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte),
            }
        }
    }
    out
}

/// Adding 2^23 leaves a whole number in the lowest bits.
const SHIFT: f32 = 8_388_608.0;

/// Added before rounding, so that halves go up, as Pillow's do.
const HALVES_UP: f32 = 1.0 / 65_536.0;

/// To the nearest whole numbers of 0 to 255.
#[inline(always)]
fn rounded<const N: usize>(sums: &[f32; N]) -> [f32; N] {
    let mut values = [0f32; N];
    for i in 0..N {
        values[i] = ((sums[i] + HALVES_UP + SHIFT) - SHIFT).clamp(0.0, 255.0);
    }
    values
}

/// As [`rounded`], to bytes. Written so that it becomes vector code with saturation.
#[inline(always)]
fn narrowed<const N: usize>(sums: &[f32; N]) -> [u8; N] {
    let mut wholes = [0i32; N];
    for i in 0..N {
        let whole = (sums[i] + HALVES_UP + SHIFT).to_bits().cast_signed() - SHIFT.to_bits().cast_signed();
        wholes[i] = whole.clamp(0, 255);
    }
    let mut bytes = [0u8; N];
    for i in 0..N {
        bytes[i] = wholes[i] as u8;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both passes by their definition.
    fn defined(picture: &Picture, to: (usize, usize), columns: Range<usize>, rows: Range<usize>) -> Picture {
        let from = (picture.width as usize, picture.height as usize);
        let sums = |taps: &Taps<'_>, values: &dyn Fn(usize) -> u8| {
            let products =
                taps.weights.iter().enumerate().map(|(i, weight)| weight * f32::from(values(taps.first + i)));
            (products.fold(0.0, |sum, product| sum + product) + 1.0 / 65_536.0).round_ties_even() as u8
        };
        let across = |rgb: &[u8], width: usize| -> Vec<u8> {
            let filter = Filter::new(from.0, to.0, columns.clone());
            let taps = filter.taps();
            let row = |row: &[u8]| {
                let of = |tap: &Taps<'_>| [0, 1, 2].map(|channel| sums(tap, &|x| row[x * 3 + channel]));
                taps.iter().flat_map(of).collect::<Vec<u8>>()
            };
            rgb.chunks_exact(width * 3).flat_map(row).collect()
        };
        let down = |rgb: &[u8], row_bytes: usize| -> Vec<u8> {
            let filter = Filter::new(from.1, to.1, rows.clone());
            let taps = filter.taps();
            let of =
                |tap: &Taps<'_>| (0..row_bytes).map(|at| sums(tap, &|y| rgb[y * row_bytes + at])).collect::<Vec<u8>>();
            taps.iter().flat_map(of).collect()
        };
        let rgb = if vertical_first(from, to) {
            across(&down(&picture.rgb, from.0 * 3), from.0)
        } else {
            down(&across(&picture.rgb, from.0), columns.len() * 3)
        };
        Picture { width: columns.len() as u32, height: rows.len() as u32, rgb }
    }

    #[test]
    fn every_set_of_instructions_gives_the_bytes_of_the_definition() {
        let rng = &mut fastrand::Rng::with_seed(11);
        for round in 0..120 {
            // Blocks of columns and bands of ten rows begin, end and are missing.
            let longest = if round % 6 == 0 { 240 } else { 40 };
            let mut side = || rng.usize(1..longest);
            let (from, to) = ((side(), side()), (side(), side()));
            let (columns, rows) = (rng.usize(0..to.0)..to.0, 0..rng.usize(1..=to.1));
            let rgb =
                (0..from.0 * from.1 * 3).map(|_| if rng.bool() { rng.u8(..) } else { 255 * rng.u8(0..2) }).collect();
            let picture = Picture { width: from.0 as u32, height: from.1 as u32, rgb };
            let wanted = defined(&picture, to, columns.clone(), rows.clone());
            for with in Instructions::all() {
                let found = resize_with(with, &picture, to, (columns.clone(), rows.clone()));
                assert!(found == wanted, "{with:?}: {from:?} to {to:?}, {columns:?}, {rows:?}");
            }
        }
    }
}
