//! The handle of the threads that compute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::desk::Desk;
use super::home_assistant::HomeAssistant;
use super::inbox::RefusalReason;
use super::outbox::{Outbox, OutboxCounts, RecordId, Resent};
use super::report::{CommandReply, ConfigReport, PromptReport};
use super::topics::{Class, Topics};
use super::{EmbeddingReading, HealthReading, JointReading, PublishError, PublishParts};
use crate::events::Event;
use crate::modality::{Modality, SensorId};
use crate::time::{self, MonoTime, Timeline};

/// The longest that a replay waits for the broker to take a vector.
const REPLAY_PATIENCE: Duration = Duration::from_secs(5);

/// The handle of the threads that compute. Clones share one desk. No call waits for the network, but for vectors in a replay: there
/// the next waits until the one before it is on its way, so that none is dropped at any speed while there is a broker.
#[derive(Clone)]
pub struct Publisher(Arc<Shared>);

struct Shared {
    desk: Mutex<Desk>,
    /// Messages from the broker that had to go because the inbox was slow.
    arrivals_dropped: Arc<AtomicU64>,
    /// Tells the post that there is something to offer.
    wake: Notify,
    /// Tells who waits that the desk has changed.
    changed: Condvar,
}

impl Publisher {
    pub(super) fn new(topics: Topics, parts: PublishParts, outbox: Outbox, home: Option<HomeAssistant>) -> Self {
        let desk = Desk::new(topics, parts, outbox, home);
        Self(Arc::new(Shared {
            desk: Mutex::new(desk),
            arrivals_dropped: Arc::default(),
            wake: Notify::new(),
            changed: Condvar::new(),
        }))
    }

    /// Publishes a sensor's vector, which goes with [`Self::send_vectors`] or whatever else is published. The newest of a sensor takes the
    /// place of one that still waits, which is counted.
    pub fn embedding(&self, reading: &EmbeddingReading<'_>) {
        let topic = self.desk().topics().embedding(reading.sensor);
        self.desk_with_room(&topic).embedding(reading);
    }

    /// Publishes the joint vector, as [`Self::embedding`].
    pub fn joint(&self, reading: &JointReading<'_>) {
        let topic = self.desk().topics().joint();
        self.desk_with_room(&topic).joint(reading);
    }

    /// Has the vectors sent that wait.
    pub fn send_vectors(&self) {
        self.0.wake.notify_one();
    }

    /// Hands an event's message to the outbox, which keeps it until the broker has it.
    ///
    /// # Errors
    /// When the prompt's name cannot stand in a topic.
    pub fn event(&self, event: &Event) -> Result<RecordId, PublishError> {
        let id = self.desk().event(event, time::now())?;
        self.0.wake.notify_one();
        Ok(id)
    }

    /// Publishes all open events; retained, and said again on every connect.
    pub fn active(&self, events: &[Event]) {
        self.desk().active(events);
        self.0.wake.notify_one();
    }

    /// These prompts are looked for from now on; Home Assistant, if it is told anything, makes and removes their entities.
    pub fn prompts<'a>(&self, prompts: impl IntoIterator<Item = &'a str>) {
        self.desk().prompts(prompts);
        self.0.wake.notify_one();
    }

    /// The wall clock was set: later stamps are told by it.
    pub fn timeline_is(&self, timeline: Timeline) {
        self.desk().timeline_is(timeline);
    }

    /// Home Assistant has said that it came (back): tells it everything again.
    pub fn home_assistant_came(&self) {
        self.desk().home_assistant_came();
        self.0.wake.notify_one();
    }

    /// Publishes how perceptd is doing: every sensor's counters from the telemetry, the outbox, and what `reading` adds.
    pub fn health(&self, reading: &HealthReading) {
        let arrivals_dropped = self.arrivals_dropped();
        self.desk().health(reading, arrivals_dropped);
        self.0.wake.notify_one();
    }

    /// Publishes state on a topic of its own: retained, and said again on every connect until it changes. An empty payload clears
    /// the topic.
    pub fn state(&self, class: Class, topic: String, payload: Vec<u8>) {
        self.desk().state(class, topic, payload);
        self.0.wake.notify_one();
    }

    /// Answers a request on its response topic, with QoS 1. Whether the topic may be answered is the caller's to know.
    pub fn reply(&self, topic: String, correlation_data: Option<Vec<u8>>, payload: Vec<u8>) {
        self.desk().reply(topic, correlation_data, payload);
        self.0.wake.notify_one();
    }

    /// Messages from the broker that had to go because the inbox was slow, so far.
    #[must_use]
    pub fn arrivals_dropped(&self) -> u64 {
        self.0.arrivals_dropped.load(Ordering::Relaxed)
    }

    /// Replies, and answers to wishes, that had to go because too many waited for the broker, so far.
    #[must_use]
    pub fn replies_dropped(&self) -> u64 {
        self.desk().replies_dropped()
    }

    pub(super) fn arrivals_dropped_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.arrivals_dropped)
    }

    /// Publishes what became of the last wish for the config, and what is in force; retained, and said again on every connect.
    pub fn config_reported(&self, report: &ConfigReport<'_>) {
        self.desk().config_reported(report);
        self.0.wake.notify_one();
    }

    /// Publishes what became of a prompt; retained, and said again on every connect.
    pub fn prompt_reported(&self, report: &PromptReport, at: MonoTime) {
        if let Err(error) = self.desk().prompt_reported(report, at) {
            tracing::error!(%error, "a prompt cannot be reported");
        }
        self.0.wake.notify_one();
    }

    /// Publishes that there is no such prompt any more.
    pub fn prompt_gone(&self, prompt: &str) {
        if let Err(error) = self.desk().prompt_gone(prompt) {
            tracing::error!(%error, "the end of a prompt cannot be reported");
        }
        self.0.wake.notify_one();
    }

    /// Answers a command.
    pub fn command_reply(&self, reply: &CommandReply, at: MonoTime) {
        self.desk().command_reply(reply, at);
        self.0.wake.notify_one();
    }

    /// The sensors that perceptd reads have changed; tells it, if they have.
    pub fn sensors(&self, sensors: Vec<(SensorId, Modality)>, now: MonoTime) {
        self.desk().sensors(sensors, now);
        self.0.wake.notify_one();
    }

    /// Counts a message that is not acted on, for `health`.
    pub fn count_refusal(&self, reason: RefusalReason) {
        self.desk().count_refusal(reason);
    }

    /// perceptd listens to topics, and may record: the birth says so.
    pub fn listens(&self, records: bool) {
        self.desk().listens(records);
    }

    /// `perceptd/v1/<fleet>/<robot>/`.
    #[must_use]
    pub fn root(&self) -> String {
        self.desk().topics().root().to_owned()
    }

    /// What the outbox has counted so far.
    #[must_use]
    pub fn outbox_counts(&self) -> OutboxCounts {
        self.desk().outbox().counts()
    }

    /// Events that wait for an acknowledgement.
    #[must_use]
    pub fn outbox_len(&self) -> usize {
        self.desk().outbox().len()
    }

    /// Offers events again that the broker has taken before, or that nobody wanted: from a sequence number on, of one prompt or of
    /// all, as far as they are still kept.
    ///
    /// # Errors
    /// When the prompt's name cannot stand in a topic, or the disk does not give them.
    pub fn resend(&self, from_seq: u64, prompt: Option<&str>) -> Result<Resent, PublishError> {
        let resent = self.desk().resend(from_seq, prompt, time::now())?;
        self.0.wake.notify_one();
        Ok(resent)
    }

    /// Waits until there is a connection, at most `limit`; tells whether there is one. For a replay, and never from the runtime.
    #[must_use]
    pub fn wait_until_connected(&self, limit: Duration) -> bool {
        self.wait_while(limit, |desk| !desk.is_connected()).is_connected()
    }

    fn desk_with_room(&self, topic: &str) -> MutexGuard<'_, Desk> {
        if self.desk().must_wait(topic) {
            self.send_vectors();
        }
        self.wait_while(REPLAY_PATIENCE, |desk| desk.must_wait(topic))
    }

    fn wait_while(&self, limit: Duration, condition: impl Fn(&Desk) -> bool) -> MutexGuard<'_, Desk> {
        let wait = self.0.changed.wait_timeout_while(self.desk(), limit, |desk| condition(desk));
        wait.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Tells who waits that the desk has changed.
    pub(super) fn announce(&self) {
        self.0.changed.notify_all();
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        // Every change of the desk is whole before anything in it could panic.
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn woken(&self) {
        self.0.wake.notified().await;
    }
}
