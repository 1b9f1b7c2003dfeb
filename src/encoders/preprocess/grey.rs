//! Thermal and depth frames to grey pictures: percentiles to black and white.

use crate::media::{Picture, Plane};
use crate::simd::{Instructions, Kernel};

/// How many values are turned grey at once.
const BLOCK: usize = 32;

/// How numbers become grey.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Percentile of the readings that becomes black.
    pub low_percentile: f64,
    /// Percentile of the readings that becomes white.
    pub high_percentile: f64,
    /// Whether small numbers are bright; pixels without a reading stay black.
    pub inverted: bool,
}

/// A plane as a grey RGB picture; none when no pixel has a reading (NaN and infinities are none).
#[must_use]
pub fn picture(plane: &Plane, stretch: Stretch) -> Option<Picture> {
    let mut readings: Vec<f32> = plane.values.iter().copied().filter(|v| v.is_finite()).collect();
    let (low, high) =
        (percentile(&mut readings, stretch.low_percentile)?, percentile(&mut readings, stretch.high_percentile)?);
    // As the recipe: a flat frame has no range to stretch.
    let range = (high - low).max(1e-12);
    let greys = Instructions::best().run(Greys { values: &plane.values, low, range, inverted: stretch.inverted });
    let rgb = greys.into_iter().map(|grey| [grey; 3]).collect::<Vec<_>>().into_flattened();
    Some(Picture { width: plane.width, height: plane.height, rgb })
}

/// Linear between order statistics, as `numpy.percentile`; leaves the values in another order.
fn percentile(values: &mut [f32], percent: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = percent / 100.0 * last as f64;
    let (_, below, others) = values.select_nth_unstable_by((place.floor() as usize).min(last), f32::total_cmp);
    let below = f64::from(*below);
    let above = others.iter().copied().min_by(f32::total_cmp).map_or(below, f64::from);
    Some(below + (above - below) * place.fract())
}

/// Values to grey: `low` is black, `low + range` white.
struct Greys<'a> {
    values: &'a [f32],
    low: f64,
    range: f64,
    inverted: bool,
}

impl Kernel for Greys<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<u8> {
        let grey = |value: f32| {
            let share = (f64::from(value) - self.low) / self.range;
            let share = if self.inverted { 1.0 - share } else { share };
            let grey = (share.clamp(0.0, 1.0) * 255.0).round_ties_even();
            if value.is_finite() { grey as u8 } else { 0 }
        };
        let (blocks, rest) = self.values.as_chunks::<BLOCK>();
        let mut greys = Vec::with_capacity(self.values.len());
        for values in blocks {
            let mut block = [0; BLOCK];
            for i in 0..BLOCK {
                block[i] = grey(values[i]);
            }
            greys.extend(block);
        }
        greys.extend(rest.iter().copied().map(grey));
        greys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Stretch = Stretch { low_percentile: 0.0, high_percentile: 100.0, inverted: false };

    fn greys(values: &[f32], stretch: Stretch) -> Vec<u8> {
        let plane = Plane { width: values.len() as u32, height: 1, values: values.to_vec() };
        picture(&plane, stretch).unwrap().rgb.iter().step_by(3).copied().collect()
    }

    #[test]
    fn numbers_are_stretched_and_holes_are_black() {
        assert_eq!(greys(&[10.0, 20.0, 12.0, f32::NAN], FULL), [0, 255, 51, 0]);
        assert_eq!(greys(&[1.0, 2.0, f32::INFINITY], Stretch { inverted: true, ..FULL }), [255, 0, 0]);
        assert_eq!(greys(&[5.0, 5.0], FULL), [0, 0]);
    }

    #[test]
    fn nothing_but_holes_is_no_picture() {
        assert_eq!(picture(&Plane { width: 1, height: 1, values: vec![f32::NAN] }, FULL), None);
    }

    #[test]
    fn percentiles_are_numpys() {
        let mut values = [8.0, 1.0, 4.0, 2.0];
        assert_eq!(percentile(&mut values, 50.0), Some(3.0));
        assert!((percentile(&mut values, 99.0).unwrap() - 7.88).abs() < 1e-12);
        assert_eq!(percentile(&mut values, 100.0), Some(8.0));
        assert_eq!(percentile(&mut [], 50.0), None);
    }
}
