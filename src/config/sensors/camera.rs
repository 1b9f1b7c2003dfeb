//! Keys of cameras.

use crate::config::section::Section;
use crate::sensors::{CameraDriver, NokhwaSettings, V4lSettings};

const FOURCCS: [&str; 4] = ["YUYV", "MJPG", "NV12", "GREY"];

pub(super) fn v4l(section: &mut Section<'_>) -> Option<CameraDriver> {
    let device = section.required_text("device", "a camera such as /dev/v4l/by-id/… or /dev/video0");
    let (width_px, height_px, rate_hz) = (width_px(section), height_px(section), rate_hz(section));
    let fourcc = section.word("fourcc", &FOURCCS).map(str::to_owned);
    Some(CameraDriver::V4l(V4lSettings { device: device?.0, width_px, height_px, rate_hz, fourcc }))
}

pub(super) fn nokhwa(section: &mut Section<'_>) -> CameraDriver {
    CameraDriver::Nokhwa(NokhwaSettings {
        index: section.integer("index", 0..=63).unwrap_or(0),
        width_px: width_px(section),
        height_px: height_px(section),
        rate_hz: rate_hz(section),
    })
}

// Below 32 no patch map means anything; 8192 is the largest of today's cameras.
fn width_px(section: &mut Section<'_>) -> u32 {
    section.integer("width_px", 32..=8192).unwrap_or(640)
}

fn height_px(section: &mut Section<'_>) -> u32 {
    section.integer("height_px", 32..=8192).unwrap_or(480)
}

fn rate_hz(section: &mut Section<'_>) -> f64 {
    section.number("rate_hz", 0.1..=240.0).unwrap_or(15.0)
}
