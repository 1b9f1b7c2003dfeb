//! Sensors, or the recording in their place.

use std::path::Path;

use crate::modality::{Modality, SensorId};
use crate::sensors::{DriverSettings, SensorSettings};

use super::resolve::{HOP_SECS, topic_name};
use super::section::Section;
use super::settings::{HopSettings, ReplaySettings, SourceSettings};
use crate::recording::{Speed, Stamp, TopicSettings};

const DRIVERS: [&str; 5] = ["v4l", "nokhwa", "microphone", "witmotion", "gy_mcu90640"];
const SERIAL_BAUDS: [u32; 9] = [9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600, 1_000_000];
const FOURCCS: [&str; 4] = ["YUYV", "MJPG", "NV12", "GREY"];

const SENSES: [Modality; 5] = [Modality::Image, Modality::Audio, Modality::Thermal, Modality::Depth, Modality::Imu];

/// `[sensors.*]` or `[replay]`.
pub(super) fn source(file: &mut Section<'_>, folder: &Path, windows: &mut HopSettings) -> SourceSettings {
    let (has_sensors, has_replay) = (file.has("sensors"), file.has("replay"));
    if has_sensors && has_replay {
        file.problem("[replay] stands in the place of [sensors]: leave one of them out");
    }
    let sensors = sensors(file, windows);
    let mut replay_section = file.section("replay");
    if has_replay {
        return SourceSettings::Replay(replay(&mut replay_section, folder));
    }
    if sensors.is_empty() && !has_sensors {
        file.missing("sensors", "add a [sensors.<name>] section, or [replay] with a recording");
    }
    SourceSettings::Sensors(sensors)
}

fn sensors(file: &mut Section<'_>, windows: &mut HopSettings) -> Vec<SensorSettings> {
    let mut sensors = Vec::new();
    for (name, mut section) in file.named_sections("sensors") {
        let id = SensorId::new(&name);
        if let Err(what) = topic_name(&name) {
            section.problem(what);
        }
        let hop_secs = section.number("hop_secs", HOP_SECS);
        let time_offset_ms = section.number("time_offset_ms", -10_000.0..=10_000.0).unwrap_or(0.0);
        let driver = driver(&mut section);
        if let (Ok(id), Some(driver)) = (id, driver) {
            if let Some(hop_secs) = hop_secs {
                windows.by_sensor_secs.insert(id.clone(), hop_secs);
            }
            sensors.push(SensorSettings { id, time_offset_ms, driver });
        }
    }
    sensors
}

fn driver(section: &mut Section<'_>) -> Option<DriverSettings> {
    if !section.has("driver") {
        section.missing("driver", &format!("one of {}", DRIVERS.join(", ")));
    }
    let Some(driver) = section.word("driver", &DRIVERS) else {
        section.forget_rest();
        return None;
    };
    match driver {
        "v4l" => v4l(section),
        "nokhwa" => Some(DriverSettings::Nokhwa {
            index: section.integer("index", 0..=63).unwrap_or(0),
            width_px: width_px(section),
            height_px: height_px(section),
            rate_hz: rate_hz(section),
        }),
        "microphone" => Some(DriverSettings::Microphone {
            host: section.text("host", "a sound system such as alsa").map(|(host, _)| host),
            device: section.text("device", "a device's name").map(|(device, _)| device),
            sample_rate_hz: section.integer("sample_rate_hz", 8000..=192_000),
        }),
        "witmotion" => serial(section).map(|(device, baud)| DriverSettings::WitMotion { device, baud }),
        _ => serial(section).map(|(device, baud)| DriverSettings::GyMcu90640 { device, baud }),
    }
}

fn v4l(section: &mut Section<'_>) -> Option<DriverSettings> {
    let device = section.required_text("device", "a camera such as /dev/v4l/by-id/… or /dev/video0");
    let (width_px, height_px, rate_hz) = (width_px(section), height_px(section), rate_hz(section));
    let fourcc = section.word("fourcc", &FOURCCS).map(str::to_owned);
    Some(DriverSettings::V4l { device: device?.0, width_px, height_px, rate_hz, fourcc })
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

fn serial(section: &mut Section<'_>) -> Option<(String, u32)> {
    let device = section.required_text("device", "a serial port such as /dev/serial/by-id/…");
    let baud = section.integer("baud", 1200..=4_000_000).unwrap_or(115_200);
    if !SERIAL_BAUDS.contains(&baud) {
        section.problem(format!("`baud` is {baud}: serial ports run at one of {SERIAL_BAUDS:?}"));
    }
    Some((device?.0, baud))
}

fn replay(section: &mut Section<'_>, folder: &Path) -> ReplaySettings {
    if !section.has("recording") {
        section.missing("recording", "an MCAP file");
    }
    let recording = section.file("recording", folder, "an MCAP file").unwrap_or_default();
    let speed = match section.word_or_number("speed", "max", 0.01..=1000.0) {
        Some(times) => times.map_or(Speed::Max, Speed::Real),
        None => Speed::Real(1.0),
    };
    let repeat = section.flag("loop").unwrap_or(false);
    let topics =
        section.named_sections("topics").into_iter().filter_map(|(name, mut section)| topic(&name, &mut section));
    ReplaySettings { recording, speed, repeat, topics: topics.collect() }
}

/// `[replay.topics.<sensor>]`.
fn topic(name: &str, section: &mut Section<'_>) -> Option<TopicSettings> {
    if let Err(what) = topic_name(name) {
        section.problem(what);
    }
    let topic = section.required_text("topic", "a topic of the recording, such as /camera/image_raw");
    let modality = section.word("modality", &SENSES.map(Modality::name));
    let stamp = section.word("stamp", &["header", "arrival"]);
    let usual = TopicSettings::new(SensorId::new(name).ok()?, &topic?.0);
    Some(TopicSettings {
        modality: modality.and_then(|name| name.parse().ok()),
        stamp: if stamp == Some("arrival") { Stamp::Arrival } else { Stamp::Header },
        sample_rate_hz: section.integer("sample_rate_hz", 1000..=384_000_u32).unwrap_or(usual.sample_rate_hz),
        channels: section.integer("channels", 1..=64_u16).unwrap_or(usual.channels),
        celsius_per_step: section.number("celsius_per_step", 1e-6..=100.0).unwrap_or(usual.celsius_per_step),
        celsius_at_zero: section.number("celsius_at_zero", -1000.0..=1000.0).unwrap_or(usual.celsius_at_zero),
        ..usual
    })
}
