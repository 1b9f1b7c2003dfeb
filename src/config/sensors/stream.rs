//! Keys of folders, network cameras and programs.

use std::path::Path;

use super::camera::{USUAL_CELSIUS, celsius_range, rate_hz};
use crate::config::section::Section;
use crate::sensors::{
    CommandOutput, CommandSettings, FolderOrder, FolderSettings, HttpMjpegSettings, HttpUrl, PcmEncoding, RawLayout,
    StreamDriver, ThermalLayout,
};

/// Enough for what programs and network cameras are made to give; also what a stall is counted from.
const USUAL_RATE_HZ: f64 = 5.0;

const OUTPUTS: [&str; 9] = ["mjpeg", "rgb24", "grey8", "yuyv", "nv12", "y16", "z16", "s16le", "f32le"];

pub(super) fn folder(section: &mut Section<'_>, config_folder: &Path) -> Option<StreamDriver> {
    section.require("path", "a folder of JPEG or PNG pictures");
    let folder = section.path("path", config_folder, "a folder of JPEG or PNG pictures");
    let order = match section.word("order", &["name", "time"]) {
        Some("time") => FolderOrder::Time,
        _ => FolderOrder::Name,
    };
    let rate_hz = rate_hz(section, USUAL_RATE_HZ);
    let repeat = section.flag("loop").unwrap_or(false);
    Some(StreamDriver::Folder(FolderSettings { folder: folder?, order, rate_hz, repeat }))
}

pub(super) fn http_mjpeg(section: &mut Section<'_>, config_folder: &Path) -> Option<StreamDriver> {
    const EXPECTED: &str = "an address such as http://camera.local:8080/stream";
    section.require("url", EXPECTED);
    let check = |text: &str| text.parse::<HttpUrl>().map(|_| ()).map_err(|error| error.to_string());
    let url = section.checked_text("url", EXPECTED, check);
    let user = section.text("username", "the camera's user").map(|(user, _)| user);
    let password_file = section.path("password_file", config_folder, "a file with the password");
    let login = match (user, password_file) {
        (Some(user), Some(file)) => Some((user, file)),
        (None, None) => None,
        _ => {
            section.problem("`username` and `password_file` go together");
            None
        }
    };
    let rate_hz = rate_hz(section, USUAL_RATE_HZ);
    Some(StreamDriver::HttpMjpeg(HttpMjpegSettings { url: url?.parse().ok()?, login, rate_hz }))
}

pub(super) fn command(section: &mut Section<'_>) -> Option<StreamDriver> {
    section.require("command", "a program and its arguments, as a list of texts");
    let command = section.texts("command");
    let command = command.map(|texts| texts.into_iter().map(|(text, _)| text).collect::<Vec<_>>());
    let names_none = |command: &Vec<String>| command.first().is_none_or(|program| program.trim().is_empty());
    if command.as_ref().is_some_and(names_none) {
        section.problem("`command` names no program");
    }
    section.require("output", &format!("what the program writes, one of {}", OUTPUTS.join(", ")));
    let Some(output) = section.word("output", &OUTPUTS) else {
        section.forget_rest();
        return None;
    };
    let output = match output {
        "mjpeg" => CommandOutput::Mjpeg { rate_hz: rate_hz(section, USUAL_RATE_HZ) },
        "s16le" => pcm(section, PcmEncoding::S16Le),
        "f32le" => pcm(section, PcmEncoding::F32Le),
        layout => frames(section, layout)?,
    };
    Some(StreamDriver::Command(CommandSettings { command: command?, output }))
}

fn pcm(section: &mut Section<'_>, encoding: PcmEncoding) -> CommandOutput {
    let sample_rate_hz = section.integer("sample_rate_hz", 8000..=192_000).unwrap_or(16_000);
    let channels = section.integer("channels", 1..=64).unwrap_or(1);
    let channel = section.integer("channel", 0..=63).unwrap_or(0);
    if channel >= channels {
        section.problem(format!("`channel` is {channel}, but there are {channels}, counted from 0"));
    }
    CommandOutput::Pcm { encoding, sample_rate_hz, channels, channel }
}

fn frames(section: &mut Section<'_>, layout: &str) -> Option<CommandOutput> {
    for key in ["width_px", "height_px"] {
        section.require(key, "raw frames do not tell their size");
    }
    let width_px = section.integer("width_px", 2..=8192);
    let height_px = section.integer("height_px", 2..=8192);
    let is_odd = |side: Option<u32>| side.is_some_and(|side| !side.is_multiple_of(2));
    if is_odd(width_px) && matches!(layout, "yuyv" | "nv12") || is_odd(height_px) && layout == "nv12" {
        section.problem(format!("frames in {layout} have even sides"));
    }
    let layout = match layout {
        "rgb24" => RawLayout::Rgb24,
        "grey8" => RawLayout::Grey8,
        "yuyv" => RawLayout::Yuyv,
        "nv12" => RawLayout::Nv12,
        "y16" => {
            let kelvin_per_step = Some(section.number("kelvin_per_step", 0.001..=1.0).unwrap_or(0.01));
            let thermal = ThermalLayout::Y16 { telemetry_rows: 0, kelvin_per_step };
            RawLayout::Thermal(thermal, celsius_range(section, USUAL_CELSIUS))
        }
        _ => RawLayout::Depth(section.number("metres_per_step", 0.000_001..=1.0).unwrap_or(0.001)),
    };
    let rate_hz = rate_hz(section, USUAL_RATE_HZ);
    Some(CommandOutput::Frames { layout, width_px: width_px?, height_px: height_px?, rate_hz })
}
