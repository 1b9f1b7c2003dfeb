//! Frames of thermal cameras on a camera's interface: 16-bit steps of kelvin to °C.

use crate::media::Plane;
use crate::sensors::settings::ThermalLayout;

/// 0 °C in kelvin.
const ZERO_CELSIUS_KELVIN: f64 = 273.15;

/// InfiRay's and Topdon's cameras count in sixty-fourths of a kelvin.
const DOUBLE_HEIGHT_KELVIN_PER_STEP: f64 = 1.0 / 64.0;

/// Rows of a whole frame whose picture has `height_px` rows.
pub(super) const fn rows_of_frame(layout: ThermalLayout, height_px: u32) -> u32 {
    match layout {
        ThermalLayout::Y16 { telemetry_rows, .. } => height_px.saturating_add(telemetry_rows),
        ThermalLayout::DoubleHeight { marker_rows } => height_px.saturating_mul(2).saturating_add(marker_rows),
    }
}

/// The temperatures of a frame as the driver gave it, its rows without padding: °C, NaN outside `valid_celsius`; the counts as they
/// are when the camera is not radiometric. None when the frame is shorter than its layout and size say.
#[must_use]
pub fn thermal_frame(
    frame: &[u8],
    layout: ThermalLayout,
    (width_px, height_px): (u32, u32),
    valid_celsius: [f32; 2],
) -> Option<Plane> {
    let row_bytes = (width_px as usize).checked_mul(2)?;
    let (first_row, kelvin_per_step) = match layout {
        ThermalLayout::Y16 { kelvin_per_step, .. } => (0, kelvin_per_step),
        ThermalLayout::DoubleHeight { marker_rows } => {
            (height_px as usize + marker_rows as usize, Some(DOUBLE_HEIGHT_KELVIN_PER_STEP))
        }
    };
    let from = first_row.checked_mul(row_bytes)?;
    let steps = frame.get(from..)?.get(..(height_px as usize).checked_mul(row_bytes)?)?;
    let [low, high] = valid_celsius;
    let value = |step: &[u8; 2]| {
        let step = f64::from(u16::from_le_bytes(*step));
        let Some(kelvin_per_step) = kelvin_per_step else { return step as f32 };
        let celsius = (step * kelvin_per_step - ZERO_CELSIUS_KELVIN) as f32;
        if (low..=high).contains(&celsius) { celsius } else { f32::NAN }
    };
    let values = steps.as_chunks::<2>().0.iter().map(value).collect();
    Some(Plane { width: width_px, height: height_px, values })
}

#[cfg(test)]
use super::depth::depth_frame;

#[cfg(test)]
#[path = "../../../fuzz/frames_body.rs"]
mod body;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY: [f32; 2] = [-300.0, 70_000.0];

    fn y16(kelvin_per_step: Option<f64>) -> ThermalLayout {
        ThermalLayout::Y16 { telemetry_rows: 0, kelvin_per_step }
    }

    fn bytes(steps: &[u16]) -> Vec<u8> {
        steps.iter().flat_map(|step| step.to_le_bytes()).collect()
    }

    /// Every count there is, one to a pixel.
    fn all_steps() -> Vec<u8> {
        (0..=u16::MAX).flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn every_step_is_exact() {
        let of = |layout, frame: &[u8]| thermal_frame(frame, layout, (256, 256), ANY).unwrap().values;
        let doubled = [vec![0; 256 * 512 + 1024], all_steps()].concat();
        type Case = (Vec<f32>, fn(f64) -> f64);
        let cases: [Case; 3] = [
            (of(y16(Some(0.01)), &all_steps()), |step| (step - 27_315.0) / 100.0),
            (of(y16(Some(0.1)), &all_steps()), |step| (step * 10.0 - 27_315.0) / 100.0),
            (of(ThermalLayout::DoubleHeight { marker_rows: 2 }, &doubled), |step| step / 64.0 - 273.15),
        ];
        for (values, expected) in cases {
            for (step, value) in values.iter().enumerate() {
                let expected = expected(step as f64) as f32;
                assert!(
                    (value - expected).abs() <= expected.abs() * f32::EPSILON + 1e-12,
                    "{step}: {value} {expected}"
                );
            }
        }
        assert_eq!(of(y16(None), &all_steps())[40_000], 40_000.0);
    }

    #[test]
    fn telemetry_and_markers_are_left_out_and_the_range_kept() {
        let layout = ThermalLayout::Y16 { telemetry_rows: 1, kelvin_per_step: Some(0.01) };
        assert_eq!(rows_of_frame(layout, 2), 3);
        // -273.15, 20, 100, 382.2 °C, and a row of telemetry.
        let frame = bytes(&[0, 29_315, 37_315, 65_535, 9, 9]);
        let plane = thermal_frame(&frame, layout, (2, 2), [-40.0, 120.0]).unwrap();
        assert!(plane.values[0].is_nan() && plane.values[3].is_nan(), "{plane:?}");
        assert_eq!(plane.values[1..3], [20.0, 100.0]);

        let layout = ThermalLayout::DoubleHeight { marker_rows: 2 };
        assert_eq!(
            [rows_of_frame(layout, 192), rows_of_frame(ThermalLayout::DoubleHeight { marker_rows: 0 }, 192)],
            [386, 384]
        );
        let frame = bytes(&[1, 1, 2, 2, 3, 3, 19_082, 17_482]);
        let plane = thermal_frame(&frame, layout, (2, 1), ANY).unwrap();
        assert_eq!(plane.values, [(19_082.0f64 / 64.0 - 273.15) as f32, (17_482.0f64 / 64.0 - 273.15) as f32]);
    }

    proptest! {
        /// The body of the fuzzing target: any frame of any layout and size, of depth cameras too.
        #[test]
        fn any_frame_is_whole_and_right_or_nothing(
            kind in 0u8..4, beside in 0u8..8, width in 0u16..80, height in 0u16..80, frame in proptest::collection::vec(any::<u8>(), 0..8192),
        ) {
            body::frames(&body::example());
            let ([w0, w1], [h0, h1]) = (width.to_le_bytes(), height.to_le_bytes());
            body::frames(&[&[kind, beside, w0, w1, h0, h1][..], &frame].concat());
        }

        #[test]
        fn a_cut_frame_is_none(width in 1u32..40, height in 1u32..40, cut in 1usize..200) {
            let frame = vec![0; (width * height * 2) as usize];
            let short = &frame[..frame.len().saturating_sub(cut)];
            prop_assert_eq!(thermal_frame(short, y16(None), (width, height), ANY), None);
        }
    }
}
