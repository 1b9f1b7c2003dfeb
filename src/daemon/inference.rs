//! The inference thread: turns in, findings out to the publisher.

use std::time::Duration;

use super::perception::{Finding, Perception, PerceptionChange};
use super::threads::{Heartbeat, Turn};
use crate::events::Event;
use crate::pipe::{Received, Receiver};
use crate::publish::{EmbeddingReading, JointReading, Publisher};
use crate::space::JointVector;
use crate::time::MonoTime;

/// An idle turn every second counts as life; a stuck one does not.
const IDLE_TURN: Duration = Duration::from_secs(1);

/// Works until its input closes, then ends what is open.
pub(super) struct InferenceLoop {
    pub(super) perception: Perception,
    pub(super) publisher: Publisher,
    pub(super) joint_hop_nanos: i64,
}

impl InferenceLoop {
    pub(super) fn run(mut self, input: &Receiver<Turn>, heartbeat: &Heartbeat, changes: &Receiver<PerceptionChange>) {
        self.publisher.active(&[]);
        self.publisher.prompts(self.perception.prompt_names());
        loop {
            while let Received::Item(change) = changes.recv(Duration::ZERO) {
                self.change(change);
            }
            match input.recv(IDLE_TURN) {
                Received::Item(turn) => {
                    let findings = self.perception.turn(turn);
                    self.publish(findings);
                }
                Received::TimedOut => {}
                Received::Closed => break,
            }
            heartbeat.beat();
        }
        let last = self.perception.shutdown();
        self.publish(last.into_iter().map(Finding::Event).collect());
    }

    fn change(&mut self, change: PerceptionChange) {
        if let PerceptionChange::Tune(tuning) = &change {
            self.joint_hop_nanos = tuning.joint_hop_nanos;
        }
        let ended = self.perception.change(change);
        self.publisher.prompts(self.perception.prompt_names());
        self.publish(ended.into_iter().map(Finding::Event).collect());
    }

    fn publish(&self, findings: Vec<Finding>) {
        let mut events_changed = false;
        for finding in findings {
            match finding {
                Finding::Embedding(embedded) => self.publisher.embedding(&EmbeddingReading {
                    sensor: &embedded.sensor,
                    window_index: embedded.window_index,
                    span: embedded.span,
                    presence: embedded.presence,
                    embedding: &embedded.embedding,
                }),
                Finding::Joint(at, joint) => self.publish_joint(at, &joint),
                Finding::Event(event) => {
                    events_changed = true;
                    self.publish_event(&event);
                }
            }
        }
        if events_changed {
            self.publisher.active(&self.perception.open_events());
        }
    }

    fn publish_event(&self, event: &Event) {
        tracing::info!(prompt = %event.prompt, sensor = %event.sensor, phase = ?event.phase, score = event.score.calibrated, "event");
        if let Err(error) = self.publisher.event(event) {
            tracing::error!(%error, prompt = %event.prompt, "an event could not be published");
        }
    }

    fn publish_joint(&self, at: MonoTime, joint: &JointVector) {
        self.publisher.joint(&JointReading {
            index: u64::try_from(at.nanos() / self.joint_hop_nanos).unwrap_or(0),
            at,
            space: self.perception.encoders.space(),
            vector: &joint.vector,
            parts: &joint.parts,
        });
    }
}
