//! What a config resolves to, with the defaults of every key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::encoders::ModalityFacts;
use crate::modality::{Modality, SensorId};
use crate::prompts::PromptSettings;
use crate::publish::{BrokerAddress, Credentials, PublishSettings};
use crate::recording::{Speed, TopicSettings};
use crate::sensors::SensorSettings;
use crate::space::JointSettings;
use crate::windows::WindowSettings;

use super::ConfigError;

/// A checked config.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Folder of the model pack.
    pub pack: PathBuf,
    /// Names, broker, outbox; [`Self::publish`] adds the credentials.
    pub publish_without_credentials: PublishSettings,
    /// How to log in to the broker.
    pub login: Option<LoginSettings>,
    /// Where samples come from.
    pub source: SourceSettings,
    /// How samples are cut.
    pub windows: HopSettings,
    /// What to look for.
    pub prompts: Vec<PromptSettings>,
    /// The joint vector.
    pub joint: JointRule,
    /// How scores become boxes.
    pub detect: crate::detect::Settings,
    /// How scores become events.
    pub events: crate::events::Settings,
    /// The least severe log line that is written.
    pub log: LogLevel,
}

impl Settings {
    /// A replay with the defaults of every other key, for the command line; nothing of it is published.
    #[must_use]
    pub fn of_replay(pack: PathBuf, replay: ReplaySettings, prompts: Vec<PromptSettings>) -> Self {
        let nowhere = BrokerAddress { host: "localhost".to_owned(), port: 1883 };
        Self {
            pack,
            publish_without_credentials: PublishSettings::new(nowhere, "default", "replay"),
            login: None,
            source: SourceSettings::Replay(replay),
            windows: HopSettings::default(),
            prompts,
            joint: JointRule::default(),
            detect: crate::detect::Settings::default(),
            events: crate::events::Settings::default(),
            log: LogLevel::default(),
        }
    }

    /// Settings of `publish`, with the password as its file holds it now.
    ///
    /// # Errors
    /// When the password file cannot be read.
    pub fn publish(&self) -> Result<PublishSettings, ConfigError> {
        let credentials = self.login.as_ref().map(LoginSettings::credentials).transpose()?;
        Ok(PublishSettings { credentials, ..self.publish_without_credentials.clone() })
    }

    /// Settings of `windows` for one sensor, with what the pack says about its sense.
    #[must_use]
    pub fn window(&self, sensor: &SensorId, modality: Modality, facts: &ModalityFacts) -> WindowSettings {
        WindowSettings {
            sensor: sensor.clone(),
            modality,
            window_secs: facts.window_secs,
            hop_secs: self.windows.of(sensor, modality),
            rate_hz: facts.rate_hz,
            lateness_secs: self.windows.lateness_secs,
        }
    }

    /// Settings of the joint vector for one sense: the config's weight, else the pack's; fresh for two periods of its slowest sensor
    /// or of the joint vector, whichever is longer.
    #[must_use]
    pub fn joint(&self, modality: Modality, sensors: &[SensorId], facts: &ModalityFacts) -> JointSettings {
        let hops = sensors.iter().map(|sensor| self.windows.of(sensor, modality));
        let slowest_hop_secs = hops.fold(self.joint.hop_secs, f64::max);
        let weight = self.joint.weights.get(&modality).copied().unwrap_or(facts.joint_weight);
        JointSettings { weight, horizon_secs: 2.0 * slowest_hop_secs }
    }
}

/// How to log in to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSettings {
    /// User name.
    pub username: String,
    /// File whose first line is the password; without one the password is empty.
    pub password_file: Option<PathBuf>,
}

impl LoginSettings {
    fn credentials(&self) -> Result<Credentials, ConfigError> {
        let password = match &self.password_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|source| ConfigError::Password { path: path.clone(), source })?;
                text.lines().next().unwrap_or_default().to_owned()
            }
            None => String::new(),
        };
        Ok(Credentials { username: self.username.clone(), password })
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
    /// Topics that are sensors, of a recording that another program made.
    pub topics: Vec<TopicSettings>,
}

/// How samples are cut into windows; lengths and rates come from the pack.
#[derive(Clone, Debug, PartialEq)]
pub struct HopSettings {
    /// How long after its end a window waits for late samples, in seconds.
    pub lateness_secs: f64,
    /// From one window's start to the next, by sense, in seconds.
    pub by_sense_secs: BTreeMap<Modality, f64>,
    /// The same for single sensors that differ.
    pub by_sensor_secs: BTreeMap<SensorId, f64>,
}

impl HopSettings {
    /// A hop where nothing else is said: 5 frames a second of a camera, 2 windows a second of the other senses.
    pub(super) const fn usual_secs(modality: Modality) -> f64 {
        match modality {
            Modality::Image => 0.2,
            _ => 0.5,
        }
    }

    /// The hop of one sensor, in seconds.
    #[must_use]
    pub fn of(&self, sensor: &SensorId, modality: Modality) -> f64 {
        let of_sense = || self.by_sense_secs.get(&modality).copied().unwrap_or(Self::usual_secs(modality));
        self.by_sensor_secs.get(sensor).copied().unwrap_or_else(of_sense)
    }
}

impl Default for HopSettings {
    fn default() -> Self {
        Self { lateness_secs: 0.2, by_sense_secs: BTreeMap::new(), by_sensor_secs: BTreeMap::new() }
    }
}

/// The joint vector.
#[derive(Clone, Debug, PartialEq)]
pub struct JointRule {
    /// From one joint vector to the next, in seconds.
    pub hop_secs: f64,
    /// Weights that differ from the pack's.
    pub weights: BTreeMap<Modality, f32>,
}

impl Default for JointRule {
    fn default() -> Self {
        Self { hop_secs: 0.5, weights: BTreeMap::new() }
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
