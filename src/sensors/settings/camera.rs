//! Cameras: V4L2 (pictures, thermal, depth) and nokhwa.

use crate::modality::Modality;

/// A camera and the way to it.
#[derive(Clone, Debug, PartialEq)]
pub enum CameraDriver {
    /// Pictures through V4L2 (Linux).
    V4l(V4lSettings),
    /// Thermal frames through V4L2.
    V4lThermal(V4lThermalSettings),
    /// Depth frames through V4L2.
    V4lDepth(V4lDepthSettings),
    /// Pictures through nokhwa (portable).
    Nokhwa(NokhwaSettings),
}

/// A capture node of V4L2.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoNodeSettings {
    /// `/dev/v4l/by-id/…`, `/dev/v4l/by-path/…` or `/dev/videoN`.
    pub device: String,
    /// Wanted width in pixels.
    pub width_px: u32,
    /// Wanted height in pixels; of a thermal camera that of its picture, without what it carries beside.
    pub height_px: u32,
    /// Wanted frames a second.
    pub rate_hz: f64,
}

/// Pictures through V4L2.
#[derive(Clone, Debug, PartialEq)]
pub struct V4lSettings {
    /// The node.
    pub node: VideoNodeSettings,
    /// Four-character code (`YUYV`, `MJPG`, `NV12`, `GREY`, `Y16`); none = the first of these that the device offers.
    pub fourcc: Option<String>,
    /// How many of `Y16`'s 16 bits the camera uses, from the lowest: 10 and 12 are usual beside 16.
    pub y16_bits: u32,
}

/// Thermal frames through V4L2.
#[derive(Clone, Debug, PartialEq)]
pub struct V4lThermalSettings {
    /// The node.
    pub node: VideoNodeSettings,
    /// How a frame holds temperatures.
    pub layout: ThermalLayout,
    /// Lowest and highest °C that the camera can tell; what lies outside is no reading.
    pub valid_celsius: [f32; 2],
}

/// How a thermal camera's frame holds temperatures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThermalLayout {
    /// `Y16`, 16-bit steps of kelvin: FLIR Lepton in TLinear (PureThermal boards).
    Y16 {
        /// Rows at the bottom that hold telemetry.
        telemetry_rows: u32,
        /// Kelvin a step: 0.01, or 0.1 at low gain. None for a camera that is not radiometric: its counts are handed on as they are.
        kelvin_per_step: Option<f64>,
    },
    /// `YUYV` of double height, whose lower half is 16-bit steps of 1/64 K (InfiRay P2 Pro, Topdon TC001 and their kin).
    DoubleHeight {
        /// Rows between the halves: 0, or 2 in some models.
        marker_rows: u32,
    },
}

/// Depth frames through V4L2.
#[derive(Clone, Debug, PartialEq)]
pub struct V4lDepthSettings {
    /// The node.
    pub node: VideoNodeSettings,
    /// Metres a step: 0.001 for nearly all.
    pub metres_per_step: f64,
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
            Self::V4lThermal(_) => Modality::Thermal,
            Self::V4lDepth(_) => Modality::Depth,
        }
    }

    /// The device, as the config or else the system names it.
    #[must_use]
    pub fn device(&self) -> String {
        match self {
            Self::V4l(V4lSettings { node, .. })
            | Self::V4lThermal(V4lThermalSettings { node, .. })
            | Self::V4lDepth(V4lDepthSettings { node, .. }) => node.device.clone(),
            Self::Nokhwa(NokhwaSettings { index, .. }) => format!("camera {index}"),
        }
    }

    /// The longest time between two frames of a healthy device, in seconds.
    #[must_use]
    pub fn period_secs(&self) -> f64 {
        let rate_hz = match self {
            Self::V4l(V4lSettings { node, .. })
            | Self::V4lThermal(V4lThermalSettings { node, .. })
            | Self::V4lDepth(V4lDepthSettings { node, .. }) => node.rate_hz,
            Self::Nokhwa(NokhwaSettings { rate_hz, .. }) => *rate_hz,
        };
        1.0 / rate_hz.max(0.1)
    }
}
