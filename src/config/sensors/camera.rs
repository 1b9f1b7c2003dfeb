//! Keys of cameras, thermal and depth cameras.

use crate::config::section::Section;
use crate::sensors::{
    CameraDriver, NokhwaSettings, ThermalLayout, V4lDepthSettings, V4lSettings, V4lThermalSettings, VideoNodeSettings,
};

const FOURCCS: [&str; 5] = ["YUYV", "MJPG", "NV12", "GREY", "Y16"];

/// What a Lepton and an InfiRay between them can tell.
pub(super) const USUAL_CELSIUS: [f64; 2] = [-40.0, 600.0];

pub(super) fn v4l(section: &mut Section<'_>) -> Option<CameraDriver> {
    let node = node(section, USUAL_SIZE_PX, USUAL_RATE_HZ);
    let fourcc = section.word("fourcc", &FOURCCS).map(str::to_owned);
    let y16_bits = section.integer("y16_bits", 8..=16).unwrap_or(16);
    Some(CameraDriver::V4l(V4lSettings { node: node?, fourcc, y16_bits }))
}

pub(super) fn v4l_thermal(section: &mut Section<'_>) -> Option<CameraDriver> {
    let double_height = section.word("layout", &["y16", "double_height"]) == Some("double_height");
    // A Lepton 3's size and rate, or a P2 Pro's.
    let (usual_size_px, usual_rate_hz) = if double_height { ((256, 192), 25.0) } else { ((160, 120), 8.0) };
    let node = node(section, usual_size_px, usual_rate_hz);
    let layout = if double_height {
        ThermalLayout::DoubleHeight { marker_rows: section.integer("marker_rows", 0..=64).unwrap_or(0) }
    } else {
        let telemetry_rows = section.integer("telemetry_rows", 0..=64).unwrap_or(0);
        let kelvin_per_step = section.number("kelvin_per_step", 0.001..=1.0).unwrap_or(0.01);
        let is_radiometric = section.flag("radiometric").unwrap_or(true);
        ThermalLayout::Y16 { telemetry_rows, kelvin_per_step: is_radiometric.then_some(kelvin_per_step) }
    };
    let valid_celsius = celsius_range(section, USUAL_CELSIUS);
    Some(CameraDriver::V4lThermal(V4lThermalSettings { node: node?, layout, valid_celsius }))
}

/// `min_celsius` and `max_celsius`, of what bolometers and thermopiles read.
pub(super) fn celsius_range(section: &mut Section<'_>, usual: [f64; 2]) -> [f32; 2] {
    let [low, high] = ["min_celsius", "max_celsius"].map(|key| section.number(key, -273.15..=3000.0));
    let [low, high] = [low.unwrap_or(usual[0]), high.unwrap_or(usual[1])];
    if low >= high {
        section.problem(format!("`min_celsius`, {low}, is not below `max_celsius`, {high}"));
    }
    [low as f32, high as f32]
}

pub(super) fn v4l_depth(section: &mut Section<'_>) -> Option<CameraDriver> {
    let node = node(section, USUAL_SIZE_PX, USUAL_RATE_HZ);
    let metres_per_step = section.number("metres_per_step", 0.000_001..=1.0).unwrap_or(0.001);
    Some(CameraDriver::V4lDepth(V4lDepthSettings { node: node?, metres_per_step }))
}

pub(super) fn nokhwa(section: &mut Section<'_>) -> CameraDriver {
    let (width_px, height_px) = size_px(section, USUAL_SIZE_PX);
    CameraDriver::Nokhwa(NokhwaSettings {
        index: section.integer("index", 0..=63).unwrap_or(0),
        width_px,
        height_px,
        rate_hz: rate_hz(section, USUAL_RATE_HZ),
    })
}

fn node(section: &mut Section<'_>, usual_size_px: (u32, u32), usual_rate_hz: f64) -> Option<VideoNodeSettings> {
    let device = section.required_text("device", "a camera such as /dev/v4l/by-id/… or /dev/video0");
    let (width_px, height_px) = size_px(section, usual_size_px);
    let rate_hz = rate_hz(section, usual_rate_hz);
    Some(VideoNodeSettings { device: device?.0, width_px, height_px, rate_hz })
}

/// What nearly every camera can do.
const USUAL_SIZE_PX: (u32, u32) = (640, 480);
const USUAL_RATE_HZ: f64 = 15.0;

/// `width_px` and `height_px`. Below 32 no patch map means anything (the smallest thermal arrays are just that wide); 8192 is the
/// largest of today's cameras.
fn size_px(section: &mut Section<'_>, usual: (u32, u32)) -> (u32, u32) {
    let width_px = section.integer("width_px", 32..=8192).unwrap_or(usual.0);
    (width_px, section.integer("height_px", 24..=8192).unwrap_or(usual.1))
}

/// `rate_hz`.
pub(super) fn rate_hz(section: &mut Section<'_>, usual: f64) -> f64 {
    section.number("rate_hz", 0.1..=240.0).unwrap_or(usual)
}
