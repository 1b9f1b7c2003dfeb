//! What must hold of thermal and depth frames: any bytes and any size give a whole plane, each value of its own two bytes, or nothing.

use super::{Plane, ThermalLayout, depth_frame, thermal_frame};

/// Kind, rows beside the picture, width, height, and the frame.
pub(crate) fn example() -> Vec<u8> {
    let steps = (0..12u16).flat_map(|n| (29_000 + n).to_le_bytes());
    [0, 0, 4, 0, 3, 0].into_iter().chain(steps).collect()
}

pub(crate) fn frames(bytes: &[u8]) {
    let Some((&[kind, beside, w0, w1, h0, h1], frame)) = bytes.split_first_chunk() else { return };
    let side = |low, high| match u16::from_le_bytes([low, high]) {
        // A size that no memory has.
        u16::MAX => u32::MAX,
        side => side.into(),
    };
    let (size, beside) = ((side(w0, w1), side(h0, h1)), u32::from(beside));
    let (found, first_row) = match kind % 4 {
        0 => (
            thermal_frame(
                frame,
                ThermalLayout::Y16 { telemetry_rows: beside, kelvin_per_step: Some(0.01) },
                size,
                [-40.0, 300.0],
            ),
            0,
        ),
        1 => (
            thermal_frame(
                frame,
                ThermalLayout::Y16 { telemetry_rows: beside, kelvin_per_step: None },
                size,
                [-40.0, 300.0],
            ),
            0,
        ),
        2 => (
            thermal_frame(frame, ThermalLayout::DoubleHeight { marker_rows: beside }, size, [-40.0, 300.0]),
            u64::from(size.1) + u64::from(beside),
        ),
        _ => (depth_frame(frame, size, 0.001), 0),
    };
    let (pixels, row_bytes) = (u64::from(size.0) * u64::from(size.1), u64::from(size.0) * 2);
    let is_whole = u128::from(first_row) * u128::from(row_bytes) + u128::from(pixels) * 2 <= frame.len() as u128;
    assert_eq!(found.is_some(), is_whole);
    let Some(Plane { width, height, values }) = found else { return };
    assert_eq!(((width, height), values.len() as u64), (size, pixels));
    let steps = frame[(first_row * row_bytes) as usize..].as_chunks::<2>().0;
    for (value, step) in values.iter().zip(steps.iter().map(|step| f64::from(u16::from_le_bytes(*step)))) {
        let wanted = match kind % 4 {
            0 => step * 0.01 - 273.15,
            1 => step,
            2 => step / 64.0 - 273.15,
            _ => step * 0.001,
        };
        let may_be_nothing =
            matches!(kind % 4, 0 | 2) && !(-39.99..=299.99).contains(&wanted) || kind % 4 == 3 && step == 0.0;
        assert!((f64::from(*value) - wanted).abs() < 0.01 || value.is_nan() && may_be_nothing, "{value} for {wanted}");
        assert!(
            value.is_nan() || !matches!(kind % 4, 0 | 2) || (-40.0..=300.0).contains(value),
            "{value} is no reading"
        );
    }
}
