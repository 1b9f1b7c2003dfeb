//! What is reported of wishes that came by topic, and answers to commands.

use std::collections::btree_map::Entry;

use super::state::State;
use super::{Desk, Message};
use crate::modality::{BadName, Modality, SensorId};
use crate::publish::inbox::RefusalReason;
use crate::publish::report::{CommandReply, ConfigReport, PromptReport};
use crate::publish::topics::Class;
use crate::time::MonoTime;

impl Desk {
    pub(in crate::publish) fn config_reported(&mut self, report: &ConfigReport<'_>) {
        let topic = self.topics.config_reported();
        let seq = self.numbers.next(&topic);
        let payload = self.presence.envelope(seq).config_reported(report);
        let answer = report.ledger.answer.as_ref().map(|answer| (&answer.digest, answer.state));
        self.put_answer(Class::ConfigReported, topic, seq, payload, format!("{answer:?}"));
    }

    pub(in crate::publish) fn prompt_reported(&mut self, report: &PromptReport, at: MonoTime) -> Result<(), BadName> {
        let topic = self.topics.prompt_reported(&report.prompt)?;
        let seq = self.numbers.next(&topic);
        let payload = self.presence.envelope(seq).prompt_reported(report, at);
        self.put_answer(Class::PromptReported, topic, seq, payload, format!("{:?}", (&report.digest, report.state)));
        Ok(())
    }

    /// Puts state in its place. `answer` names what it answers and how: where it waits already, it need not be said twice. Of those that
    /// wait the oldest goes, counted, when they are too many.
    pub(super) fn put_answer(&mut self, class: Class, topic: String, seq: u64, payload: Vec<u8>, answer: String) {
        let message = Message { class, topic, boot_id: self.boot_id(), seq, payload, correlation_data: None };
        let key = (class, message.topic.clone());
        match self.states.entry(key) {
            Entry::Occupied(mut known) => self.replies_dropped += known.get_mut().replace(message, answer),
            Entry::Vacant(new) => drop(new.insert(State::new(message, answer))),
        }
    }

    pub(in crate::publish) fn prompt_gone(&mut self, prompt: &str) -> Result<(), BadName> {
        let topic = self.topics.prompt_reported(prompt)?;
        self.state(Class::PromptReported, topic, Vec::new());
        Ok(())
    }

    pub(in crate::publish) fn command_reply(&mut self, answer: &CommandReply, at: MonoTime) {
        let payload = self.presence.envelope(0).command_reply(answer, at, &self.parts.timeline);
        let correlation_data = (!answer.to.correlation_data.is_empty()).then(|| answer.to.correlation_data.clone());
        self.reply(answer.to.topic.clone(), correlation_data, payload);
    }

    /// The sensors that perceptd reads have changed: the birth is said again.
    pub(in crate::publish) fn sensors(&mut self, sensors: Vec<(SensorId, Modality)>, now: MonoTime) {
        if self.parts.sensors == sensors {
            return;
        }
        self.presence.sensors_changed(sensors.clone());
        let before = std::mem::replace(&mut self.parts.sensors, sensors);
        let left =
            before.into_iter().map(|(id, _)| id).filter(|id| self.parts.sensors.iter().all(|(known, _)| known != id));
        let left: Vec<SensorId> = left.collect();
        self.home_gone(&left);
        if self.is_connected {
            self.say_birth(now);
        }
    }

    /// perceptd listens to topics: the birth says so.
    pub(in crate::publish) fn listens(&mut self, records: bool) {
        self.presence.listens(records);
    }

    pub(in crate::publish) fn count_refusal(&mut self, reason: RefusalReason) {
        *self.refusals.entry(reason).or_default() += 1;
    }
}
