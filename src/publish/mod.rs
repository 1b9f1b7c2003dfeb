//! Out to the broker: topics, domain → protobuf, the outbox for events, presence, and a subscriber that reads it all back.
//!
//! [`open`] gives two halves: a [`Publisher`], a cheap handle for the threads that compute, whose calls never wait; and a [`Post`],
//! which the daemon's runtime drives. What is encoded comes from windows, events, the timeline and sequence numbers alone, so a
//! replay gives the same bytes. MQTT 5, or 3.1.1, over TCP or TLS, in a WebSocket or not. Generated types stay inside, the MQTT client
//! inside `client`, the broker inside `broker`.

mod access;
mod arrivals;
mod broker;
mod certificates;
mod client;
mod desk;
mod heard;
mod home_assistant;
mod inbox;
mod operator;
mod outbox;
mod post;
mod presence;
mod publisher;
mod report;
mod subscriber;
mod topics;
mod transcript;
mod wire;

use std::time::Duration;

use crate::encoders::{Embedding, SpaceId};
use crate::modality::{Modality, SensorId};
use crate::space::JointPart;
use crate::store::events::{EventStore, StoreError, StoreSettings};
use crate::telemetry::Telemetry;
use crate::time::{self, MonoTime, Span, Timeline};
use crate::windows::Presence;

pub use access::{BrokerAccess, BrokerAddress, Credentials, MqttVersion, TlsSettings, broker_host};
pub use arrivals::{Arrivals, Arrived, RetainHandling, Subscription};
use home_assistant::HomeAssistant;

pub use broker::{BrokerError, EmbeddedBroker};
pub use certificates::{check_authorities, check_identity};
pub use heard::{
    Heard, HeardActive, HeardBox, HeardConfig, HeardEmbedding, HeardEvent, HeardHealth, HeardJoint, HeardMember,
    HeardPrompt, HeardSensor, HeardSensorInfo, HeardStatus,
};
pub use inbox::{
    About, Asked, Command, CommandBody, ConfigWish, Inbox, LONGEST_EXPIRY_SECS, MAX_COMMAND_BYTES, MAX_CONFIG_BYTES,
    MAX_GENERATION, MAX_PARTS, MAX_PROMPT_BYTES, PromptContent, PromptWish, RefusalReason, Refused, ReplyTo,
    payload_digest, prompt_content, subscriptions,
};
pub use operator::{Ingredient, Operator, OperatorError, OperatorSettings, PromptSpec, Reported, matching};
pub use outbox::{Outbox, OutboxCounts, OutboxLimits, Outcome, Record, RecordId, Resent};
pub use post::{Farewell, Post};
pub use publisher::Publisher;
pub use report::{CommandReply, CommandResult, CommandState, ConfigReport, PromptOrigin, PromptReport, SensorSnapshot};
pub use subscriber::{Subscriber, SubscriberSettings};
pub use topics::{ALL_ROBOTS, Class, LISTENED, Qos, Rule, TABLE, Topics, class_of};
pub use transcript::{Said, Transcript};

/// Where and how to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishSettings {
    /// The broker, and how to reach it.
    pub broker: BrokerAccess,
    /// Name of the fleet: 1 to 32 of `a-z 0-9 _ -`.
    pub fleet: String,
    /// Name of the robot: 1 to 32 of `a-z 0-9 _ -`. Also the client id, as `perceptd-<fleet>-<robot>`.
    pub robot: String,
    /// Keep-alive in whole seconds, 1 to 65535; the broker misses a robot after one and a half of it.
    pub keep_alive: Duration,
    /// How long after a lost connection the broker waits before it publishes the will, in whole seconds.
    pub will_delay: Duration,
    /// How long the broker keeps the session of a lost connection, in whole seconds; at least the will delay.
    pub session_expiry: Duration,
    /// First and longest wait between attempts to connect; jittered.
    pub reconnect: (Duration, Duration),
    /// Events that may be offered and not yet acknowledged; the broker's own limit counts if lower.
    pub max_in_flight: u16,
    /// Bounds of the outbox.
    pub outbox: OutboxLimits,
    /// What Home Assistant calls its discovery prefix (`homeassistant`); none when it is told nothing.
    pub home_assistant: Option<String>,
    /// Where events are kept on disk; in memory alone without it, and in a replay.
    pub store: Option<StoreSettings>,
    /// How long a stop waits for events to be acknowledged.
    pub flush: Duration,
}

impl PublishSettings {
    /// The defaults, for a broker and a robot.
    #[must_use]
    pub fn new(address: BrokerAddress, fleet: &str, robot: &str) -> Self {
        Self {
            broker: BrokerAccess::plain(address),
            fleet: fleet.to_owned(),
            robot: robot.to_owned(),
            keep_alive: Duration::from_secs(8),
            will_delay: Duration::from_secs(5),
            session_expiry: Duration::from_secs(60),
            reconnect: (Duration::from_millis(200), Duration::from_secs(30)),
            max_in_flight: 64,
            outbox: OutboxLimits::default(),
            home_assistant: None,
            store: None,
            flush: Duration::from_secs(3),
        }
    }
}

/// What the publisher is given to publish with.
#[derive(Clone, Debug)]
pub struct PublishParts {
    /// Boot id, and how stamps map to the wall clock.
    pub timeline: Timeline,
    /// Where drops are counted, and what `health` reads.
    pub telemetry: Telemetry,
    /// The joint space.
    pub space: SpaceId,
    /// Values in a vector.
    pub dim: u32,
    /// The sensors that perceptd was told to read.
    pub sensors: Vec<(SensorId, Modality)>,
    /// When perceptd started. Live, sequence numbers start at its microseconds, so that they rise within a boot also across
    /// restarts; in a replay they start at 1.
    pub started_at: MonoTime,
    /// Whether this is a replay.
    pub replay: bool,
}

/// One embedded window.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingReading<'a> {
    /// The sensor.
    pub sensor: &'a SensorId,
    /// Place on the window grid.
    pub window_index: u64,
    /// What the window covers.
    pub span: Span,
    /// How complete it was.
    pub presence: Presence,
    /// Its unit vector.
    pub embedding: &'a Embedding,
}

/// One joint vector.
#[derive(Clone, Copy, Debug)]
pub struct JointReading<'a> {
    /// Place on the joint grid.
    pub index: u64,
    /// The instant it stands for.
    pub at: MonoTime,
    /// The joint space.
    pub space: &'a SpaceId,
    /// The unit vector.
    pub vector: &'a [f32],
    /// Every sensor that has spoken, used or not.
    pub parts: &'a [JointPart],
}

/// A pipe's depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReading {
    /// Name of the pipe.
    pub queue: String,
    /// Items that wait.
    pub depth: usize,
    /// Items that may wait.
    pub capacity: usize,
}

/// What only the daemon knows of perceptd's health; sensors are read from the telemetry, the outbox is the publisher's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReading {
    /// When it was read.
    pub at: MonoTime,
    /// The pipes.
    pub queues: Vec<QueueReading>,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// CPU time of the process so far, in nanoseconds.
    pub cpu_nanos: i64,
}

/// Why nothing can be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A fleet, robot or prompt whose name cannot stand in a topic.
    #[error("mqtt: {0}")]
    BadName(#[from] crate::modality::BadName),
    /// A setting that MQTT cannot express.
    #[error("mqtt: {key} is {value}, it must be {wanted}")]
    BadSetting {
        /// The setting.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        wanted: &'static str,
    },
    /// Another perceptd uses the state folder, or the disk does not do what it is asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that polls the client ended by a panic.
    #[error("the MQTT task panicked: {0}")]
    Panicked(String),
}

/// Opens the room, with the events that the run before has left; those that a crash left open are ended. Connects to nothing: that
/// is [`Post::run`]'s work, and nobody waits for it. A state folder that cannot be used is told, and events are kept in memory.
///
/// # Errors
/// When a name cannot stand in a topic, a duration cannot be said in MQTT, or another perceptd uses the state folder.
pub fn open(settings: PublishSettings, parts: PublishParts) -> Result<(Publisher, Post), PublishError> {
    check(&settings)?;
    let topics = Topics::new(&settings.fleet, &settings.robot)?;
    let home = settings
        .home_assistant
        .as_ref()
        .map(|prefix| HomeAssistant::new(prefix, topics.root(), &settings.fleet, &settings.robot));
    let now = time::now();
    let (outbox, open) = match settings.store.clone().filter(|_| !parts.replay).map(EventStore::open) {
        Some(Ok((store, mut left))) => {
            let (open, timeline) = (std::mem::take(&mut left.open), &parts.timeline);
            let unix_nanos = timeline.unix_nanos(now);
            (Outbox::durable(settings.outbox, store, left, &timeline.boot_id, (now, unix_nanos)), open)
        }
        Some(Err(error @ StoreError::InUse { .. })) => return Err(error.into()),
        Some(Err(error)) => {
            tracing::error!("{error}; events are kept in memory alone");
            (Outbox::new(settings.outbox), Vec::new())
        }
        None => (Outbox::new(settings.outbox), Vec::new()),
    };
    let is_replay = parts.replay;
    let publisher = Publisher::new(topics, parts, outbox, home);
    for payload in open {
        publisher.desk().end_left_open(&payload, now);
    }
    let post = Post::new(settings, publisher.clone(), is_replay);
    Ok((publisher, post))
}

fn check(settings: &PublishSettings) -> Result<(), PublishError> {
    let whole = |key, value: Duration, least: u64, most: u64, wanted| {
        if value.subsec_nanos() == 0 && (least..=most).contains(&value.as_secs()) {
            Ok(())
        } else {
            Err(PublishError::BadSetting { key, value: format!("{value:?}"), wanted })
        }
    };
    whole("keep_alive", settings.keep_alive, 1, u16::MAX.into(), "1 to 65535 whole seconds")?;
    whole("will_delay", settings.will_delay, 0, 3600, "0 to 3600 whole seconds")?;
    let least = settings.will_delay.as_secs();
    whole("session_expiry", settings.session_expiry, least, 86_400, "whole seconds, from the will delay to a day")?;
    if settings.max_in_flight == 0 {
        return Err(PublishError::BadSetting { key: "max_in_flight", value: "0".to_owned(), wanted: "at least 1" });
    }
    Ok(())
}
