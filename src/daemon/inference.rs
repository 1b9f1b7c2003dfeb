//! The inference thread: turns in, findings out to the publisher.

use std::time::Duration;

use super::perception::{Embedded, Finding, Perception, PerceptionChange};
use super::threads::{Heartbeat, Turn};
use crate::encoders::SpaceId;
use crate::events::{Event, Phase};
use crate::modality::SensorId;
use crate::pipe::{Received, Receiver};
use crate::publish::{EmbeddingReading, JointReading, Publisher};
use crate::space::JointVector;
use crate::time::{MonoTime, now};

/// An idle turn every second counts as life; a stuck one does not.
const IDLE_TURN: Duration = Duration::from_secs(1);

/// While more turns wait, vectors wait for theirs, for so long and a turn at most: on cold caches the post's wakings cost more than what it
/// does. Events go at once, and a vector before the next of its sensor is made, which would take its place.
const GATHER: Duration = Duration::from_millis(20);

/// Vectors that the post was not woken for yet.
#[derive(Default)]
struct Unsent {
    /// By sensor; None is the joint vector.
    of: Vec<Option<SensorId>>,
    since: MonoTime,
}

impl Unsent {
    fn note(&mut self, findings: &[Finding]) {
        if self.of.is_empty() {
            self.since = now();
        }
        for finding in findings {
            match finding {
                Finding::Embedding(embedded) => self.of.push(Some(embedded.sensor.clone())),
                Finding::Joint(..) => self.of.push(None),
                // It takes along what waits.
                Finding::Event(_) => self.of.clear(),
            }
        }
    }

    /// Whether the turn gives a newer vector in the place of one of these.
    fn gives_way_to(&self, turn: &Turn) -> bool {
        self.of.iter().any(|of| match (of, turn) {
            (Some(sensor), Turn::Window(window)) => *sensor == window.sensor,
            (None, Turn::Tick(_)) => true,
            _ => false,
        })
    }
}

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
        let mut unsent = Unsent::default();
        loop {
            let received = input.recv(IDLE_TURN);
            // What was told before a turn came holds for it: a sensor that is turned on loses no window, and one that is turned off has none more.
            while let Received::Item(change) = changes.recv(Duration::ZERO) {
                self.change(change);
            }
            match received {
                Received::Item(turn) => {
                    if unsent.gives_way_to(&turn) {
                        self.send(&mut unsent);
                    }
                    let findings = self.perception.turn(turn);
                    unsent.note(&findings);
                    self.publish(findings);
                    if !unsent.of.is_empty() && (input.is_empty() || now() >= unsent.since + GATHER) {
                        self.send(&mut unsent);
                    }
                }
                Received::TimedOut => {}
                Received::Closed => break,
            }
            heartbeat.beat();
        }
        let last = self.perception.shutdown();
        self.publish(last.into_iter().map(Finding::Event).collect());
    }

    fn send(&self, unsent: &mut Unsent) {
        self.publisher.send_vectors();
        unsent.of.clear();
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
                Finding::Embedding(embedded) => self.publisher.embedding(&embedded.reading()),
                Finding::Joint(at, joint) => {
                    let space = self.perception.encoders.space();
                    self.publisher.joint(&joint_reading(at, &joint, space, self.joint_hop_nanos));
                }
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
        let Event { prompt, sensor, phase, score, best, .. } = event;
        if matches!(phase, Phase::Update) {
            tracing::debug!(%prompt, %sensor, ?phase, score = score.calibrated, best = best.calibrated, "event");
        } else {
            tracing::info!(%prompt, %sensor, ?phase, score = score.calibrated, best = best.calibrated, "event");
        }
        if let Err(error) = self.publisher.event(event) {
            tracing::error!(%error, prompt = %event.prompt, "an event could not be published");
        }
    }
}

impl Embedded {
    /// As it is published.
    pub(super) const fn reading(&self) -> EmbeddingReading<'_> {
        EmbeddingReading {
            sensor: &self.sensor,
            window_index: self.window_index,
            span: self.span,
            presence: self.presence,
            embedding: &self.embedding,
        }
    }
}

/// A joint vector as it is published.
pub(super) fn joint_reading<'a>(
    at: MonoTime,
    joint: &'a JointVector,
    space: &'a SpaceId,
    hop_nanos: i64,
) -> JointReading<'a> {
    let index = u64::try_from(at.nanos() / hop_nanos).unwrap_or(0);
    JointReading { index, at, space, vector: &joint.vector, parts: &joint.parts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::{Presence, Window, WindowData};

    #[test]
    fn a_vector_gives_way_to_the_next_of_its_sensor_and_to_no_other() {
        let [front, mic] = ["front", "mic"].map(|name| SensorId::new(name).unwrap());
        let window = |sensor: &SensorId| {
            let (sensor, span, data) = (sensor.clone(), crate::time::Span::default(), WindowData::Audio(Vec::new()));
            Turn::Window(Window { sensor, index: 0, span, presence: Presence::default(), data })
        };
        let turns = [window(&front), window(&mic), Turn::Tick(MonoTime::default())];
        let give_way = |of: Vec<Option<SensorId>>| {
            let unsent = Unsent { of, since: MonoTime::default() };
            turns.each_ref().map(|turn| unsent.gives_way_to(turn))
        };
        assert_eq!(give_way(Vec::new()), [false, false, false]);
        assert_eq!(give_way(vec![Some(mic)]), [false, true, false]);
        assert_eq!(give_way(vec![None, Some(front)]), [true, false, true]);
    }
}
