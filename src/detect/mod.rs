//! Where in a picture: similarity map, regions, crops, boxes. Pure, but for the image encoder that it asks to embed crops.

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
