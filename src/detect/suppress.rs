//! Non-maximum suppression.

use super::Detection;

/// The best detections first, without those that overlap a better one by more than `iou`.
pub(super) fn suppressed(mut detections: Vec<Detection>, iou: f32) -> Vec<Detection> {
    detections.sort_by(|a, b| b.score.worst_first(&a.score).then_with(|| b.place().compared_with(&a.place())));
    let mut kept: Vec<Detection> = Vec::new();
    for detection in detections {
        if kept.iter().all(|better| better.box_in_image.iou(&detection.box_in_image) <= iou) {
            kept.push(detection);
        }
    }
    kept
}

/// Decides between equal scores, so that the order of arrival never does.
#[derive(Clone, Copy)]
struct Place([f32; 5]);

impl Place {
    fn compared_with(&self, other: &Self) -> std::cmp::Ordering {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    }
}

impl Detection {
    fn place(&self) -> Place {
        let b = &self.box_in_image;
        Place([b.area(), -b.x0, -b.y0, -b.x1, -b.y1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::PixelBox;
    use crate::space::Score;
    use proptest::prelude::*;

    fn any_detection() -> impl Strategy<Value = Detection> {
        (0u8..20, 0u8..20, 1u8..15, 1u8..15, 0u8..4).prop_map(|(x, y, w, h, score)| {
            let (x0, y0) = (f32::from(x), f32::from(y));
            let calibrated = f32::from(score) / 4.0;
            Detection {
                box_in_image: PixelBox { x0, y0, x1: x0 + f32::from(w), y1: y0 + f32::from(h) },
                score: Score { raw: 0.0, calibrated, threshold: 0.5, bank_revision: 1 },
            }
        })
    }

    proptest! {
        #[test]
        fn suppression_is_idempotent_and_ignores_order(
            (plain, shuffled) in prop::collection::vec(any_detection(), 0..12)
                .prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle()))
        ) {
            let once = suppressed(plain, 0.5);
            prop_assert_eq!(&suppressed(shuffled, 0.5), &once);
            prop_assert_eq!(&suppressed(once.clone(), 0.5), &once);
            prop_assert!(once.is_sorted_by(|a, b| a.score.calibrated >= b.score.calibrated));
            for (i, a) in once.iter().enumerate() {
                prop_assert!(once[..i].iter().all(|b| a.box_in_image.iou(&b.box_in_image) <= 0.5));
            }
        }
    }
}
