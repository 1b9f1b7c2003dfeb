//! Presence: birth, stop and will, and the number that ties a will to its birth.

use crate::modality::{Modality, SensorId};
use crate::time::{MonoTime, Timeline};

use super::PublishParts;
use super::wire::{Envelope, PresenceState, StatusFacts};

/// What this perceptd can do, as `Status.capabilities` says it.
const CAPABILITIES: [&str; 5] = ["embedding", "joint", "event", "active", "health"];
/// What it can do besides when it listens to topics.
const LISTENING: [&str; 4] = ["config", "prompt", "cmd/snapshot", "cmd/resend"];
/// And this, but in a replay.
const RESTART: &str = "cmd/restart-sensor";
/// And this, with a folder for recordings.
const RECORD: &str = "cmd/record";

/// What stays the same in every status of a run.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    /// Also in a replay by this machine's clocks: the recording's say nothing of when something is said about perceptd.
    timeline: Timeline,
    space: String,
    dim: u32,
    sensors: Vec<(SensorId, Modality)>,
    first_seq: u64,
    is_replay: bool,
    /// What it can do besides because it listens to topics.
    listening: Vec<&'static str>,
}

impl Presence {
    pub(super) fn new(parts: &PublishParts, first_seq: u64) -> Self {
        Self {
            timeline: if parts.replay { parts.timeline.by_this_machine() } else { parts.timeline.clone() },
            space: parts.space.to_string(),
            dim: parts.dim,
            sensors: parts.sensors.clone(),
            first_seq,
            is_replay: parts.replay,
            listening: Vec::new(),
        }
    }

    /// perceptd listens to topics, and may record.
    pub(super) fn listens(&mut self, records: bool) {
        let restart = (!self.is_replay).then_some(RESTART);
        self.listening = LISTENING.into_iter().chain(restart).chain(records.then_some(RECORD)).collect();
    }

    /// What a message about perceptd itself starts with.
    pub(super) const fn envelope(&self, seq: u64) -> Envelope<'_> {
        Envelope { timeline: &self.timeline, seq }
    }

    /// The wall clock was set.
    pub(super) fn timeline_is(&mut self, timeline: Timeline) {
        self.timeline = timeline;
    }

    /// The sensors are others from now on.
    pub(super) fn sensors_changed(&mut self, sensors: Vec<(SensorId, Modality)>) {
        self.sensors = sensors;
    }

    /// The birth of connection `session_number`.
    pub(super) fn running(&self, session_number: u64, seq: u64, at: MonoTime) -> Vec<u8> {
        self.full(PresenceState::Running(at), session_number, seq)
    }

    /// A stop on purpose during connection `session_number`.
    pub(super) fn stopped(&self, session_number: u64, seq: u64, at: MonoTime) -> Vec<u8> {
        self.full(PresenceState::Stopped(at), session_number, seq)
    }

    /// The will of connection `session_number`, which the broker publishes when it is lost.
    pub(super) fn will(&self, session_number: u64) -> Vec<u8> {
        let facts = StatusFacts {
            state: PresenceState::Lost,
            session_number,
            space: "",
            dim: 0,
            sensors: &[],
            capabilities: &[],
            first_seq: self.first_seq,
        };
        self.envelope(0).status(&facts)
    }

    fn full(&self, state: PresenceState, session_number: u64, seq: u64) -> Vec<u8> {
        let capabilities: Vec<&str> = CAPABILITIES.iter().chain(&self.listening).copied().collect();
        let facts = StatusFacts {
            state,
            session_number,
            space: &self.space,
            dim: self.dim,
            sensors: &self.sensors,
            capabilities: &capabilities,
            first_seq: self.first_seq,
        };
        self.envelope(seq).status(&facts)
    }
}
