//! Presence: birth, stop and will, and the number that ties a will to its birth.

use crate::modality::{Modality, SensorId};
use crate::time::{MonoTime, Timeline};

use super::PublishParts;
use super::wire::{Envelope, PresenceState, StatusFacts};

/// What this perceptd can do, as `Status.capabilities` says it.
const CAPABILITIES: [&str; 5] = ["embedding", "joint", "event", "active", "health"];
/// What it can do besides when it listens to topics.
const LISTENING: [&str; 6] = ["config", "prompt", "cmd/snapshot", "cmd/restart-sensor", "cmd/resend", "cmd/record"];

/// What stays the same in every status of a run.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    timeline: Timeline,
    space: String,
    dim: u32,
    sensors: Vec<(SensorId, Modality)>,
    first_seq: u64,
    is_listening: bool,
}

impl Presence {
    pub(super) fn new(parts: &PublishParts, first_seq: u64) -> Self {
        Self {
            timeline: parts.timeline.clone(),
            space: parts.space.to_string(),
            dim: parts.dim,
            sensors: parts.sensors.clone(),
            first_seq,
            is_listening: false,
        }
    }

    /// perceptd listens to topics.
    pub(super) const fn listens(&mut self) {
        self.is_listening = true;
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
        Envelope { timeline: &self.timeline, seq: 0 }.status(&facts)
    }

    fn full(&self, state: PresenceState, session_number: u64, seq: u64) -> Vec<u8> {
        let listening = LISTENING.iter().filter(|_| self.is_listening);
        let capabilities: Vec<&str> = CAPABILITIES.iter().chain(listening).copied().collect();
        let facts = StatusFacts {
            state,
            session_number,
            space: &self.space,
            dim: self.dim,
            sensors: &self.sensors,
            capabilities: &capabilities,
            first_seq: self.first_seq,
        };
        Envelope { timeline: &self.timeline, seq }.status(&facts)
    }
}
