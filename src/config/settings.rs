//! What a config resolves to, with the defaults of every key.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::encoders::ModalityFacts;
use crate::files::read_at_most;
use crate::modality::{Modality, SensorId};
use crate::prompts::PromptSettings;
use crate::publish::{BrokerAccess, BrokerAddress, Credentials, PublishSettings, TlsSettings};
use crate::recording::{Speed, TopicSettings};
use crate::sensors::SensorSettings;
use crate::space::JointSettings;
use crate::store::events::StoreSettings;
use crate::windows::WindowSettings;

use super::{ConfigError, MOST_BYTES};

/// A checked config.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Folder of the model pack.
    pub pack: PathBuf,
    /// Names, broker, outbox; [`Self::publish`] adds the credentials.
    pub publish_without_credentials: PublishSettings,
    /// How to log in to the broker.
    pub login: Option<LoginSettings>,
    /// The files for TLS; none is plain TCP.
    pub tls: Option<TlsFiles>,
    /// Where samples come from.
    pub source: SourceSettings,
    /// Sensors that the config has, turned off.
    pub sensors_off: Vec<SensorSettings>,
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
    /// Where what must outlive a restart is kept; [`Self::state_folder`] adds systemd's.
    pub state_folder: Option<PathBuf>,
    /// At most this long after an event the disk is told to write it.
    pub sync_within: Duration,
    /// The least severe log line that is written.
    pub log: LogLevel,
    /// Config, prompts and commands by topic.
    pub remote: RemoteSettings,
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
            tls: None,
            source: SourceSettings::Replay(replay),
            sensors_off: Vec::new(),
            windows: HopSettings::default(),
            prompts,
            joint: JointRule::default(),
            detect: crate::detect::Settings::default(),
            events: crate::events::Settings::default(),
            state_folder: None,
            sync_within: StoreSettings::SYNC_WITHIN,
            log: LogLevel::default(),
            remote: RemoteSettings::default(),
        }
    }

    /// Settings of `publish`, with password and certificates as their files hold them now.
    ///
    /// # Errors
    /// When the file of a password, certificate or key cannot be read.
    pub fn publish(&self) -> Result<PublishSettings, ConfigError> {
        let credentials = self.login.as_ref().map(LoginSettings::credentials).transpose()?;
        let tls = self.tls.as_ref().map(TlsFiles::read).transpose()?;
        let store = self
            .state_folder()
            .map(|folder| StoreSettings { sync_within: self.sync_within, ..StoreSettings::new(folder) });
        let publish = self.publish_without_credentials.clone();
        let broker = BrokerAccess { credentials, tls, ..publish.broker };
        Ok(PublishSettings { broker, store, ..publish })
    }

    /// The files that `[mqtt]` names for the login and for TLS, by their keys; not those that systemd shows to the service alone.
    #[must_use]
    pub fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let password = self.login.as_ref().and_then(|login| Some(("password_file", login.password_file.as_deref()?)));
        let ca = self.tls.as_ref().map(|tls| ("ca_file", tls.ca.as_path()));
        let identity = self.tls.as_ref().and_then(|tls| tls.identity.as_ref());
        let ours =
            identity.map(|(cert, key)| [("client_cert_file", cert.as_path()), ("client_key_file", key.as_path())]);
        let all = password.into_iter().chain(ca).chain(ours.into_iter().flatten());
        all.filter(|(_, path)| !path.to_str().is_some_and(|path| path.starts_with(CREDENTIAL))).collect()
    }

    /// The state folder: the config's, else the one that systemd made for the unit (`StateDirectory=`), else none.
    #[must_use]
    pub fn state_folder(&self) -> Option<PathBuf> {
        self.state_folder.clone().or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from))
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

    /// Without any window for this long the sensor counts as lost, in seconds. It gives one a hop, or one a period of its own where that is
    /// longer and known.
    #[must_use]
    pub fn stale_secs(&self, sensor: &SensorId, modality: Modality) -> f64 {
        let of_sensors = if let SourceSettings::Sensors(sensors) = &self.source { sensors.as_slice() } else { &[] };
        let period_secs = of_sensors.iter().find(|known| known.id == *sensor).map(|known| known.driver.period_secs());
        let hop_secs = self.windows.of(sensor, modality);
        let between_secs = period_secs.filter(|secs| secs.is_finite()).map_or(hop_secs, |secs| secs.max(hop_secs));
        self.events.stale_secs_at(between_secs, self.windows.lateness_secs)
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
                let (key, bytes) = ("password_file", secret(path, "password_file")?);
                password(&bytes).map_err(|source| ConfigError::Secret { path: path.clone(), key, source })?
            }
            None => String::new(),
        };
        Ok(Credentials { username: self.username.clone(), password })
    }
}

/// The password in the file of `password_file`: its first line.
///
/// # Errors
/// When that line is empty: without a password there is no file.
pub fn password(bytes: &[u8]) -> io::Result<String> {
    let text = String::from_utf8_lossy(bytes);
    match text.lines().next().filter(|line| !line.trim().is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line, the password, is empty")),
    }
}

/// The files for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust, as PEM.
    pub ca: PathBuf,
    /// Our own certificate and its key, as PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    fn read(&self) -> Result<TlsSettings, ConfigError> {
        let identity = self.identity.as_ref();
        let identity = identity
            .map(|(cert, key)| Ok((secret(cert, "client_cert_file")?, secret(key, "client_key_file")?)))
            .transpose()?;
        Ok(TlsSettings { ca_pem: secret(&self.ca, "ca_file")?, identity_pem: identity })
    }
}

/// What a file holds, or the credential that systemd has for the service: `credential:NAME`.
fn secret(path: &Path, key: &'static str) -> Result<Vec<u8>, ConfigError> {
    let credential = path.to_str().and_then(|path| path.strip_prefix(CREDENTIAL));
    let path = match credential {
        Some(name) => PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY").unwrap_or_default()).join(name),
        None => path.to_owned(),
    };
    read_at_most(&path, MOST_BYTES).map_err(|source| ConfigError::Secret { path, key, source })
}

/// What a credential's name begins with.
pub(super) const CREDENTIAL: &str = "credential:";

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

/// Config, prompts and commands by topic.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteSettings {
    /// Whether perceptd listens to them.
    pub enabled: bool,
    /// Who wins where the file and a topic say different things.
    pub winner: Winner,
    /// How long a changed config is watched before it is kept, in seconds.
    pub watch_secs: f64,
    /// Commands that may be worked on at once.
    pub max_commands: usize,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self { enabled: true, winner: Winner::Topic, watch_secs: 4.0, max_commands: 4 }
    }
}

/// Who wins where the file and a topic say different things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Winner {
    /// The topic: the file is what a robot starts with.
    #[default]
    Topic,
    /// The file: topics may only add what it does not say.
    File,
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
