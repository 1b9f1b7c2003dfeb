//! Frames of depth cameras: 16-bit steps to metres.

use crate::media::Plane;

/// The distances of a `Z16` frame, its rows without padding: metres, NaN where the camera has no reading (0). None when the frame is
/// shorter than its size says.
#[must_use]
pub fn depth_frame(frame: &[u8], (width_px, height_px): (u32, u32), metres_per_step: f64) -> Option<Plane> {
    let bytes = (width_px as usize).checked_mul(height_px as usize)?.checked_mul(2)?;
    let value = |step: &[u8; 2]| match u16::from_le_bytes(*step) {
        0 => f32::NAN,
        step => (f64::from(step) * metres_per_step) as f32,
    };
    let values = frame.get(..bytes)?.as_chunks::<2>().0.iter().map(value).collect();
    Some(Plane { width: width_px, height: height_px, values })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_step_is_exact() {
        let frame: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let plane = depth_frame(&frame, (256, 256), 0.001).unwrap();
        assert!(plane.values[0].is_nan());
        for (step, value) in plane.values.iter().enumerate().skip(1) {
            let expected = (step as f64 / 1000.0) as f32;
            assert!((value - expected).abs() <= expected * f32::EPSILON, "{step}: {value} {expected}");
        }
    }

    proptest! {
        #[test]
        fn no_frame_breaks_it(
            frame in proptest::collection::vec(any::<u8>(), 0..4096), width in 0u32..80, height in 0u32..80,
        ) {
            let plane = depth_frame(&frame, (width, height), 0.001);
            prop_assert_eq!(plane.is_some(), frame.len() >= (width * height * 2) as usize);
            if let Some(plane) = plane {
                prop_assert_eq!(plane.values.len(), (width * height) as usize);
                prop_assert!(plane.values.iter().all(|v| v.is_nan() || (0.001..=65.535).contains(v)));
            }
        }
    }
}
