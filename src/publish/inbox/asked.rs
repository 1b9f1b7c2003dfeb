//! What a message asks for, or why it is refused.

use crate::modality::{Modality, SensorId};
use crate::prompts::{Part, PartSource, PromptId};

/// A wish for the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWish {
    /// Its generation.
    pub generation: u64,
    /// The generation that it was made against; 0: none in particular.
    pub base: u64,
    /// Whether it forgets what earlier wishes changed.
    pub is_whole: bool,
    /// The JSON merge patch.
    pub json: String,
    /// SHA-256 of the payload, in hexadecimal.
    pub digest: String,
}

/// What a prompt should be.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptContent {
    /// Not there.
    Removed,
    /// Made of this.
    Made {
        /// What it is made of; none: what the config file's prompt of this name is made of.
        parts: Vec<Part>,
        /// What it must not be confused with.
        negatives: Vec<PartSource>,
        /// Senses in which it is looked for; none: the usual ones.
        senses: Vec<Modality>,
        /// Wanted probability of a false alarm per window; none: the usual one.
        p_false: Option<f64>,
        /// Not looked for.
        is_disabled: bool,
    },
}

/// A wish for a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptWish {
    /// The prompt.
    pub id: PromptId,
    /// What it should be.
    pub content: PromptContent,
    /// SHA-256 of the payload, in hexadecimal.
    pub digest: String,
    /// The payload, to be kept.
    pub payload: Vec<u8>,
}

/// Where an answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The response topic, which lies below the robot's own `reply/`.
    pub topic: String,
    /// The asker's correlation data.
    pub correlation_data: Vec<u8>,
    /// The command's id.
    pub id: String,
}

/// What a command wants.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandBody {
    /// The newest embeddings and scores, and thumbnails unless they are to be left out.
    Snapshot {
        /// Whether pictures are left out.
        without_thumbnails: bool,
    },
    /// A device closed and opened again.
    RestartSensor(SensorId),
    /// Events offered again.
    Resend {
        /// The first sequence number that is missing.
        from_seq: u64,
        /// Of this prompt alone.
        prompt: Option<PromptId>,
    },
    /// All sensors recorded into a file.
    Record {
        /// For how long, in seconds.
        duration_secs: f64,
    },
}

impl CommandBody {
    /// Of the topic below `cmd/`.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Snapshot { .. } => "snapshot",
            Self::RestartSensor(_) => "restart-sensor",
            Self::Resend { .. } => "resend",
            Self::Record { .. } => "record",
        }
    }
}

/// A command that may be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// What it wants.
    pub body: CommandBody,
    /// Where its answer goes.
    pub reply_to: ReplyTo,
    /// Until when it could come again, on the wall clock.
    pub valid_until_unix_nanos: i64,
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Another config.
    Config(ConfigWish),
    /// Another prompt.
    Prompt(PromptWish),
    /// Something to be done now.
    Command(Command),
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalReason {
    /// Not a topic that perceptd listens to.
    UnknownTopic,
    /// Larger than such a message may be.
    TooLarge,
    /// Not the message that its topic carries.
    Malformed,
    /// An unreadable message that came again.
    Poison,
    /// A command that the broker keeps.
    Retained,
    /// A command that says not until when it is valid, or for too long.
    NoExpiry,
    /// A command that came too late.
    Expired,
    /// A command that came before.
    Replayed,
    /// A command that the broker sent a second time, for it did not hear that the first one arrived.
    Redelivered,
    /// A command without a response topic of the robot's own.
    NoReplyTopic,
    /// More commands at once than are allowed.
    Busy,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::UnknownTopic,
        Self::TooLarge,
        Self::Malformed,
        Self::Poison,
        Self::Retained,
        Self::NoExpiry,
        Self::Expired,
        Self::Replayed,
        Self::Redelivered,
        Self::NoReplyTopic,
        Self::Busy,
    ];

    /// The name in `health`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownTopic => "unknown_topic",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Poison => "poison",
            Self::Retained => "retained",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::Replayed => "replayed",
            Self::Redelivered => "redelivered",
            Self::NoReplyTopic => "no_reply_topic",
            Self::Busy => "busy",
        }
    }
}

/// What a refused message was about, so that the asker can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The config.
    Config,
    /// A prompt.
    Prompt(PromptId),
    /// A command, and where its answer goes, if that is known and allowed.
    Command(Option<ReplyTo>),
    /// Nothing that anyone could be told of.
    Nothing,
}

/// A message that is not acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: RefusalReason,
    /// What is wrong and what to do.
    pub what: String,
    /// What it was about.
    pub about: About,
    /// SHA-256 of a wish's payload, in hexadecimal; else empty.
    pub digest: Box<str>,
}

impl Refused {
    pub(super) fn new(about: About, reason: RefusalReason, what: impl Into<String>) -> Self {
        Self { reason, what: what.into(), about, digest: Box::default() }
    }

    /// The same of the payload with this digest.
    pub(super) fn of(self, digest: &str) -> Self {
        Self { digest: digest.into(), ..self }
    }
}
