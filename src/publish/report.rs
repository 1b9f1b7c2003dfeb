//! What the daemon answers to what came by topic, as plain data.

use super::inbox::ReplyTo;
use crate::encoders::Embedding;
use crate::modality::{Modality, SensorId};
use crate::prompts::PromptId;
use crate::space::Score;
use crate::store::{ConfigLedger, Fault, WishState};
use crate::time::{MonoTime, Span};
use crate::windows::Presence;

/// What became of the last wish for the config, and what is in force.
#[derive(Clone, Copy, Debug)]
pub struct ConfigReport<'a> {
    /// When it is said.
    pub at: MonoTime,
    /// The wish and what is in force.
    pub ledger: &'a ConfigLedger,
    /// Everything that is wrong with the wish.
    pub faults: &'a [Fault],
    /// The whole config in force, as JSON.
    pub in_force_json: &'a str,
    /// The config file.
    pub file: &'a str,
}

/// Where a prompt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptOrigin {
    /// Nothing of this name is in force.
    Nowhere,
    /// The config file.
    File,
    /// A topic.
    Topic,
}

/// What became of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptReport {
    /// The prompt.
    pub prompt: PromptId,
    /// How far the wish got.
    pub state: WishState,
    /// Everything that is wrong with it.
    pub faults: Vec<Fault>,
    /// SHA-256 of the wish's payload in hexadecimal; empty for one of the file.
    pub digest: String,
    /// Where what is in force came from.
    pub origin: PromptOrigin,
    /// Senses in which it is looked for now.
    pub senses: Vec<Modality>,
    /// Wanted probability of a false alarm per window.
    pub p_false: f64,
    /// What it is made of, for people.
    pub made_of: String,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandState {
    /// Done.
    Done,
    /// Not taken; nothing was done.
    Refused,
    /// Taken, and failed.
    Failed,
}

/// What one sensor gave last.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorSnapshot {
    /// The sensor.
    pub sensor: SensorId,
    /// Place on the window grid.
    pub window_index: u64,
    /// What the window covers.
    pub span: Span,
    /// How complete it was.
    pub presence: Presence,
    /// Its unit vector.
    pub embedding: Embedding,
    /// How well each prompt matched it.
    pub scores: Vec<(PromptId, Score)>,
    /// Its picture as JPEG; empty where there is none.
    pub thumbnail_jpeg: Vec<u8>,
}

/// What a command asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandResult {
    /// Nothing but that it is done.
    Nothing,
    /// What every sensor gave last.
    Snapshot(Vec<SensorSnapshot>),
    /// How many messages come, and the lowest sequence number that is still there, 0 for none.
    Resend {
        /// Messages that are offered again, and those that waited already.
        messages: u64,
        /// The lowest sequence number that is still there, kept or waiting; 0 when none is.
        oldest_seq: u64,
    },
    /// A recording on the robot.
    Record {
        /// The file.
        file: String,
        /// Samples in it.
        samples: u64,
        /// Its size in bytes.
        bytes: u64,
    },
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandReply {
    /// Where it goes.
    pub to: ReplyTo,
    /// How the command ended.
    pub state: CommandState,
    /// Why it was refused or failed, or what was done, for people.
    pub what: String,
    /// What it asked for.
    pub result: CommandResult,
}
