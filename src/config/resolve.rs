//! From the tree of the file to settings: sections and keys, then what must fit together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::read_text_at_most;
use crate::modality::{Modality, is_name};
use crate::publish::{BrokerAddress, MqttVersion, PublishSettings, broker_host};
use crate::sensors::SensorSettings;
use crate::{detect, events};

use super::MOST_BYTES;
use super::document::{Node, Value, parse};
use super::problem::Findings;
use super::prompts::prompts;
use super::section::Section;
use super::sensors::source;
use super::settings::{
    CREDENTIAL, HopSettings, JointRule, LogLevel, LoginSettings, RemoteSettings, Settings, SourceSettings, TlsFiles,
    Winner,
};

/// Shortest and longest time from one window to the next, in seconds.
pub(super) const HOP_SECS: std::ops::RangeInclusive<f64> = 0.01..=60.0;

/// The authorities that Debian's package ca-certificates trusts.
const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Settings of what `table` holds, with defaults for what is wrong. Only when `findings` has no problem in the end is it what was meant.
pub(super) fn resolve(table: BTreeMap<String, Node>, folder: &Path, findings: &Findings) -> Settings {
    let mut file = Section::new(String::new(), None, table, findings);
    let (fleet, robot) = robot(&mut file.section("robot"));
    let pack = pack(&mut file.section("pack"), folder);
    let mut mqtt = file.section("mqtt");
    let tls = tls(&mut mqtt, folder);
    let mut publish_without_credentials = publish(&mut mqtt, &fleet, &robot, tls.is_some());
    publish_without_credentials.home_assistant = home_assistant(&mut file);
    let login = login(&mut mqtt, folder);
    drop(mqtt);
    let mut windows = windows(&mut file.section("windows"));
    let (source, sensors_off) = source(&mut file, folder, &mut windows);
    let prompts = prompts(&mut file, folder, &served(&source, &sensors_off));
    let joint = joint(&mut file.section("joint"));
    let detect = read_detect(&mut file.section("detect"));
    let events = read_events(&mut file.section("events"));
    let (state_folder, sync_within) = state(&mut file.section("state"), folder);
    let log = log(&mut file.section("log"));
    let remote = remote(&mut file.section("remote"));
    let settings = Settings {
        pack,
        publish_without_credentials,
        login,
        tls,
        source,
        sensors_off,
        windows,
        prompts,
        joint,
        detect,
        events,
        state_folder,
        sync_within,
        log,
        remote,
    };
    check_hops(&settings, findings);
    settings
}

/// Whether `name` can stand in a topic; `Err` says how it should be.
pub(super) fn topic_name(name: &str) -> Result<(), String> {
    let what = || format!("\"{name}\" cannot stand in a topic: use 1 to 32 of a-z, 0-9, `_`, `-`");
    if is_name(name) { Ok(()) } else { Err(what()) }
}

/// Names of the fleet and of the robot.
fn robot(section: &mut Section<'_>) -> (String, String) {
    let fleet = section.checked_text("fleet", "the fleet's name", topic_name).unwrap_or_else(|| "default".to_owned());
    section.require("name", "the robot's name, unique in its fleet");
    (fleet, section.checked_text("name", "the robot's name", topic_name).unwrap_or_default())
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

fn publish(section: &mut Section<'_>, fleet: &str, robot: &str, has_tls: bool) -> PublishSettings {
    let host = section.checked_text("host", "the broker's host name or address", |host| broker_host(host).map(drop));
    let host = host.and_then(|host| broker_host(&host).ok());
    let websocket_path = section.checked_text("websocket_path", "the path of the broker's WebSocket", url_path);
    let usual_port = match (websocket_path.is_some(), has_tls) {
        (false, false) => 1883,
        (false, true) => 8883,
        (true, false) => 80,
        (true, true) => 443,
    };
    let port = section.integer("port", 1..=u16::MAX).unwrap_or(usual_port);
    let broker = BrokerAddress { host: host.unwrap_or_else(|| "localhost".to_owned()), port };
    let mut publish = PublishSettings::new(broker, fleet, robot);
    let versions = [MqttVersion::V5, MqttVersion::V311];
    let version = section.word("version", &["auto", MqttVersion::V5.name(), MqttVersion::V311.name()]);
    publish.broker.version = versions.into_iter().find(|known| Some(known.name()) == version);
    if publish.broker.address.host.contains('%') && (websocket_path.is_some() || has_tls) {
        section.problem("neither `websocket_path` nor TLS goes with an address that has a zone (`%`)");
    }
    publish.broker.websocket_path = websocket_path;
    if let Some(secs) = section.integer("keep_alive_secs", 1..=3600_u32) {
        publish.keep_alive = Duration::from_secs(secs.into());
    }
    if let Some(events) = section.integer("outbox_max_messages", 1..=1_000_000_u32) {
        publish.outbox.max_records = events as usize;
    }
    if let Some(bytes) = section.integer("outbox_max_bytes", 65_536..=1_073_741_824_u32) {
        publish.outbox.max_bytes = bytes as usize;
    }
    if let Some(secs) = section.integer("outbox_max_age_secs", 60..=31_536_000_u32) {
        publish.outbox.max_age = Duration::from_secs(secs.into());
    }
    publish
}

fn home_assistant(file: &mut Section<'_>) -> Option<String> {
    let is_wanted = file.has("home_assistant");
    let mut section = file.section("home_assistant");
    let prefix = section.checked_text("discovery_prefix", "the discovery prefix of Home Assistant", topic_name);
    is_wanted.then(|| prefix.unwrap_or_else(|| "homeassistant".to_owned()))
}

fn login(section: &mut Section<'_>, folder: &Path) -> Option<LoginSettings> {
    let username = section.text("username", "a user name").map(|(name, _)| name);
    // Whether the file is there is seen when it is read: systemd shows credentials to the service alone.
    let password_file = secret_file(section, "password_file", folder, "a file that holds the password");
    if username.is_none() && password_file.is_some() {
        section.problem("`password_file` without `username`");
    }
    username.map(|username| LoginSettings { username, password_file })
}

/// TLS is on when it is said, or when any of its files is.
fn tls(section: &mut Section<'_>, folder: &Path) -> Option<TlsFiles> {
    let said = section.flag("tls");
    let ca = secret_file(section, "ca_file", folder, "a file with the certificates to trust");
    let cert = secret_file(section, "client_cert_file", folder, "a file with our own certificate");
    let key = secret_file(section, "client_key_file", folder, "a file with our own private key");
    let has_files = ca.is_some() || cert.is_some() || key.is_some();
    if cert.is_some() != key.is_some() {
        section.problem("`client_cert_file` and `client_key_file` go together");
    }
    let ca = ca.unwrap_or_else(|| PathBuf::from(SYSTEM_CA_FILE));
    said.unwrap_or(has_files).then(|| TlsFiles { ca, identity: cert.zip(key) })
}

/// A file that only the service may be able to read: looked at when it is needed. `credential:NAME` stays as it is.
fn secret_file(section: &mut Section<'_>, key: &'static str, folder: &Path, expected: &str) -> Option<PathBuf> {
    let (text, _) = section.text(key, expected)?;
    Some(if text.starts_with(CREDENTIAL) { PathBuf::from(text) } else { folder.join(text) })
}

fn url_path(path: &str) -> Result<(), String> {
    let is_plain = path.chars().all(|c| c.is_ascii_graphic() && !"\"#<>\\^`{|}".contains(c));
    if path.starts_with('/') && is_plain {
        Ok(())
    } else {
        Err(format!("\"{path}\" is no path: it begins with `/`, as in \"/mqtt\", and has neither spaces nor `#`"))
    }
}

fn windows(section: &mut Section<'_>) -> HopSettings {
    let usual = HopSettings::default();
    let keys = [
        ("image_hop_secs", Modality::Image),
        ("audio_hop_secs", Modality::Audio),
        ("thermal_hop_secs", Modality::Thermal),
        ("depth_hop_secs", Modality::Depth),
        ("imu_hop_secs", Modality::Imu),
    ];
    let lateness_secs = section.number("lateness_secs", 0.0..=5.0).unwrap_or(usual.lateness_secs);
    let by_sense = keys
        .map(|(key, modality)| (modality, section.number(key, HOP_SECS).unwrap_or(HopSettings::usual_secs(modality))));
    HopSettings { lateness_secs, by_sense_secs: by_sense.into(), ..usual }
}

fn joint(section: &mut Section<'_>) -> JointRule {
    let hop_secs = section.number("hop_secs", HOP_SECS).unwrap_or(JointRule::default().hop_secs);
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
    JointRule { hop_secs, weights }
}

fn read_detect(section: &mut Section<'_>) -> detect::Settings {
    let usual = detect::Settings::default();
    detect::Settings {
        most_regions: section.integer("most_regions", 1..=64_u16).map_or(usual.most_regions, usize::from),
        grow_share: section.number("grow_share", 0.01..=0.99).map_or(usual.grow_share, |share| share as f32),
        suppression_iou: section.number("suppression_iou", 0.0..=1.0).map_or(usual.suppression_iou, |iou| iou as f32),
        ..usual
    }
}

fn read_events(section: &mut Section<'_>) -> events::Settings {
    let usual = events::Settings::default();
    let median_windows = section.integer("median_windows", 1..=99_u16).map_or(usual.median_windows, usize::from);
    if median_windows.is_multiple_of(2) {
        section.problem(format!("`median_windows` is {median_windows}: a median needs an odd number"));
    }
    let events = events::Settings {
        median_windows,
        exit_odds_ratio: section
            .number("exit_odds_ratio", 1.0..=1000.0)
            .map_or(usual.exit_odds_ratio, |ratio| ratio as f32),
        min_on_secs: section.number("min_on_secs", 0.0..=3600.0).unwrap_or(usual.min_on_secs),
        min_off_secs: section.number("min_off_secs", 0.0..=3600.0).unwrap_or(usual.min_off_secs),
        max_len_secs: section.number("max_len_secs", 1.0..=86_400.0).unwrap_or(usual.max_len_secs),
        cooldown_secs: section.number("cooldown_secs", 0.0..=86_400.0).unwrap_or(usual.cooldown_secs),
        update_secs: section.number("update_secs", 0.1..=3600.0).unwrap_or(usual.update_secs),
        moved_iou: section.number("moved_iou", 0.0..=1.0).map_or(usual.moved_iou, |iou| iou as f32),
        stale_secs: section.number("stale_secs", 0.5..=3600.0).unwrap_or(usual.stale_secs),
    };
    if events.min_on_secs >= events.max_len_secs {
        let (on, len) = (events.min_on_secs, events.max_len_secs);
        section.problem(format!("`min_on_secs` ({on}) must be less than `max_len_secs` ({len})"));
    }
    events
}

fn state(section: &mut Section<'_>, folder: &Path) -> (Option<PathBuf>, Duration) {
    let sync_secs = section.number("sync_secs", 0.01..=60.0).unwrap_or(0.5);
    (section.path("folder", folder, "a folder that perceptd may write to"), Duration::from_secs_f64(sync_secs))
}

fn log(section: &mut Section<'_>) -> LogLevel {
    let word = section.word("level", &LogLevel::ALL.map(LogLevel::name));
    LogLevel::ALL.into_iter().find(|level| Some(level.name()) == word).unwrap_or_default()
}

fn remote(section: &mut Section<'_>) -> RemoteSettings {
    let usual = RemoteSettings::default();
    RemoteSettings {
        enabled: section.flag("enabled").unwrap_or(usual.enabled),
        winner: match section.word("winner", &["topic", "file"]) {
            Some("file") => Winner::File,
            _ => Winner::Topic,
        },
        watch_secs: section.number("watch_secs", 0.5..=60.0).unwrap_or(usual.watch_secs),
        max_commands: section.integer("max_commands", 1..=32_u16).map_or(usual.max_commands, usize::from),
    }
}

/// The senses that the config has sensors for, those that are off among them; none where a recording decides.
pub(super) fn served(source: &SourceSettings, off: &[SensorSettings]) -> Option<Vec<Modality>> {
    let SourceSettings::Sensors(on) = source else { return None };
    let served: Vec<Modality> = on.iter().chain(off).map(|sensor| sensor.driver.modality()).collect();
    (!served.is_empty()).then_some(served)
}

/// Between windows that do not touch, sound and motion would go unheard: a hop is at most a window of the pack.
fn check_hops(settings: &Settings, findings: &Findings) {
    if settings.pack.as_os_str().is_empty() {
        return;
    }
    // A manifest that cannot be read, or is a pipe to wait for, is told elsewhere.
    let file = settings.pack.join("pack.toml");
    let Some(text) = file.is_file().then(|| read_text_at_most(&file, MOST_BYTES).ok()).flatten() else { return };
    let manifest = parse(&text, &Findings::default());
    for modality in [Modality::Audio, Modality::Imu] {
        let Some(window_secs) = window_secs(&manifest, modality) else { continue };
        let too_long = |hop_secs: f64| hop_secs > window_secs;
        let what = |hop_secs: f64| format!("{hop_secs} is longer than the pack's window for {modality}, {window_secs}");
        let general = settings.windows.by_sense_secs.get(&modality).copied().unwrap_or_default();
        if too_long(general) {
            findings.add(None, format!("windows.{modality}_hop_secs"), what(general));
        }
        let SourceSettings::Sensors(sensors) = &settings.source else { continue };
        for sensor in sensors.iter().filter(|sensor| sensor.driver.modality() == modality) {
            if let Some(hop_secs) =
                settings.windows.by_sensor_secs.get(&sensor.id).copied().filter(|hop| too_long(*hop))
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
