//! Cameras: V4L2 and nokhwa.

use crate::modality::Modality;

/// A camera and the way to it.
#[derive(Clone, Debug, PartialEq)]
pub enum CameraDriver {
    /// Through V4L2 (Linux).
    V4l(V4lSettings),
    /// Through nokhwa (portable).
    Nokhwa(NokhwaSettings),
}

/// A camera through V4L2.
#[derive(Clone, Debug, PartialEq)]
pub struct V4lSettings {
    /// `/dev/v4l/by-id/…`, `/dev/v4l/by-path/…` or `/dev/videoN`.
    pub device: String,
    /// Wanted width in pixels.
    pub width_px: u32,
    /// Wanted height in pixels.
    pub height_px: u32,
    /// Wanted frames a second.
    pub rate_hz: f64,
    /// Four-character code (`YUYV`, `MJPG`, `NV12`, `GREY`); none = the first of these that the device offers.
    pub fourcc: Option<String>,
}

/// A camera through nokhwa.
#[derive(Clone, Debug, PartialEq)]
pub struct NokhwaSettings {
    /// Index of the camera.
    pub index: u32,
    /// Wanted width in pixels.
    pub width_px: u32,
    /// Wanted height in pixels.
    pub height_px: u32,
    /// Wanted frames a second.
    pub rate_hz: f64,
}

impl CameraDriver {
    /// The sense it serves.
    #[must_use]
    pub const fn modality(&self) -> Modality {
        match self {
            Self::V4l(_) | Self::Nokhwa(_) => Modality::Image,
        }
    }

    /// The longest time between two frames of a healthy device, in seconds.
    #[must_use]
    pub fn period_secs(&self) -> f64 {
        match self {
            Self::V4l(V4lSettings { rate_hz, .. }) | Self::Nokhwa(NokhwaSettings { rate_hz, .. }) => {
                1.0 / rate_hz.max(0.1)
            }
        }
    }
}
