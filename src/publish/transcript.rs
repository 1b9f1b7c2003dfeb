//! What a subscriber would hear, without a broker: for replays whose findings go to a file.

use std::collections::BTreeMap;

use super::heard::Heard;
use super::topics::Class;
use super::wire::{Envelope, hear};
use super::{EmbeddingReading, JointReading};
use crate::events::Event;
use crate::time::Timeline;

/// A message as it would have been published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    class: Class,
    /// Its topic below the robot's root, such as `event/dog`.
    pub topic: String,
    /// Its protobuf encoding.
    pub payload: Vec<u8>,
}

impl Said {
    /// Name of the protobuf message, such as `perceptd.v1.Event`.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.class.rule().message
    }

    /// The message as plain data.
    #[must_use]
    pub fn heard(&self) -> Heard {
        hear(self.class, &self.payload)
            .unwrap_or_else(|why| Heard::Unreadable { topic: self.topic.clone(), why: why.to_string() })
    }
}

/// Encodes and numbers messages as the publisher does: from 1, by topic.
#[derive(Debug)]
pub struct Transcript {
    timeline: Timeline,
    next_seqs: BTreeMap<String, u64>,
}

impl Transcript {
    /// A transcript of one run.
    #[must_use]
    pub const fn new(timeline: Timeline) -> Self {
        Self { timeline, next_seqs: BTreeMap::new() }
    }

    /// A sensor's vector.
    pub fn embedding(&mut self, reading: &EmbeddingReading<'_>) -> Said {
        let topic = format!("embedding/{}", reading.sensor);
        self.say(Class::Embedding, topic, |envelope| envelope.embedding(reading))
    }

    /// The joint vector.
    pub fn joint(&mut self, reading: &JointReading<'_>) -> Said {
        self.say(Class::Joint, "joint".to_owned(), |envelope| envelope.joint(reading))
    }

    /// An event's message.
    pub fn event(&mut self, event: &Event) -> Said {
        self.say(Class::Event, format!("event/{}", event.prompt), |envelope| envelope.event(event))
    }

    fn say(&mut self, class: Class, topic: String, encode: impl FnOnce(&Envelope<'_>) -> Vec<u8>) -> Said {
        let seq = self.next_seqs.entry(topic.clone()).or_insert(1);
        let payload = encode(&Envelope { timeline: &self.timeline, seq: *seq });
        *seq += 1;
        Said { class, topic, payload }
    }
}
