//! Scores over time into events: hysteresis, `new`, `update`, `end`.
//!
//! Pure: time arrives in the data. It does not join events of several senses, nor keep them beyond the process.

mod episodes;
mod ids;
mod settings;
#[cfg(test)]
mod tests;

pub use episodes::Episodes;
pub use ids::IdSource;
pub use settings::Settings;

use crate::geometry::PixelBox;
use crate::modality::{Modality, SensorId};
use crate::prompts::PromptId;
use crate::space::Score;
use crate::time::{MonoTime, Span};

/// What the window's evidence said about one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The prompt.
    pub prompt: PromptId,
    /// Where it was looked for.
    pub sensor: SensorId,
    /// The sense.
    pub modality: Modality,
    /// What the window covers.
    pub span: Span,
    /// How well it matches.
    pub score: Score,
    /// Where, for frames: boxes that fire, best first, in pixels of the frame.
    pub boxes: Vec<(PixelBox, f32)>,
    /// Size of the frame in pixels, for frames.
    pub frame_size_px: Option<(u32, u32)>,
}

/// Where in its life an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// First message.
    New,
    /// The event goes on.
    Update,
    /// Last message.
    End(EndReason),
}

/// Why an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The scores fell below the exit threshold.
    Quiet,
    /// It lasted longer than `max_len`.
    Timeout,
    /// The sensor stopped.
    SourceLost,
    /// The prompt was taken away.
    PromptRemoved,
    /// perceptd stopped.
    Shutdown,
    /// perceptd crashed; the next run ended it.
    CrashRecovered,
}

/// The whole state of an event; every message carries it, so that the last revision a consumer has is the truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// UUID version 7, of the onset's wall-clock time; in replay derived from recording, prompt, sensor and onset.
    pub id: uuid::Uuid,
    /// Rises by one with every message of the event, from 1.
    pub revision: u32,
    /// Where in its life it is.
    pub phase: Phase,
    /// The prompt.
    pub prompt: PromptId,
    /// The sensor.
    pub sensor: SensorId,
    /// The sense.
    pub modality: Modality,
    /// Start of the first window that supported it.
    pub onset: MonoTime,
    /// End of the last window that supported it.
    pub last_support: MonoTime,
    /// The last window's score.
    pub score: Score,
    /// The best score so far.
    pub best: Score,
    /// Boxes of the last window that had any, best first: pixels of the frame, and calibrated score.
    pub boxes: Vec<(PixelBox, f32)>,
    /// Size of the frame in pixels, for frames.
    pub frame_size_px: Option<(u32, u32)>,
}
