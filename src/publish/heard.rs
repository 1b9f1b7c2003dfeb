//! What a subscriber hears, as plain data.
//!
//! Holds what the messages of `proto/perceptd/v1` hold, with words for enumerations, so that it can be printed as JSON lines.

use std::collections::BTreeMap;

use serde::Serialize;

/// One thing that a subscriber heard.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "heard", rename_all = "snake_case")]
pub enum Heard {
    /// The subscriber is connected and subscribed.
    Connected,
    /// The connection is lost; it is tried again.
    Disconnected {
        /// Why.
        why: String,
    },
    /// One sensor's vector.
    Embedding(HeardEmbedding),
    /// The joint vector.
    Joint(HeardJoint),
    /// An event.
    Event(HeardEvent),
    /// All open events.
    Active(HeardActive),
    /// Presence.
    Status(HeardStatus),
    /// How perceptd is doing.
    Health(HeardHealth),
    /// What became of a wish for the config.
    ConfigReported(HeardConfig),
    /// What became of a wish for a prompt.
    PromptReported(HeardPrompt),
    /// A wish, a command or an answer, which concern two others.
    ForOthers,
    /// A message below perceptd's topics that is not perceptd's or cannot be read.
    Unreadable {
        /// Its topic.
        topic: String,
        /// Why.
        why: String,
    },
}

/// See `ConfigReported` in `config.proto`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeardConfig {
    /// `pending`, `applied`, `rejected`, `rolled_back`, or `unspecified` when no wish has come yet.
    pub state: String,
    /// The generation this answers.
    pub generation: u64,
    /// Everything that is wrong, as `key: what`.
    pub problems: Vec<String>,
    /// The generation in force; 0: the file alone.
    pub generation_in_force: u64,
    /// Changes over the file, as JSON.
    pub changes_json: String,
    /// The same before.
    pub changes_before_json: String,
    /// The whole config in force, as JSON.
    pub in_force_json: String,
    /// The config file.
    pub file: String,
    /// SHA-256 of the wish's payload.
    pub digest: String,
}

/// See `PromptReported` in `prompt.proto`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeardPrompt {
    /// As of a config.
    pub state: String,
    /// `file`, `topic`, or `unspecified` when nothing of this name is in force.
    pub origin: String,
    /// The prompt.
    pub prompt: String,
    /// Everything that is wrong, as `key: what`.
    pub problems: Vec<String>,
    /// SHA-256 of the wish's payload.
    pub digest: String,
    /// Senses in which it is looked for.
    pub senses: Vec<String>,
    /// Wanted probability of a false alarm per window.
    pub p_false: f64,
    /// What it is made of.
    pub made_of: String,
}

/// See `Embedding` in `embedding.proto`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeardEmbedding {
    /// Boot id.
    pub boot_id: String,
    /// Sequence number.
    pub seq: u64,
    /// Sensor.
    pub sensor: String,
    /// Sense, by its name.
    pub modality: String,
    /// The joint space.
    pub space_id: String,
    /// Place on the window grid.
    pub window_index: u64,
    /// Start of the window, Unix nanoseconds.
    pub start_unix_nanos: i64,
    /// End of the window, Unix nanoseconds.
    pub end_unix_nanos: i64,
    /// End of the window, monotonic nanoseconds.
    pub end_mono_nanos: i64,
    /// Samples in the window.
    pub count: u32,
    /// Samples that a sensor without losses would have given.
    pub expected: u32,
    /// Rows of motion that were measured, as bits: 63 all six, 7 without a gyroscope; 0 for other senses.
    pub measured_rows: u32,
    /// Unit vector.
    pub vector: Vec<f32>,
}

/// See `JointMember` in `embedding.proto`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeardMember {
    /// Sensor.
    pub sensor: String,
    /// Sense, by its name.
    pub modality: String,
    /// Weight.
    pub weight: f32,
    /// Age of its newest embedding in seconds.
    pub age_secs: f64,
    /// Whether it took part.
    pub used: bool,
}

/// See `JointEmbedding` in `embedding.proto`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeardJoint {
    /// Boot id.
    pub boot_id: String,
    /// Sequence number.
    pub seq: u64,
    /// The joint space.
    pub space_id: String,
    /// Place on the joint grid.
    pub index: u64,
    /// The instant it stands for, Unix nanoseconds.
    pub at_unix_nanos: i64,
    /// Which senses took part.
    pub mask: u32,
    /// Every sensor that has spoken, used or not.
    pub members: Vec<HeardMember>,
    /// Unit vector.
    pub vector: Vec<f32>,
}

/// See `PixelBox` in `event.proto`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeardBox {
    /// `[x0, y0, x1, y1]` in pixels of the frame.
    #[serde(rename = "box")]
    pub corners_px: [f32; 4],
    /// Calibrated score.
    pub calibrated: f32,
}

/// See `Event` in `event.proto`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeardEvent {
    /// Boot id.
    pub boot_id: String,
    /// Sequence number.
    pub seq: u64,
    /// UUID of the event.
    pub id: String,
    /// Revision.
    pub revision: u32,
    /// `new`, `update` or `end`.
    pub phase: String,
    /// Why it ended; empty until it has.
    pub end_reason: String,
    /// Prompt.
    pub prompt: String,
    /// Sensor.
    pub sensor: String,
    /// Sense, by its name.
    pub modality: String,
    /// Start of the first supporting window, Unix nanoseconds.
    pub onset_unix_nanos: i64,
    /// Start of the first supporting window, monotonic nanoseconds.
    pub onset_mono_nanos: i64,
    /// End of the last supporting window, Unix nanoseconds.
    pub last_support_unix_nanos: i64,
    /// End of the last supporting window, monotonic nanoseconds.
    pub last_support_mono_nanos: i64,
    /// Raw cosine.
    pub raw: f32,
    /// Calibrated score.
    pub calibrated: f32,
    /// Best calibrated score so far.
    pub best_calibrated: f32,
    /// Threshold of the calibrated score.
    pub threshold: f32,
    /// Revision of the bank.
    pub bank_revision: u32,
    /// Boxes, best first.
    pub boxes: Vec<HeardBox>,
    /// Width and height of the frame in pixels; zeros for sound and motion.
    pub frame_size_px: [u32; 2],
}

/// See `ActiveEvents` in `event.proto`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeardActive {
    /// Boot id.
    pub boot_id: String,
    /// Sequence number.
    pub seq: u64,
    /// The open events.
    pub events: Vec<HeardEvent>,
}

/// See `SensorInfo` in `status.proto`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeardSensorInfo {
    /// Sensor.
    pub sensor: String,
    /// Sense, by its name.
    pub modality: String,
}

/// See `Status` in `status.proto`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeardStatus {
    /// Boot id.
    pub boot_id: String,
    /// Sequence number; 0 in a will.
    pub seq: u64,
    /// `running`, `stopped` or `lost`.
    pub state: String,
    /// Number of the connection.
    pub session_number: u64,
    /// perceptd's version.
    pub version: String,
    /// The joint space.
    pub space_id: String,
    /// Values in a vector.
    pub dim: u32,
    /// The sensors.
    pub sensors: Vec<HeardSensorInfo>,
    /// What this perceptd can do.
    pub capabilities: Vec<String>,
    /// Where this run's sequence numbers start.
    pub first_seq: u64,
}

/// See `SensorHealth` in `health.proto`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeardSensor {
    /// Sensor.
    pub sensor: String,
    /// Sense, by its name.
    pub modality: String,
    /// `starting`, `ok`, `stalled` or `lost`.
    pub state: String,
    /// Why, when it does not deliver.
    pub reason: String,
    /// Samples per second.
    pub samples_per_sec: f64,
    /// Embeddings per second.
    pub embeddings_per_sec: f64,
    /// Mean milliseconds to encode a window.
    pub encode_millis: f64,
    /// Embeddings so far.
    pub embeddings: u64,
    /// Holes so far.
    pub gaps: u64,
    /// Drops so far by reason.
    pub drops: BTreeMap<String, u64>,
}

/// See `Health` in `health.proto`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeardHealth {
    /// Boot id.
    pub boot_id: String,
    /// Sequence number.
    pub seq: u64,
    /// When it was read, Unix nanoseconds.
    pub at_unix_nanos: i64,
    /// What rates are over, in seconds.
    pub period_secs: f64,
    /// The sensors.
    pub sensors: Vec<HeardSensor>,
    /// Depth and capacity of each pipe.
    pub queues: BTreeMap<String, (u32, u32)>,
    /// Events in the outbox.
    pub outbox_waiting: u64,
    /// Events dropped by the outbox.
    pub outbox_dropped: u64,
    /// Events delivered.
    pub outbox_delivered: u64,
    /// Version of MQTT that perceptd speaks with its broker.
    pub mqtt_version: String,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// CPU use in cores.
    pub cpu_cores: f64,
    /// Seconds since the start.
    pub uptime_secs: f64,
}
