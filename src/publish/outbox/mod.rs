//! Events on their way to the broker: an event belongs to the outbox until the broker acknowledges it with success.
//!
//! Messages lie on the shelf, on disk or in memory; here is only which may be offered when. Bounded by count, bytes and age: the
//! oldest goes first and is counted. A record waits only behind earlier records of its own event, so live events do not queue behind
//! a backlog. What the broker has taken stays on the shelf for a while: it is offered again on request, and by itself when the
//! connection broke soon afterwards, for a broker that dies may take along what it had acknowledged and not yet passed on. It does
//! not know the client, and time comes in.

mod gauges;
mod held;
mod record;
mod shelf;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use crate::modality::SensorId;
use crate::store::events::{EventStore, Fate, Left, Openness, StoreError};
use crate::time::MonoTime;
use held::{Held, Place, Queue, Trust};
use record::aged;
use shelf::{Card, Shelf, card};

pub use record::{OutboxCounts, OutboxLimits, Outcome, Record, RecordId, Resent};

/// A record is safe when the connections that acknowledged it have lived on for so long, all of them together. Until then it is
/// offered again on the next: a broker that was killed may have acknowledged what it had not handed on, and a repeat just before the
/// next kill is lost as the first was. On a machine with far too much to do, of the messages that were acknowledged less than a tenth
/// of a second before a kill four in five never came, a second before it one in ten, and hardly any beyond two (docs/faults.md).
const SAFE_AFTER: Duration = Duration::from_secs(2);

/// So often a record is offered again by itself at most: one that kills the broker shall not do so for ever.
const MOST_REPEATS: u8 = 20;

/// A broken connection is noticed within so long. A peer's kernel and a proxy answer for a broker that hangs, so how long it lived is
/// known from when it took events alone; but what was acknowledged so long ago is not offered again: the disk keeps it no longer.
const NOTICED_WITHIN: Duration = Duration::from_secs(600);

/// On a young connection a record that nobody wanted rests for this part of the connection's age, and at least for so long: after a
/// broker's start its subscribers come within moments, and what is offered late is what the next kill takes along.
const YOUNG_REST: (u32, Duration) = (4, Duration::from_millis(100));

/// The outbox.
pub struct Outbox {
    limits: OutboxLimits,
    shelf: Shelf,
    held: BTreeMap<RecordId, Held>,
    by_event: HashMap<Uuid, Queue>,
    /// Ready records that were accepted since the last connect, and of whose event none has failed yet: they go first.
    live: BTreeSet<RecordId>,
    /// The other ready records.
    backlog: BTreeSet<RecordId>,
    resting: BTreeSet<(MonoTime, RecordId)>,
    /// The newest that were acknowledged on this connection, and when.
    acknowledged: VecDeque<(MonoTime, RecordId, Trust)>,
    /// Since when there is a connection.
    connected_at: Option<MonoTime>,
    /// Until when the newest connection is known to have lived: when its broker took a message last, as a rule.
    lived_until: MonoTime,
    next_id: u64,
    backlog_below: u64,
    bytes: usize,
    offered: usize,
    again: usize,
    counts: OutboxCounts,
    dropped: Vec<SensorId>,
}

impl Outbox {
    /// An empty outbox, in memory.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Self {
        Self::over(limits, Shelf::default())
    }

    /// An outbox on disk, with the messages that the run before has left. `now` is this boot's time and the wall clock's.
    #[must_use]
    pub fn durable(limits: OutboxLimits, disk: EventStore, left: Left, boot_id: &str, now: (MonoTime, i64)) -> Self {
        let mut outbox = Self::over(limits, Shelf::on(disk));
        outbox.counts.damaged = left.set_aside;
        outbox.next_id = left.next_id;
        outbox.backlog_below = left.next_id;
        for message in left.waiting {
            let is_of_this_boot = message.boot_id == boot_id;
            let accepted_at = if is_of_this_boot { message.accepted_at.0 } else { aged(message.accepted_at.1, now) };
            if let Some(card) = card(message) {
                outbox.counts.recovered += 1;
                outbox.hold(Card { accepted_at, ..card }, None);
            }
        }
        outbox.keep_bounds(now.0);
        outbox
    }

    fn over(limits: OutboxLimits, shelf: Shelf) -> Self {
        Self {
            limits,
            shelf,
            held: BTreeMap::new(),
            by_event: HashMap::new(),
            live: BTreeSet::new(),
            backlog: BTreeSet::new(),
            resting: BTreeSet::new(),
            acknowledged: VecDeque::new(),
            connected_at: None,
            lived_until: MonoTime::default(),
            next_id: 0,
            backlog_below: 0,
            bytes: 0,
            offered: 0,
            again: 0,
            counts: OutboxCounts::default(),
            dropped: Vec::new(),
        }
    }

    /// Takes a record over, and drops the oldest if need be, or the record itself if no room would do.
    pub fn accept(&mut self, record: Record, openness: Openness) -> RecordId {
        let id = RecordId(self.next_id);
        self.next_id += 1;
        self.counts.accepted += 1;
        if record.payload.len() > self.limits.max_bytes {
            self.counts.dropped += 1;
            self.dropped.push(record.sensor);
            return id;
        }
        let (card, now) = (Card::of(id, &record), record.accepted_at.0);
        self.shelf.put(id, record, openness);
        self.hold(card, None);
        self.keep_bounds(now);
        id
    }

    /// The sensors of records that were dropped since the last call, one for each.
    pub fn take_dropped(&mut self) -> Vec<SensorId> {
        std::mem::take(&mut self.dropped)
    }

    /// The next record to offer, if any may be.
    pub fn offer(&mut self, now: MonoTime) -> Option<(RecordId, Record)> {
        while let Some(&(due, id)) = self.resting.first()
            && due <= now
        {
            self.place_in_turn(id);
        }
        loop {
            let &id = self.live.first().or_else(|| self.backlog.first())?;
            if let Some(record) = self.shelf.get(id) {
                self.place(id, Place::Offered);
                return Some((id, record));
            }
            self.drop_record(id);
        }
    }

    /// What became of an offer. Unknown ids (dropped meanwhile) are ignored.
    pub fn settle(&mut self, id: RecordId, outcome: Outcome, now: MonoTime) {
        let Some(held) = self.held.get_mut(&id).filter(|held| held.place == Place::Offered) else { return };
        match outcome {
            Outcome::Delivered => {
                self.counts.delivered += u64::from(!held.is_again);
                let event = held.event;
                self.acknowledged.push_back((now, id, held.trust));
                self.lived(now);
                if let Some(queue) = self.by_event.get_mut(&event) {
                    (queue.failing_since, queue.is_unclaimed) = (None, false);
                }
                self.remove(id, Fate::Kept);
            }
            Outcome::Undone => self.place_in_turn(id),
            Outcome::Unclaimed | Outcome::Refused => {
                let queue = self.by_event.entry(held.event).or_default();
                queue.is_unclaimed = outcome == Outcome::Unclaimed;
                // Those behind it fail with it, or an event of many messages would take as many times as long.
                let since = (*queue.failing_since.get_or_insert(now)).max(held.accepted_at);
                if now < since + self.limits.retry_for {
                    let rest = self.rest(now);
                    self.place(id, Place::Resting(now + rest));
                    return;
                }
                let first_time = u64::from(!held.is_again);
                match outcome {
                    Outcome::Refused => self.counts.refused += first_time,
                    _ => self.counts.unclaimed += first_time,
                }
                self.remove(id, Fate::Kept);
            }
        }
    }

    /// The connection was found broken, or there still is none.
    pub fn disconnected(&mut self, now: MonoTime) {
        if self.connected_at.take().is_some() {
            self.lived(now - NOTICED_WITHIN);
        }
    }

    /// The connection still lived at `time`.
    fn lived(&mut self, time: MonoTime) {
        self.lived_until = self.lived_until.max(time);
        while self.acknowledged.front().is_some_and(|&(at, ..)| at + SAFE_AFTER < self.lived_until) {
            self.acknowledged.pop_front();
        }
    }

    /// A connection came up: what waits now is backlog, what is accepted from now on goes before it. What was acknowledged in the
    /// last moments of the connection before is offered again.
    pub fn connected(&mut self, now: MonoTime) {
        self.connected_at = Some(now);
        self.backlog_below = self.next_id;
        self.backlog.append(&mut self.live);
        self.by_event.values_mut().for_each(|queue| queue.is_unclaimed = false);
        let lived_until = self.lived_until;
        let uncertain: BTreeMap<RecordId, Trust> = self
            .acknowledged
            .drain(..)
            .filter_map(|(at, id, trust)| Some((id, trust.after(at, lived_until)?)))
            .collect();
        match self.shelf.again_by_id(&uncertain.keys().copied().collect::<Vec<_>>()) {
            Ok(cards) => self.hold_again(cards, &uncertain),
            Err(error) => tracing::error!(%error, "what the broker may have lost cannot be offered again"),
        }
        self.keep_bounds(now);
    }

    /// How long a record rests that was not taken now.
    fn rest(&self, now: MonoTime) -> Duration {
        let longest = self.limits.retry_every;
        let Some(connected_at) = self.connected_at else { return longest };
        let age = Duration::from_nanos(now.nanos_since(connected_at).max(0).unsigned_abs());
        (age / YOUNG_REST.0).max(YOUNG_REST.1).min(longest)
    }

    /// Offers kept records again, from this sequence number on, of one topic or of all. Those that wait come anyway.
    ///
    /// # Errors
    /// When the disk does not give them.
    pub fn resend(&mut self, from_seq: u64, topic: Option<&str>, now: MonoTime) -> Result<Resent, StoreError> {
        let cards = self.shelf.again(from_seq, topic)?;
        let again = cards.len() as u64;
        // They wait now, so they are held whatever becomes of the counts.
        self.hold_again(cards, &BTreeMap::new());
        let counted = self.shelf.waiting(from_seq, topic).and_then(|all| Ok((all, self.shelf.oldest_seq(topic)?)));
        self.keep_bounds(now);
        let (messages, oldest_seq) = counted?;
        Ok(Resent { messages, waited: messages.saturating_sub(again), oldest_seq })
    }

    /// Puts a record in its place behind earlier ones of its event; `again` of one that has been counted before.
    fn hold(&mut self, card: Card, again: Option<Trust>) {
        let Card { id, event, sensor, bytes, accepted_at } = card;
        self.bytes += bytes;
        self.again += usize::from(again.is_some());
        let ids = &mut self.by_event.entry(event).or_default().ids;
        let at = ids.partition_point(|&queued| queued < id);
        ids.insert(at, id);
        let second = if at == 0 { ids.get(1).copied() } else { None };
        let held = Held {
            event,
            sensor,
            bytes,
            accepted_at,
            place: Place::Behind,
            is_again: again.is_some(),
            trust: again.unwrap_or_default(),
        };
        self.held.insert(id, held);
        self.place_in_turn(id);
        if let Some(second) = second
            && self.held.get(&second).is_some_and(|held| held.place == Place::Ready)
        {
            self.place(second, Place::Behind);
        }
    }

    fn hold_again(&mut self, cards: Vec<Card>, trusts: &BTreeMap<RecordId, Trust>) {
        for card in cards.into_iter().filter(|card| !self.held.contains_key(&card.id)).collect::<Vec<_>>() {
            self.counts.again += 1;
            let trust = trusts.get(&card.id).copied().unwrap_or_default();
            self.hold(card, Some(trust));
        }
    }

    /// Ready if it is the first of its event, behind if it is not.
    fn place_in_turn(&mut self, id: RecordId) {
        let Some(held) = self.held.get(&id) else { return };
        let is_first = self.by_event.get(&held.event).and_then(|queue| queue.ids.front()) == Some(&id);
        self.place(id, if is_first { Place::Ready } else { Place::Behind });
    }

    /// Moves a record to `place`, in all indices.
    fn place(&mut self, id: RecordId, place: Place) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let is_failing = self.by_event.get(&held.event).is_some_and(|queue| queue.failing_since.is_some());
        let has_failed = is_failing || held.is_again;
        match std::mem::replace(&mut held.place, place) {
            Place::Behind => {}
            Place::Ready => {
                self.live.remove(&id);
                self.backlog.remove(&id);
            }
            Place::Offered => self.offered -= 1,
            Place::Resting(due) => {
                self.resting.remove(&(due, id));
            }
        }
        match place {
            Place::Behind => {}
            Place::Ready if id.0 < self.backlog_below || has_failed => {
                self.backlog.insert(id);
            }
            Place::Ready => {
                self.live.insert(id);
            }
            Place::Offered => self.offered += 1,
            Place::Resting(due) => {
                self.resting.insert((due, id));
            }
        }
    }

    /// Takes a record out and lets the next of its event go forward.
    fn remove(&mut self, id: RecordId, fate: Fate) -> Option<Held> {
        self.place(id, Place::Behind);
        let held = self.held.remove(&id)?;
        self.shelf.settle(id, fate);
        self.bytes -= held.bytes;
        self.again -= usize::from(held.is_again);
        let next = self.by_event.get_mut(&held.event).and_then(|queue| {
            queue.ids.retain(|&queued| queued != id);
            queue.ids.front().copied()
        });
        match next {
            Some(next) if self.held.get(&next).is_some_and(|held| held.place == Place::Behind) => {
                self.place(next, Place::Ready);
            }
            Some(_) => {}
            None => {
                self.by_event.remove(&held.event);
            }
        }
        Some(held)
    }

    fn drop_record(&mut self, id: RecordId) {
        let is_again = self.held.get(&id).is_some_and(|held| held.is_again);
        let dropped = self.remove(id, if is_again { Fate::Kept } else { Fate::Gone }).filter(|_| !is_again);
        self.counts.dropped += u64::from(dropped.is_some());
        self.dropped.extend(dropped.map(|held| held.sensor));
    }

    /// Drops the oldest until the bounds hold; what is offered right now goes last, since it may be delivered already.
    fn keep_bounds(&mut self, now: MonoTime) {
        let max_age = self.limits.max_age;
        loop {
            let is_full = self.held.len() > self.limits.max_records || self.bytes > self.limits.max_bytes;
            let mut waiting = self.held.iter().filter(|(_, held)| held.place != Place::Offered);
            let oldest = waiting.next().or_else(|| self.held.iter().next());
            match oldest {
                Some((&id, held)) if is_full || (held.accepted_at + max_age < now && held.place != Place::Offered) => {
                    self.drop_record(id);
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
