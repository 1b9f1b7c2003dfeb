//! From the tree of the file to settings: sections and keys, then what must fit together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::modality::{Modality, is_name};

use super::document::{Node, Value, parse};
use super::problem::Findings;
use super::prompts::prompts;
use super::section::Section;
use super::sensors::source;
use super::settings::{
    DetectSettings, EventSettings, JointSettings, LogLevel, MqttSettings, RobotSettings, Settings, SourceSettings,
    WindowsSettings,
};

/// Shortest and longest time from one window to the next, in seconds.
pub(super) const HOP_SECS: std::ops::RangeInclusive<f64> = 0.01..=60.0;

/// Settings of what `table` holds. They are of use only when `findings` has no problem in the end.
pub(super) fn resolve(table: BTreeMap<String, Node>, folder: &Path, findings: &Findings) -> Settings {
    let mut file = Section::new(String::new(), None, table, findings);
    let robot = robot(&mut file.section("robot"));
    let pack = pack(&mut file.section("pack"), folder);
    let mqtt = mqtt(&mut file.section("mqtt"), &robot, folder);
    let mut windows = windows(&mut file.section("windows"));
    let source = source(&mut file, folder, &mut windows);
    let prompts = prompts(&mut file, folder, &source);
    let joint = joint(&mut file.section("joint"));
    let detect = detect(&mut file.section("detect"));
    let events = events(&mut file.section("events"));
    let log = log(&mut file.section("log"));
    let settings = Settings { robot, pack, mqtt, source, windows, prompts, joint, detect, events, log };
    check_hops(&settings, findings);
    settings
}

/// Whether `name` can stand in a topic; `Err` says how it should be.
pub(super) fn topic_name(name: &str) -> Result<(), String> {
    let what = || format!("\"{name}\" cannot stand in a topic: use 1 to 32 of a-z, 0-9, `_`, `-`");
    if is_name(name) { Ok(()) } else { Err(what()) }
}

fn robot(section: &mut Section<'_>) -> RobotSettings {
    let fleet = section.checked_text("fleet", "the fleet's name", topic_name).unwrap_or_else(|| "default".to_owned());
    if !section.has("name") {
        section.missing("name", "the robot's name, unique in its fleet");
    }
    let name = section.checked_text("name", "the robot's name", topic_name).unwrap_or_default();
    RobotSettings { fleet, name }
}

fn pack(section: &mut Section<'_>, folder: &Path) -> PathBuf {
    let Some((text, line)) = section.required_text("path", "the model pack's folder") else { return PathBuf::new() };
    let path = folder.join(text);
    if !path.join("pack.toml").is_file() {
        let what = if path.is_dir() { "holds no pack.toml" } else { "is no folder" };
        let hint = "(a relative path counts from the config's folder)";
        section.findings.add(line, section.key("path"), format!("{} {what} {hint}", path.display()));
    }
    path
}

fn mqtt(section: &mut Section<'_>, robot: &RobotSettings, folder: &Path) -> MqttSettings {
    let usual = MqttSettings::new(robot);
    MqttSettings {
        host: section.checked_text("host", "the broker's host name or address", host_name).unwrap_or(usual.host),
        port: section.integer("port", 1..=u16::MAX).unwrap_or(usual.port),
        client_id: section.checked_text("client_id", "a client id", client_id).unwrap_or(usual.client_id),
        username: section.text("username", "a user name").map(|(name, _)| name),
        password_file: section.path("password_file", folder, "a file that holds the password"),
        keep_alive_secs: section.integer("keep_alive_secs", 5..=3600).unwrap_or(usual.keep_alive_secs),
        outbox_max_events: section.integer("outbox_max_events", 1..=1_000_000).unwrap_or(usual.outbox_max_events),
        outbox_max_bytes: section.integer("outbox_max_bytes", 65_536..=1_073_741_824).unwrap_or(usual.outbox_max_bytes),
    }
}

fn host_name(host: &str) -> Result<(), String> {
    if host.contains("://") {
        return Err(format!("\"{host}\" is an address of the web: give the host alone, and its `port`"));
    }
    let plain = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]%".contains(c));
    let with_port = host.matches(':').count() == 1;
    match (plain, with_port) {
        (true, false) => Ok(()),
        (true, true) => Err(format!("\"{host}\" holds a port: give it as `port`")),
        (false, _) => Err(format!("\"{host}\" is no host name or address")),
    }
}

fn client_id(id: &str) -> Result<(), String> {
    let fits = id.len() <= 128 && id.chars().all(|c| c.is_ascii_graphic());
    if fits { Ok(()) } else { Err("use up to 128 letters, digits and signs without spaces".to_owned()) }
}

fn windows(section: &mut Section<'_>) -> WindowsSettings {
    let usual = WindowsSettings::default();
    let keys = [
        ("image_hop_secs", Modality::Image),
        ("audio_hop_secs", Modality::Audio),
        ("thermal_hop_secs", Modality::Thermal),
        ("depth_hop_secs", Modality::Depth),
        ("imu_hop_secs", Modality::Imu),
    ];
    let lateness_secs = section.number("lateness_secs", 0.0..=5.0).unwrap_or(usual.lateness_secs);
    let hop_secs = keys.map(|(key, modality)| {
        (modality, section.number(key, HOP_SECS).unwrap_or(WindowsSettings::default_hop_secs(modality)))
    });
    WindowsSettings { lateness_secs, hop_secs: hop_secs.into(), ..usual }
}

fn joint(section: &mut Section<'_>) -> JointSettings {
    let hop_secs = section.number("hop_secs", HOP_SECS).unwrap_or(JointSettings::default().hop_secs);
    let mut weights = section.section("weights");
    let keys = [
        ("image", Modality::Image),
        ("audio", Modality::Audio),
        ("thermal", Modality::Thermal),
        ("depth", Modality::Depth),
        ("imu", Modality::Imu),
    ];
    let given =
        keys.into_iter().filter_map(|(key, modality)| Some((modality, weights.number(key, 0.0..=1000.0)? as f32)));
    let weights: BTreeMap<Modality, f32> = given.collect();
    if weights.len() == keys.len() && weights.values().all(|weight| *weight == 0.0) {
        section.problem("all weights are 0: the joint vector would be made of nothing");
    }
    JointSettings { hop_secs, weights }
}

fn detect(section: &mut Section<'_>) -> DetectSettings {
    let usual = DetectSettings::default();
    DetectSettings {
        max_boxes: section.integer("max_boxes", 1..=100).unwrap_or(usual.max_boxes),
        nms_iou: section.number("nms_iou", 0.0..=1.0).map_or(usual.nms_iou, |iou| iou as f32),
    }
}

fn events(section: &mut Section<'_>) -> EventSettings {
    let usual = EventSettings::default();
    let median_windows = section.integer("median_windows", 1..=99).unwrap_or(usual.median_windows);
    if median_windows.is_multiple_of(2) {
        let what = format!("`median_windows` is {median_windows}: a median needs an odd number");
        section.problem(what);
    }
    let events = EventSettings {
        median_windows,
        exit_odds_ratio: section
            .number("exit_odds_ratio", 1.0..=1000.0)
            .map_or(usual.exit_odds_ratio, |ratio| ratio as f32),
        min_on_secs: section.number("min_on_secs", 0.0..=3600.0).unwrap_or(usual.min_on_secs),
        min_off_secs: section.number("min_off_secs", 0.0..=3600.0).unwrap_or(usual.min_off_secs),
        max_len_secs: section.number("max_len_secs", 1.0..=86_400.0).unwrap_or(usual.max_len_secs),
        cooldown_secs: section.number("cooldown_secs", 0.0..=86_400.0).unwrap_or(usual.cooldown_secs),
        update_secs: section.number("update_secs", 0.1..=3600.0).unwrap_or(usual.update_secs),
        stale_secs: section.number("stale_secs", 0.5..=3600.0).unwrap_or(usual.stale_secs),
    };
    if events.min_on_secs >= events.max_len_secs {
        let (on, len) = (events.min_on_secs, events.max_len_secs);
        section.problem(format!("`min_on_secs` ({on}) must be less than `max_len_secs` ({len})"));
    }
    events
}

fn log(section: &mut Section<'_>) -> LogLevel {
    let word = section.word("level", &LogLevel::ALL.map(LogLevel::name));
    LogLevel::ALL.into_iter().find(|level| Some(level.name()) == word).unwrap_or_default()
}

/// Between windows that do not touch, sound and motion would go unheard: a hop is at most a window of the pack.
fn check_hops(settings: &Settings, findings: &Findings) {
    let Ok(text) = std::fs::read_to_string(settings.pack.join("pack.toml")) else { return };
    // A manifest that cannot be read is told by whoever opens the pack.
    let manifest = parse(&text, &Findings::default());
    for modality in [Modality::Audio, Modality::Imu] {
        let Some(window_secs) = window_secs(&manifest, modality) else { continue };
        let too_long = |hop_secs: f64| hop_secs > window_secs;
        let what = |hop_secs: f64| format!("{hop_secs} is longer than the pack's window for {modality}, {window_secs}");
        let general = settings.windows.hop_secs.get(&modality).copied().unwrap_or_default();
        if too_long(general) {
            findings.add(None, format!("windows.{modality}_hop_secs"), what(general));
        }
        let SourceSettings::Sensors(sensors) = &settings.source else { continue };
        for sensor in sensors.iter().filter(|sensor| sensor.driver.modality() == modality) {
            if let Some(hop_secs) =
                settings.windows.sensor_hop_secs.get(&sensor.id).copied().filter(|hop| too_long(*hop))
            {
                findings.add(None, format!("sensors.{}.hop_secs", sensor.id), what(hop_secs));
            }
        }
    }
}

fn window_secs(manifest: &BTreeMap<String, Node>, modality: Modality) -> Option<f64> {
    let Value::Table(section) = &manifest.get(modality.name())?.value else { return None };
    match section.get("window_secs")?.value {
        Value::Number(secs) => Some(secs),
        Value::Integer(secs) => Some(secs as f64),
        _ => None,
    }
}
