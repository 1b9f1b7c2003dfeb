//! Sensors, one file a family, or the recording in their place.

mod camera;
mod imu;
mod microphone;
mod serial_port;
mod stream;
mod thermal_array;

use std::path::Path;

use super::resolve::{HOP_SECS, topic_name};
use super::section::Section;
use super::settings::{HopSettings, ReplaySettings, SourceSettings};
use crate::modality::{Modality, SensorId};
use crate::recording::{Speed, Stamp, TopicSettings, conflict};
use crate::sensors::{DriverSettings, SensorSettings};

const DRIVERS: [&str; 17] = [
    "v4l",
    "v4l_thermal",
    "v4l_depth",
    "nokhwa",
    "folder",
    "http_mjpeg",
    "command",
    "microphone",
    "witmotion",
    "mavlink",
    "iio",
    "text_line",
    "vectornav",
    "xsens",
    "bno08x_rvc",
    "gy_mcu90640",
    "serial_array",
];

const SENSES: [Modality; 5] = [Modality::Image, Modality::Audio, Modality::Thermal, Modality::Depth, Modality::Imu];

/// `[sensors.*]` or `[replay]`, and the sensors that are turned off.
pub(super) fn source(
    file: &mut Section<'_>,
    folder: &Path,
    windows: &mut HopSettings,
) -> (SourceSettings, Vec<SensorSettings>) {
    let (has_sensors, has_replay) = (file.has("sensors"), file.has("replay"));
    if has_sensors && has_replay {
        file.problem("[replay] stands in the place of [sensors]: leave one of them out");
    }
    let (sensors, off) = sensors(file, folder, windows);
    let mut replay_section = file.section("replay");
    if has_replay {
        return (SourceSettings::Replay(replay(&mut replay_section, folder)), Vec::new());
    }
    if !has_sensors {
        file.missing("sensors", "add a [sensors.<name>] section, or [replay] with a recording");
    }
    (SourceSettings::Sensors(sensors), off)
}

/// The sensors that are on, and those that are off.
fn sensors(
    file: &mut Section<'_>,
    folder: &Path,
    windows: &mut HopSettings,
) -> (Vec<SensorSettings>, Vec<SensorSettings>) {
    let (mut on, mut off) = (Vec::<SensorSettings>::new(), Vec::new());
    for (name, mut section) in file.named_sections("sensors") {
        let id = SensorId::new(&name);
        if let Err(what) = topic_name(&name) {
            section.problem(what);
        }
        let enabled = section.flag("enabled").unwrap_or(true);
        let hop_secs = section.number("hop_secs", HOP_SECS);
        let time_offset_ms = section.number("time_offset_ms", -10_000.0..=10_000.0).unwrap_or(0.0);
        let driver = driver(&mut section, folder);
        if let (Ok(id), Some(driver)) = (id, driver) {
            if let Some(hop_secs) = hop_secs {
                windows.by_sensor_secs.insert(id.clone(), hop_secs);
            }
            if let Some(other) = on.iter().find(|other| enabled && is_on_one_device(other, &driver)) {
                section.problem(format!("its device is that of `{}` too, and only one of them can open it", other.id));
            }
            let list = if enabled { &mut on } else { &mut off };
            list.push(SensorSettings { id, time_offset_ms, driver });
        }
    }
    (on, off)
}

fn is_on_one_device(other: &SensorSettings, driver: &DriverSettings) -> bool {
    driver.sole_device().is_some_and(|device| other.driver.sole_device() == Some(device))
}

fn driver(section: &mut Section<'_>, folder: &Path) -> Option<DriverSettings> {
    section.require("driver", &format!("one of {}", DRIVERS.join(", ")));
    let Some(driver) = section.word("driver", &DRIVERS) else {
        section.forget_rest();
        return None;
    };
    Some(match driver {
        "v4l" => DriverSettings::Camera(camera::v4l(section)?),
        "v4l_thermal" => DriverSettings::Camera(camera::v4l_thermal(section)?),
        "v4l_depth" => DriverSettings::Camera(camera::v4l_depth(section)?),
        "nokhwa" => DriverSettings::Camera(camera::nokhwa(section)),
        "folder" => DriverSettings::Stream(stream::folder(section, folder)?),
        "http_mjpeg" => DriverSettings::Stream(stream::http_mjpeg(section, folder)?),
        "command" => DriverSettings::Stream(stream::command(section)?),
        "microphone" => DriverSettings::Microphone(microphone::microphone(section)),
        "gy_mcu90640" => DriverSettings::ThermalArray(thermal_array::gy_mcu90640(section)?),
        "serial_array" => DriverSettings::ThermalArray(thermal_array::serial_array(section)?),
        imu => DriverSettings::Imu(imu::imu(imu, section)?),
    })
}

fn replay(section: &mut Section<'_>, folder: &Path) -> ReplaySettings {
    section.require("recording", "an MCAP file");
    let recording = section.file("recording", folder, "an MCAP file").unwrap_or_default();
    let speed = match section.word_or_number("speed", "max", 0.01..=1000.0) {
        Some(times) => times.map_or(Speed::Max, Speed::Real),
        None => Speed::Real(1.0),
    };
    let repeat = section.flag("loop").unwrap_or(false);
    let topics =
        section.named_sections("topics").into_iter().filter_map(|(name, mut section)| topic(&name, &mut section));
    let topics: Vec<TopicSettings> = topics.collect();
    if let Some(what) = conflict(&topics) {
        section.problem(format!("topics: {what}"));
    }
    ReplaySettings { recording, speed, repeat, topics }
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
