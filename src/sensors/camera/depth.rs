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
}
