//! Thermal and depth frames to grey pictures: percentiles to black and white.

use crate::media::{Picture, Plane};

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
    readings.sort_unstable_by(f32::total_cmp);
    let (low, high) = (percentile(&readings, stretch.low_percentile)?, percentile(&readings, stretch.high_percentile)?);
    // As the recipe: a flat frame has no range to stretch.
    let range = (high - low).max(1e-12);
    let grey = |value: &f32| {
        if !value.is_finite() {
            return 0;
        }
        let share = (f64::from(*value) - low) / range;
        let share = if stretch.inverted { 1.0 - share } else { share };
        (share.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
    };
    let rgb = plane.values.iter().flat_map(|value| [grey(value); 3]).collect();
    Some(Picture { width: plane.width, height: plane.height, rgb })
}

/// Linear between order statistics, as `numpy.percentile`.
fn percentile(sorted: &[f32], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = percent / 100.0 * last as f64;
    let below = sorted.get(place.floor() as usize).copied().map(f64::from)?;
    let above = sorted.get((place.floor() as usize + 1).min(last)).copied().map(f64::from)?;
    Some(below + (above - below) * place.fract())
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
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(percentile(&sorted, 50.0), Some(3.0));
        assert!((percentile(&sorted, 99.0).unwrap() - 7.88).abs() < 1e-12);
        assert_eq!(percentile(&[], 50.0), None);
    }
}
