//! What waits to be published, and in which order it goes. Pure: it knows neither threads nor the client.
//!
//! State (status, active, health, what is reported) keeps its newest and says it again on every connect; answers to wishes and replies
//! wait in short queues; events go through the outbox; of vectors only the newest of each topic waits, and one that is replaced is counted.

mod home;
mod numbers;
mod reported;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::home::Home;
use self::numbers::Numbers;
use self::state::State;
use super::home_assistant::HomeAssistant;
use super::inbox::RefusalReason;
use super::outbox::{Outbox, Outcome, Record, RecordId, Resent};
use super::presence::Presence;
use super::topics::{Class, Topics};
use super::wire::{self, Envelope, HealthFacts, OutboxFacts, SensorFacts};
use super::{EmbeddingReading, HealthReading, JointReading, MqttVersion, PublishError, PublishParts};
use crate::events::{Event, Phase};
use crate::modality::SensorId;
use crate::store::events::Openness;
use crate::telemetry::{DropReason, SensorReading};
use crate::time::{MonoTime, NANOS_PER_SEC, Timeline};

/// One message, ready for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) class: Class,
    pub(super) topic: String,
    pub(super) boot_id: Arc<str>,
    pub(super) seq: u64,
    pub(super) payload: Vec<u8>,
    /// Of the request that it answers.
    pub(super) correlation_data: Option<Vec<u8>>,
}

/// What an outcome is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    State(Class, String),
    Reply(u64),
    Record(RecordId),
    Flow(String),
}

/// Replies that may wait for the broker; who asked has long given up on an older one.
const REPLIES_WAITING: usize = 64;

/// An answer to a command.
struct Reply {
    message: Message,
    in_client: bool,
}

/// A topic of vectors: at most one waits, at most one is with the client.
#[derive(Default)]
struct Flow {
    waiting: Option<Message>,
    in_client: bool,
}

/// What waits to be published.
pub(super) struct Desk {
    topics: Topics,
    parts: PublishParts,
    presence: Presence,
    first_seq: u64,
    numbers: Numbers,
    /// By class, so that the birth comes first, and topic.
    states: BTreeMap<(Class, String), State>,
    replies: BTreeMap<u64, Reply>,
    next_reply: u64,
    replies_dropped: u64,
    /// Messages of topics that were not acted on.
    refusals: BTreeMap<RefusalReason, u64>,
    session_number: u64,
    version: Option<MqttVersion>,
    flows: BTreeMap<String, Flow>,
    outbox: Outbox,
    is_connected: bool,
    joint_replaced: u64,
    health_before: Option<(MonoTime, i64, BTreeMap<SensorId, SensorReading>)>,
    home: Option<Home>,
}

impl Desk {
    pub(super) fn new(topics: Topics, parts: PublishParts, outbox: Outbox, home: Option<HomeAssistant>) -> Self {
        let micros = u64::try_from(parts.started_at.nanos() / 1_000).unwrap_or(0);
        let first_seq = if parts.replay { 1 } else { micros.max(1) };
        Self {
            presence: Presence::new(&parts, first_seq),
            topics,
            parts,
            first_seq,
            numbers: Numbers::new(first_seq),
            states: BTreeMap::new(),
            replies: BTreeMap::new(),
            next_reply: 0,
            replies_dropped: 0,
            refusals: BTreeMap::new(),
            session_number: 0,
            version: None,
            flows: BTreeMap::new(),
            outbox,
            is_connected: false,
            joint_replaced: 0,
            health_before: None,
            home: home.map(Home::new),
        }
    }

    /// The next message to hand to the client: state first, then replies, then events while fewer than `max_in_flight` are
    /// unacknowledged, then vectors.
    pub(super) fn next(&mut self, max_in_flight: usize, now: MonoTime) -> Option<(Ticket, Message)> {
        let unsaid = self.states.iter_mut().find_map(|(key, state)| Some((key, state.next()?)));
        if let Some(((class, topic), message)) = unsaid {
            return Some((Ticket::State(*class, topic.clone()), message));
        }
        if let Some((&id, reply)) = self.replies.iter_mut().find(|(_, reply)| !reply.in_client) {
            reply.in_client = true;
            return Some((Ticket::Reply(id), reply.message.clone()));
        }
        if self.outbox.offered() < max_in_flight
            && let Some((id, record)) = self.outbox.offer(now)
        {
            let Record { topic, boot_id, seq, payload, .. } = record;
            let message = Message { class: Class::Event, topic, boot_id, seq, payload, correlation_data: None };
            return Some((Ticket::Record(id), message));
        }
        let (topic, flow) = self.flows.iter_mut().find(|(_, flow)| flow.waiting.is_some() && !flow.in_client)?;
        let message = flow.waiting.take()?;
        flow.in_client = true;
        Some((Ticket::Flow(topic.clone()), message))
    }

    /// What became of a message.
    pub(super) fn settle(&mut self, ticket: &Ticket, outcome: Outcome, now: MonoTime) {
        match ticket {
            Ticket::State(class, topic) => self.settle_state(*class, topic, outcome),
            Ticket::Reply(id) if outcome == Outcome::Undone => {
                if let Some(reply) = self.replies.get_mut(id) {
                    reply.in_client = false;
                }
            }
            // Somebody who asked and does not listen is not asked to.
            Ticket::Reply(id) => drop(self.replies.remove(id)),
            Ticket::Record(id) => self.outbox.settle(*id, outcome, now),
            Ticket::Flow(topic) => {
                if let Some(flow) = self.flows.get_mut(topic) {
                    flow.in_client = false;
                }
            }
        }
    }

    fn settle_state(&mut self, class: Class, topic: &str, outcome: Outcome) {
        let key = (class, topic.to_owned());
        let Some(state) = self.states.get_mut(&key) else { return };
        state.settle(outcome);
        if state.is_settled() && state.message.payload.is_empty() {
            self.states.remove(&key);
        }
    }

    /// Connection `session_number` came up: birth first, and all state again.
    pub(super) fn connected(&mut self, session_number: u64, version: MqttVersion, now: MonoTime) {
        (self.is_connected, self.version) = (true, Some(version));
        self.outbox.connected(now);
        self.tell_dropped();
        for state in self.states.values_mut() {
            state.is_said = false;
        }
        self.session_number = session_number;
        self.say_birth(now);
    }

    fn say_birth(&mut self, now: MonoTime) {
        let topic = self.topics.status();
        let seq = self.numbers.next(&topic);
        let payload = self.presence.running(self.session_number, seq, now);
        self.put_state(Class::Status, topic, seq, payload);
        self.home_available(true);
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self, now: MonoTime) {
        self.is_connected = false;
        self.outbox.disconnected(now);
    }

    /// The last word of connection `session_number`.
    pub(super) fn stopped(&mut self, session_number: u64, now: MonoTime) {
        let topic = self.topics.status();
        let seq = self.numbers.next(&topic);
        let payload = self.presence.stopped(session_number, seq, now);
        self.put_state(Class::Status, topic, seq, payload);
        self.home_available(false);
    }

    /// Whether all state is said and acknowledged.
    pub(super) fn is_state_said(&self) -> bool {
        self.states.values().all(State::is_settled)
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Whether the next vector on this topic should wait: in a replay, while the one before it has not gone to a broker that is there.
    pub(super) fn must_wait(&self, topic: &str) -> bool {
        let is_taken = self.flows.get(topic).is_some_and(|flow| flow.waiting.is_some());
        self.parts.replay && self.is_connected && is_taken
    }

    pub(super) const fn topics(&self) -> &Topics {
        &self.topics
    }

    pub(super) const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Offers events again that the broker has taken before, of one prompt or of all.
    pub(super) fn resend(&mut self, from: u64, prompt: Option<&str>, now: MonoTime) -> Result<Resent, PublishError> {
        let topic = prompt.map(|prompt| self.topics.event(prompt)).transpose()?;
        Ok(self.outbox.resend(from, topic.as_deref(), now)?)
    }

    pub(super) const fn presence(&self) -> &Presence {
        &self.presence
    }

    pub(super) fn timeline_is(&mut self, timeline: Timeline) {
        self.presence.timeline_is(timeline.clone());
        self.parts.timeline = timeline;
    }

    pub(super) fn boot_id(&self) -> Arc<str> {
        Arc::clone(&self.parts.timeline.boot_id)
    }

    const fn envelope(&self, seq: u64) -> Envelope<'_> {
        Envelope { timeline: &self.parts.timeline, seq }
    }

    fn put_state(&mut self, class: Class, topic: String, seq: u64, payload: Vec<u8>) {
        self.put_answer(class, topic, seq, payload, String::new());
    }

    /// Publishes state on a topic of its own: retained, said again on every connect. An empty payload clears the topic.
    pub(super) fn state(&mut self, class: Class, topic: String, payload: Vec<u8>) {
        let seq = self.numbers.next(&topic);
        self.put_state(class, topic, seq, payload);
    }

    /// Answers a request; the oldest answer goes, counted, when too many wait for the broker.
    pub(super) fn reply(&mut self, topic: String, correlation_data: Option<Vec<u8>>, payload: Vec<u8>) {
        let id = self.next_reply;
        self.next_reply += 1;
        let (boot_id, seq) = (self.boot_id(), self.first_seq + id);
        let message = Message { class: Class::Reply, topic, boot_id, seq, payload, correlation_data };
        self.replies.insert(id, Reply { message, in_client: false });
        if self.replies.len() > REPLIES_WAITING {
            self.replies.pop_first();
            self.replies_dropped += 1;
        }
    }

    /// Replies, and answers to wishes, dropped so far because too many waited.
    pub(super) const fn replies_dropped(&self) -> u64 {
        self.replies_dropped
    }

    /// Puts a vector in its place; returns whether it replaced one that waited.
    fn put_flow(&mut self, class: Class, topic: String, seq: u64, payload: Vec<u8>) -> bool {
        let message =
            Message { class, topic: topic.clone(), boot_id: self.boot_id(), seq, payload, correlation_data: None };
        self.flows.entry(topic).or_default().waiting.replace(message).is_some()
    }

    pub(super) fn embedding(&mut self, reading: &EmbeddingReading<'_>) {
        let topic = self.topics.embedding(reading.sensor);
        let seq = self.numbers.next(&topic);
        let payload = self.envelope(seq).embedding(reading);
        if self.put_flow(Class::Embedding, topic, seq, payload) {
            self.parts.telemetry.sensor(reading.sensor).count_drop(DropReason::EmbeddingReplaced);
        }
    }

    pub(super) fn joint(&mut self, reading: &JointReading<'_>) {
        let topic = self.topics.joint();
        let seq = self.numbers.next(&topic);
        let payload = self.envelope(seq).joint(reading);
        if self.put_flow(Class::Joint, topic, seq, payload) {
            self.joint_replaced += 1;
        }
    }

    pub(super) fn event(&mut self, event: &Event, now: MonoTime) -> Result<RecordId, PublishError> {
        let topic = self.topics.event(&event.prompt)?;
        let seq = self.numbers.next(&topic);
        let payload = self.envelope(seq).event(event);
        let record = Record {
            event: event.id,
            sensor: event.sensor.clone(),
            topic,
            boot_id: self.boot_id(),
            seq,
            accepted_at: (now, self.parts.timeline.unix_nanos(now)),
            payload,
        };
        let openness = if matches!(event.phase, Phase::End(_)) { Openness::Ended } else { Openness::Open };
        let id = self.outbox.accept(record, openness);
        self.tell_dropped();
        Ok(id)
    }

    /// Ends an event that a run before this one has left open, by its last message.
    pub(super) fn end_left_open(&mut self, payload: &[u8], now: MonoTime) {
        let ended = wire::crash_recovered(payload, &self.parts.timeline);
        if let Err(error) = ended.and_then(|event| self.event(&event, now).map_err(|error| error.to_string())) {
            tracing::error!("an event that a crash has left open cannot be ended: {error}");
        }
    }

    /// Counts what the outbox has dropped.
    fn tell_dropped(&mut self) {
        let dropped = self.outbox.take_dropped();
        if !dropped.is_empty() && self.outbox.counts().dropped == dropped.len() as u64 {
            tracing::error!(
                "the outbox is full, or its oldest events are too old: these are lost until the broker takes them (counted in health)"
            );
        }
        for sensor in &dropped {
            self.parts.telemetry.sensor(sensor).count_drop(DropReason::OutboxFull);
        }
    }

    pub(super) fn active(&mut self, events: &[Event]) {
        let topic = self.topics.active();
        let seq = self.numbers.next(&topic);
        let payload = self.envelope(seq).active(events);
        self.put_state(Class::Active, topic, seq, payload);
        self.home_active(events);
    }

    pub(super) fn health(&mut self, reading: &HealthReading, arrivals_dropped: u64) {
        let topic = self.topics.health();
        let seq = self.numbers.next(&topic);
        let (at_before, cpu_before, sensors_before) =
            self.health_before.take().unwrap_or((self.parts.started_at, 0, BTreeMap::new()));
        let sensors: Vec<SensorFacts> = self
            .parts
            .sensors
            .iter()
            .map(|(sensor, modality)| SensorFacts {
                sensor: sensor.clone(),
                modality: *modality,
                now: self.parts.telemetry.sensor(sensor).read(),
                before: sensors_before.get(sensor).cloned(),
            })
            .collect();
        let payload = self.presence.envelope(seq).health(&HealthFacts {
            reading,
            period_secs: reading.at.nanos_since(at_before) as f64 / NANOS_PER_SEC as f64,
            uptime_secs: reading.at.nanos_since(self.parts.started_at) as f64 / NANOS_PER_SEC as f64,
            cpu_nanos_in_period: reading.cpu_nanos - cpu_before,
            sensors: &sensors,
            outbox: OutboxFacts::of(&self.outbox),
            joint_replaced: self.joint_replaced,
            refusals: &self.refusals,
            arrivals_dropped,
            replies_dropped: self.replies_dropped,
            version: self.version,
        });
        let now = sensors.into_iter().map(|facts| (facts.sensor, facts.now)).collect();
        self.health_before = Some((reading.at, reading.cpu_nanos, now));
        self.put_state(Class::Health, topic, seq, payload);
        self.home_health();
    }
}

#[cfg(test)]
mod tests;
