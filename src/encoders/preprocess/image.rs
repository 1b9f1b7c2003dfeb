//! Pictures to a session's pixels: Pillow's antialiased bicubic, centre crop or stretch, then mean and standard deviation.
//!
//! Pillow's filter is written out here because crates with 16-bit coefficients differ from it in about one pixel of two
//! hundred. Like Pillow, each of the two passes rounds to 8 bits; the sums are in f32 where Pillow's are in 22-bit fixed point,
//! which moves about one value in 50,000 by one.

use std::ops::Range;

use crate::media::Picture;

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
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Taps {
    fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}

/// Pillow's `precompute_coeffs` for some of the `to` target pixels: the filter grows with the reduction, weights sum to 1.
fn taps(from: usize, to: usize, targets: Range<usize>) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    let of = |target: usize| {
        let centre = (target as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).floor().max(0.0) as usize;
        let end = ((centre + support + 0.5).floor() as usize).min(from);
        let weights: Vec<f64> = (first..end).map(|x| bicubic((x as f64 - centre + 0.5) / stretch)).collect();
        let sum: f64 = weights.iter().sum();
        Taps { first, weights: weights.iter().map(|w| (w / sum) as f32).collect() }
    };
    targets.map(of).collect()
}

/// To the nearest of 0 to 255. Adding 2^23 leaves the rounded value in the lowest bits, which compilers turn into vector code
/// where a cast they do not; what is added besides makes halves go up, as Pillow's do.
fn rounded(sum: f32) -> u8 {
    ((sum + 1.0 / 65_536.0).clamp(0.0, 255.0) + 8_388_608.0).to_bits() as u8
}

/// How many rows the horizontal pass takes at once: its inner loop runs over their channels.
const ROWS: usize = 8;
const LANES: usize = ROWS * 3;

/// How many columns the vertical pass takes at once.
const COLUMNS: usize = 32;

/// Resizes to `width × height`, as Pillow's `resize((width, height), BICUBIC)`.
#[must_use]
pub fn resize(picture: &Picture, width: u32, height: u32) -> Picture {
    resize_part(picture, (width as usize, height as usize), 0..width as usize, 0..height as usize)
}

/// The columns and rows of the picture resized to `to` (width, height); what is not asked for is not computed.
fn resize_part(picture: &Picture, to: (usize, usize), columns: Range<usize>, rows: Range<usize>) -> Picture {
    let (width, height) = (columns.len(), rows.len());
    let from = (picture.width as usize, picture.height as usize);
    let (right, down) = (taps(from.0, to.0, columns), taps(from.1, to.1, rows));
    let rgb = if vertical_first(from, to) {
        horizontal(&vertical(&picture.rgb, from.0 * 3, 0, &down), from.0, &right)
    } else {
        let first_row = down.iter().map(|tap| tap.first).min().unwrap_or(0);
        let end_row = down.iter().map(Taps::end).max().unwrap_or(0);
        let source = picture.rgb.get(first_row * from.0 * 3..end_row * from.0 * 3).unwrap_or_default();
        vertical(&horizontal(source, from.0, &right), width * 3, first_row, &down)
    };
    Picture { width: width as u32, height: height as u32, rgb }
}

/// Pillow 13 resizes vertically first when that saves much (python-pillow/Pillow#9549); the exact rule was found by comparing
/// results for 1,480 pairs of sizes. Since each pass rounds to 8 bits, the order shows in the pixels.
fn vertical_first(from: (usize, usize), to: (usize, usize)) -> bool {
    let less = |from: usize, to: usize| from as i64 - to as i64;
    less(from.1, to.1) > 0 && less(from.1, to.1) > 2 * less(from.0, to.0)
}

fn horizontal(source: &[u8], from_width: usize, taps: &[Taps]) -> Vec<u8> {
    let (row_bytes, out_bytes) = (from_width * 3, taps.len() * 3);
    let mut out = vec![0u8; source.len() / row_bytes * out_bytes];
    // A band of rows with the pixel outermost: columns[x] holds pixel x of every row.
    let mut columns = vec![[0f32; LANES]; from_width];
    for (band, target) in source.chunks(row_bytes * ROWS).zip(out.chunks_mut(out_bytes * ROWS)) {
        for (row, bytes) in band.chunks_exact(row_bytes).enumerate() {
            for (column, pixel) in columns.iter_mut().zip(bytes.as_chunks::<3>().0) {
                if let Some(lanes) = column.as_chunks_mut::<3>().0.get_mut(row) {
                    *lanes = pixel.map(f32::from);
                }
            }
        }
        for (x, tap) in taps.iter().enumerate() {
            let mut sums = [0f32; LANES];
            for (weight, column) in tap.weights.iter().zip(columns.iter().skip(tap.first)) {
                sums.iter_mut().zip(column).for_each(|(sum, value)| *sum += weight * value);
            }
            let mut pixels = [0u8; LANES];
            pixels.iter_mut().zip(sums).for_each(|(pixel, sum)| *pixel = rounded(sum));
            for (bytes, pixel) in target.chunks_exact_mut(out_bytes).zip(pixels.as_chunks::<3>().0) {
                if let Some(place) = bytes.as_chunks_mut::<3>().0.get_mut(x) {
                    *place = *pixel;
                }
            }
        }
    }
    out
}

/// `bytes` starts with row `first_row` of the picture.
fn vertical(bytes: &[u8], row_bytes: usize, first_row: usize, taps: &[Taps]) -> Vec<u8> {
    // Each source row enters several target rows.
    let source: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte)).collect();
    let mut out = vec![0u8; row_bytes * taps.len()];
    for (target, tap) in out.chunks_exact_mut(row_bytes).zip(taps) {
        let rows = source.get((tap.first - first_row) * row_bytes..).unwrap_or_default();
        // A few columns at a time, so that their sums stay in registers over all taps.
        for (target, start) in target.chunks_mut(COLUMNS).zip((0..).step_by(COLUMNS)) {
            let mut sums = [0f32; COLUMNS];
            for (weight, row) in tap.weights.iter().zip(rows.chunks_exact(row_bytes)) {
                let values = row.get(start..).unwrap_or_default();
                match values.first_chunk::<COLUMNS>() {
                    Some(values) => sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value),
                    None => sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value),
                }
            }
            let mut bytes = [0u8; COLUMNS];
            bytes.iter_mut().zip(sums).for_each(|(byte, sum)| *byte = rounded(sum));
            target.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        }
    }
    out
}

/// The short side to the size, then the central crop. `size` is [height, width].
#[must_use]
pub fn center_crop(picture: &Picture, size: [usize; 2]) -> Picture {
    let [height, width] = size;
    let (from_width, from_height) = (f64::from(picture.width), f64::from(picture.height));
    let scale = (height as f64 / from_height).max(width as f64 / from_width);
    // Python's `round`: ties to even.
    let scaled = |side: f64, least: usize| ((side * scale).round_ties_even() as usize).max(least);
    let to = (scaled(from_width, width), scaled(from_height, height));
    let (left, top) = ((to.0 - width) / 2, (to.1 - height) / 2);
    resize_part(picture, to, left..left + width, top..top + height)
}

/// Both sides to the size, aspect ignored. `size` is [height, width].
#[must_use]
pub fn stretch(picture: &Picture, size: [usize; 2]) -> Picture {
    let [height, width] = size;
    resize_part(picture, (width, height), 0..width, 0..height)
}

/// `[3, height, width]`, each channel `(byte / 255 − mean) / std`.
#[must_use]
#[expect(clippy::indexing_slicing, reason = "channels are below 3 and bytes below 256")]
pub fn tensor(picture: &Picture, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let pixels = picture.rgb.len() / 3;
    let mut out = vec![0f32; pixels * 3];
    let (red, rest) = out.split_at_mut(pixels);
    let (green, blue) = rest.split_at_mut(pixels);
    let table = |channel: usize| -> [f32; 256] {
        std::array::from_fn(|byte| (byte as f32 / 255.0 - mean[channel]) / std[channel])
    };
    let tables = [0, 1, 2].map(table);
    let targets = red.iter_mut().zip(green).zip(blue);
    for ([r, g, b], ((red, green), blue)) in picture.rgb.as_chunks::<3>().0.iter().zip(targets) {
        *red = tables[0][usize::from(*r)];
        *green = tables[1][usize::from(*g)];
        *blue = tables[2][usize::from(*b)];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> Picture {
        let rgb = (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        Picture { width, height, rgb }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        let picture = Picture { width: 37, height: 23, rgb: [9, 99, 199].repeat(37 * 23) };
        for small in [resize(&picture, 16, 16), resize(&picture, 80, 5), center_crop(&picture, [16, 16])] {
            assert!(small.rgb.as_chunks::<3>().0.iter().all(|p| *p == [9, 99, 199]));
        }
    }

    /// Pillow 11: `Image.frombytes("L", (5, 1), bytes([0, 50, 255, 10, 100])).resize((3, 1), Image.BICUBIC)`.
    #[test]
    fn one_row_equals_pillow() {
        let picture =
            Picture { width: 5, height: 1, rgb: [0u8, 50, 255, 10, 100].iter().flat_map(|v| [*v; 3]).collect() };
        let row: Vec<u8> = resize(&picture, 3, 1).rgb.iter().step_by(3).copied().collect();
        assert_eq!(row, [22, 159, 61]);
    }

    #[test]
    fn the_crop_is_central_and_of_the_size() {
        let wide = Picture { width: 300, height: 100, rgb: vec![1; 300 * 100 * 3] };
        let cropped = center_crop(&wide, [64, 32]);
        assert_eq!((cropped.width, cropped.height), (32, 64));
        let (left, whole) = ((192 - 32) / 2, resize(&gradient(300, 100), 192, 64));
        assert_eq!(center_crop(&gradient(300, 100), [64, 32]), whole.cut(left, 0, left + 32, 64).unwrap());
        let one = Picture { width: 1, height: 1, rgb: vec![3; 3] };
        assert_eq!(center_crop(&one, [4, 4]).rgb, vec![3; 48]);
    }

    #[test]
    fn channels_come_first() {
        let picture = Picture { width: 2, height: 1, rgb: vec![0, 255, 0, 255, 0, 0] };
        assert_eq!(tensor(&picture, [0.0, 0.5, 0.0], [1.0, 0.5, 1.0]), [0.0, 1.0, 1.0, -1.0, 0.0, 0.0]);
    }
}
