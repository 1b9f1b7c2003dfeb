//! Boxes in a picture.

/// An axis-aligned box in a picture: pixels of that picture, `x0 ≤ x1`, `y0 ≤ y1`, origin at the top left, ends exclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelBox {
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
}

impl PixelBox {
    /// The whole of a picture of this size.
    #[must_use]
    pub fn whole(width_px: u32, height_px: u32) -> Self {
        Self { x0: 0.0, y0: 0.0, x1: width_px as f32, y1: height_px as f32 }
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> f32 {
        (self.x1 - self.x0).max(0.0)
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> f32 {
        (self.y1 - self.y0).max(0.0)
    }

    /// Area in square pixels.
    #[must_use]
    pub fn area(&self) -> f32 {
        self.width() * self.height()
    }

    /// What both boxes cover; of zero area when they are apart.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (x0, y0) = (self.x0.max(other.x0), self.y0.max(other.y0));
        Self { x0, y0, x1: self.x1.min(other.x1).max(x0), y1: self.y1.min(other.y1).max(y0) }
    }

    /// Intersection over union, 0 to 1; 0 when both are empty.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let shared = self.intersection(other).area();
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    /// Whether the point lies inside.
    #[must_use]
    pub fn contains(&self, x: f32, y: f32) -> bool {
        x >= self.x0 && x < self.x1 && y >= self.y0 && y < self.y1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_box() -> impl Strategy<Value = PixelBox> {
        (0.0f32..100.0, 0.0f32..100.0, 0.0f32..50.0, 0.0f32..50.0).prop_map(|(x0, y0, w, h)| PixelBox {
            x0,
            y0,
            x1: x0 + w,
            y1: y0 + h,
        })
    }

    proptest! {
        #[test]
        fn iou_is_symmetric_and_bounded(a in any_box(), b in any_box()) {
            prop_assert_eq!(a.iou(&b), b.iou(&a));
            prop_assert!((0.0..=1.0 + 1e-5).contains(&a.iou(&b)));
        }
    }

    #[test]
    fn half_overlap_is_a_third() {
        let a = PixelBox { x0: 0.0, y0: 0.0, x1: 2.0, y1: 1.0 };
        let b = PixelBox { x0: 1.0, y0: 0.0, x1: 3.0, y1: 1.0 };
        assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-6);
        assert!((a.iou(&a) - 1.0).abs() < 1e-6);
    }
}
