//! What a config resolves to, with the defaults of every key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::modality::{Modality, SensorId};
use crate::prompts::PromptSettings;
use crate::sensors::SensorSettings;

/// A checked config.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which robot this is.
    pub robot: RobotSettings,
    /// Folder of the model pack.
    pub pack: PathBuf,
    /// The broker.
    pub mqtt: MqttSettings,
    /// Where samples come from.
    pub source: SourceSettings,
    /// How samples are cut.
    pub windows: WindowsSettings,
    /// What to look for.
    pub prompts: Vec<PromptSettings>,
    /// The joint vector.
    pub joint: JointSettings,
    /// How scores become boxes.
    pub detect: DetectSettings,
    /// How scores become events.
    pub events: EventSettings,
    /// The least severe log line that is written.
    pub log: LogLevel,
}

/// Which robot this is; both names stand in every topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RobotSettings {
    /// Its fleet.
    pub fleet: String,
    /// Its name, unique in the fleet.
    pub name: String,
}

/// The broker and how events wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttSettings {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Client id; `perceptd-<fleet>-<name>` by default.
    pub client_id: String,
    /// User name, where the broker asks for one.
    pub username: Option<String>,
    /// File that holds the password; read at each connection, so that it can be changed.
    pub password_file: Option<PathBuf>,
    /// Longest silence before a ping, in seconds.
    pub keep_alive_secs: u16,
    /// Events that wait for the broker; the oldest go first.
    pub outbox_max_events: u32,
    /// Bytes of events that wait for the broker; the oldest go first.
    pub outbox_max_bytes: u32,
}

impl MqttSettings {
    /// The defaults for this robot.
    #[must_use]
    pub fn new(robot: &RobotSettings) -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 1883,
            client_id: format!("perceptd-{}-{}", robot.fleet, robot.name),
            username: None,
            password_file: None,
            keep_alive_secs: 30,
            outbox_max_events: 10_000,
            outbox_max_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Where samples come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSettings {
    /// Devices.
    Sensors(Vec<SensorSettings>),
    /// A recording in their place.
    Replay(ReplaySettings),
}

/// A recording to be replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplaySettings {
    /// The MCAP file.
    pub recording: PathBuf,
    /// How fast.
    pub speed: Speed,
    /// Starts over at the end.
    pub repeat: bool,
}

/// How fast a recording runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as everything downstream takes it.
    Max,
    /// This many times real time.
    Times(f64),
}

/// How samples are cut into windows; lengths and rates come from the pack.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowsSettings {
    /// How long after its end a window waits for late samples, in seconds.
    pub lateness_secs: f64,
    /// From one window's start to the next, by sense, in seconds.
    pub hop_secs: BTreeMap<Modality, f64>,
    /// The same for single sensors that differ.
    pub sensor_hop_secs: BTreeMap<SensorId, f64>,
}

impl WindowsSettings {
    /// A hop where nothing else is said: 5 frames a second of a camera, 2 windows a second of the other senses.
    pub(super) const fn default_hop_secs(modality: Modality) -> f64 {
        match modality {
            Modality::Image => 0.2,
            _ => 0.5,
        }
    }

    /// The hop of one sensor, in seconds.
    #[must_use]
    pub fn hop_secs(&self, sensor: &SensorId, modality: Modality) -> f64 {
        let of_sense = || self.hop_secs.get(&modality).copied().unwrap_or(Self::default_hop_secs(modality));
        self.sensor_hop_secs.get(sensor).copied().unwrap_or_else(of_sense)
    }
}

impl Default for WindowsSettings {
    fn default() -> Self {
        Self { lateness_secs: 0.2, hop_secs: BTreeMap::new(), sensor_hop_secs: BTreeMap::new() }
    }
}

/// The joint vector.
#[derive(Clone, Debug, PartialEq)]
pub struct JointSettings {
    /// From one joint vector to the next, in seconds.
    pub hop_secs: f64,
    /// Weights that differ from the pack's.
    pub weights: BTreeMap<Modality, f32>,
}

impl Default for JointSettings {
    fn default() -> Self {
        Self { hop_secs: 0.5, weights: BTreeMap::new() }
    }
}

/// How scores become boxes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectSettings {
    /// Most boxes of one prompt in one frame.
    pub max_boxes: u16,
    /// Two boxes of one prompt that overlap by more than this (intersection over union) are one.
    pub nms_iou: f32,
}

impl Default for DetectSettings {
    fn default() -> Self {
        Self { max_boxes: 5, nms_iou: 0.5 }
    }
}

/// How scores over time become events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventSettings {
    /// The median of this many last windows must pass; odd.
    pub median_windows: u16,
    /// An event fades when the odds of a false alarm are this many times those at its threshold.
    pub exit_odds_ratio: f32,
    /// From the first window that fires to `new`, at least, in seconds.
    pub min_on_secs: f64,
    /// Quiet for this long before `end`, in seconds.
    pub min_off_secs: f64,
    /// The longest event, in seconds; what goes on then opens the next.
    pub max_len_secs: f64,
    /// After an end, no new event of this prompt and sensor for this long, in seconds.
    pub cooldown_secs: f64,
    /// At most one `update` in this time, in seconds, unless the box moved clearly.
    pub update_secs: f64,
    /// Without any window for this long the source counts as lost, in seconds.
    pub stale_secs: f64,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self {
            median_windows: 3,
            exit_odds_ratio: 4.0,
            min_on_secs: 0.4,
            min_off_secs: 1.0,
            max_len_secs: 300.0,
            cooldown_secs: 2.0,
            update_secs: 1.0,
            stale_secs: 5.0,
        }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Lost data and failures.
    Error,
    /// And what works less well than it should.
    Warn,
    /// And what an operator wants to see happen.
    #[default]
    Info,
    /// And what a developer wants to see happen.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The name in the config, which is also a filter for the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    pub(super) const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
}
