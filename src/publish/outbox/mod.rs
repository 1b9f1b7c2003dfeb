//! Events on their way to the broker: an event belongs to the outbox until the broker acknowledges it with success.
//!
//! In memory. Bounded by count and bytes: the oldest goes first and is counted. A record waits only behind earlier records of its own
//! event, so live events do not queue behind a backlog. Pure: it does not know the client, and time comes in.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use crate::modality::SensorId;
use crate::time::MonoTime;

/// Bounds of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Records held at most.
    pub max_records: usize,
    /// Bytes of payload held at most.
    pub max_bytes: usize,
    /// How long a record is offered again after the broker first said that nobody subscribes, or refused it.
    pub retry_for: Duration,
    /// Wait between such offers.
    pub retry_every: Duration,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            max_records: 10_000,
            max_bytes: 16 << 20,
            retry_for: Duration::from_secs(60),
            retry_every: Duration::from_secs(1),
        }
    }
}

/// Names a record for as long as the process lives; rises with every accepted record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(u64);

/// One message of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The event; its records are delivered in the order in which they were accepted.
    pub event: Uuid,
    /// The sensor that it is about, for counting.
    pub sensor: SensorId,
    /// Topic.
    pub topic: String,
    /// Sequence number within the topic.
    pub seq: u64,
    /// Encoded message.
    pub payload: Vec<u8>,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker acknowledged it with reason 0x00.
    Delivered,
    /// Acknowledged with reason 0x10: the broker had no subscriber to give it to.
    Unclaimed,
    /// Acknowledged with a failure.
    Refused,
    /// The connection ended before it was acknowledged.
    Undone,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Records accepted.
    pub accepted: u64,
    /// Records acknowledged with success.
    pub delivered: u64,
    /// Records dropped because of the bounds.
    pub dropped: u64,
    /// Records given up because nobody subscribed for [`OutboxLimits::retry_for`].
    pub unclaimed: u64,
    /// Records given up because the broker refused them for [`OutboxLimits::retry_for`].
    pub refused: u64,
}

/// Live records first: what was accepted since the last connect and has not failed yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Live,
    Backlog,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind an earlier record of its event.
    Behind,
    /// May be offered.
    Ready(Lane),
    /// Offered, not yet acknowledged.
    Offered,
    /// Waits for its next offer.
    Resting(MonoTime),
}

struct Held {
    record: Record,
    place: Place,
    first_failed_at: Option<MonoTime>,
}

/// The outbox.
pub struct Outbox {
    limits: OutboxLimits,
    held: BTreeMap<RecordId, Held>,
    by_event: HashMap<Uuid, VecDeque<RecordId>>,
    ready: BTreeSet<(Lane, RecordId)>,
    resting: BTreeSet<(MonoTime, RecordId)>,
    next_id: u64,
    backlog_below: u64,
    bytes: usize,
    offered: usize,
    counts: OutboxCounts,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            held: BTreeMap::new(),
            by_event: HashMap::new(),
            ready: BTreeSet::new(),
            resting: BTreeSet::new(),
            next_id: 0,
            backlog_below: 0,
            bytes: 0,
            offered: 0,
            counts: OutboxCounts::default(),
        }
    }

    /// Takes a record over. Returns its id and the records that had to go for it: the oldest, or the record itself if no room would do.
    pub fn accept(&mut self, record: Record) -> (RecordId, Vec<Record>) {
        let id = RecordId(self.next_id);
        self.next_id += 1;
        self.counts.accepted += 1;
        if record.payload.len() > self.limits.max_bytes {
            self.counts.dropped += 1;
            return (id, vec![record]);
        }
        self.bytes += record.payload.len();
        let queue = self.by_event.entry(record.event).or_default();
        queue.push_back(id);
        let is_first = queue.len() == 1;
        self.held.insert(id, Held { record, place: Place::Behind, first_failed_at: None });
        if is_first {
            self.place(id, Place::Ready(Lane::Live));
        }
        (id, self.keep_bounds())
    }

    /// The next record to offer, if any may be.
    pub fn offer(&mut self, now: MonoTime) -> Option<(RecordId, &Record)> {
        while let Some(&(due, id)) = self.resting.first()
            && due <= now
        {
            self.place(id, Place::Ready(Lane::Backlog));
        }
        let &(_, id) = self.ready.first()?;
        self.place(id, Place::Offered);
        self.held.get(&id).map(|held| (id, &held.record))
    }

    /// What became of an offer. Unknown ids (dropped meanwhile) are ignored.
    pub fn settle(&mut self, id: RecordId, outcome: Outcome, now: MonoTime) {
        let Some(held) = self.held.get_mut(&id).filter(|held| held.place == Place::Offered) else { return };
        match outcome {
            Outcome::Delivered => {
                self.counts.delivered += 1;
                self.remove(id);
            }
            Outcome::Undone => self.place(id, Place::Ready(Lane::Backlog)),
            Outcome::Unclaimed | Outcome::Refused => {
                let since = *held.first_failed_at.get_or_insert(now);
                if now >= since + self.limits.retry_for {
                    match outcome {
                        Outcome::Refused => self.counts.refused += 1,
                        _ => self.counts.unclaimed += 1,
                    }
                    self.remove(id);
                } else {
                    self.place(id, Place::Resting(now + self.limits.retry_every));
                }
            }
        }
    }

    /// A connection came up: what waits now is backlog, what is accepted from now on goes before it.
    pub fn connected(&mut self) {
        self.backlog_below = self.next_id;
        let waiting: Vec<RecordId> = self.ready.iter().map(|&(_, id)| id).collect();
        for id in waiting {
            self.place(id, Place::Ready(Lane::Backlog));
        }
    }

    /// Records that nobody has refused yet; a stop waits for these only.
    #[must_use]
    pub fn untried(&self) -> usize {
        self.held.values().filter(|held| held.first_failed_at.is_none()).count()
    }

    /// Records held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes of payload held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records offered and not yet acknowledged.
    #[must_use]
    pub const fn offered(&self) -> usize {
        self.offered
    }

    /// When the next resting record is due.
    #[must_use]
    pub fn next_due(&self) -> Option<MonoTime> {
        self.resting.first().map(|&(due, _)| due)
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counts(&self) -> OutboxCounts {
        self.counts
    }

    /// Moves a record to `place`, in all indices.
    fn place(&mut self, id: RecordId, place: Place) {
        let Some(held) = self.held.get_mut(&id) else { return };
        match std::mem::replace(&mut held.place, place) {
            Place::Behind => {}
            Place::Ready(lane) => {
                self.ready.remove(&(lane, id));
            }
            Place::Offered => self.offered -= 1,
            Place::Resting(due) => {
                self.resting.remove(&(due, id));
            }
        }
        match place {
            Place::Behind => {}
            Place::Ready(lane) => {
                self.ready.insert((lane, id));
            }
            Place::Offered => self.offered += 1,
            Place::Resting(due) => {
                self.resting.insert((due, id));
            }
        }
    }

    /// Takes a record out and lets the next of its event go forward.
    fn remove(&mut self, id: RecordId) -> Option<Record> {
        self.place(id, Place::Behind);
        let record = self.held.remove(&id)?.record;
        self.bytes -= record.payload.len();
        let next = self.by_event.get_mut(&record.event).and_then(|queue| {
            queue.retain(|&queued| queued != id);
            queue.front().copied()
        });
        match next {
            Some(next) if self.held.get(&next).is_some_and(|held| held.place == Place::Behind) => {
                let lane = if next.0 < self.backlog_below { Lane::Backlog } else { Lane::Live };
                self.place(next, Place::Ready(lane));
            }
            Some(_) => {}
            None => {
                self.by_event.remove(&record.event);
            }
        }
        Some(record)
    }

    /// Drops the oldest until the bounds hold; what is offered right now goes last, since it may be delivered already.
    fn keep_bounds(&mut self) -> Vec<Record> {
        let mut dropped = Vec::new();
        while self.held.len() > self.limits.max_records || self.bytes > self.limits.max_bytes {
            let oldest =
                self.held.iter().find(|(_, held)| held.place != Place::Offered).or_else(|| self.held.iter().next());
            let Some((&id, _)) = oldest else { break };
            dropped.extend(self.remove(id));
            self.counts.dropped += 1;
        }
        dropped
    }
}

#[cfg(test)]
mod tests;
