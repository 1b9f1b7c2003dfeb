//! Where in a picture: similarity map, regions, crops, boxes. Pure, but for the image encoder that it asks to embed crops.
//!
//! It looks at one frame at a time: what lasts over frames is the job of `events`.

mod detector;
mod regions;
mod suppress;

pub use detector::{DetectError, Detector, Found, Frame};

use crate::geometry::PixelBox;
use crate::space::Score;

/// One box that a prompt may have found.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Where, in pixels of the original picture.
    pub box_in_image: PixelBox,
    /// How well it matches.
    pub score: Score,
}

/// How maps become boxes. The defaults were chosen on composed scenes of the reference pack's calibration half.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Places per cell of the map, both ways, at which regions are drawn.
    pub upsampling: usize,
    /// A further region starts only where the map exceeds the background by this share of what its highest peak does.
    pub seed_share: f32,
    /// A region grows while the map exceeds the background by this share of what the region's own peak does.
    pub grow_share: f32,
    /// Smaller regions are left out, in cells of the map; the highest region is always kept.
    pub fewest_cells: f32,
    /// At most this many regions.
    pub most_regions: usize,
    /// At most this many crops are embedded for one prompt and frame.
    pub most_crops: usize,
    /// Boxes that overlap a better one by more than this (intersection over union) are suppressed.
    pub suppression_iou: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            upsampling: 4,
            seed_share: 0.5,
            grow_share: 0.5,
            fewest_cells: 2.0,
            most_regions: 8,
            most_crops: 4,
            suppression_iou: 0.5,
        }
    }
}
