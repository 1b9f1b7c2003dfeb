//! Where the outbox's messages lie: in the state folder, or in memory where there is none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::{Record, RecordId};
use crate::modality::SensorId;
use crate::store::events::{EventStore, Fate, Openness, StoreError, StoredMessage, WaitingMessage};
use crate::time::MonoTime;

/// Bytes of payload that stay in memory after the broker has taken them, to be sent again on request.
const KEPT_IN_MEMORY_BYTES: usize = 4 << 20;

/// A record without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) id: RecordId,
    pub(super) event: Uuid,
    pub(super) sensor: SensorId,
    pub(super) bytes: usize,
    pub(super) accepted_at: MonoTime,
}

/// The messages by their ids.
#[derive(Default)]
pub(super) struct Shelf {
    disk: Option<EventStore>,
    /// Without a state folder all of them; with one, those that the disk did not take.
    memory: BTreeMap<RecordId, Record>,
    kept: VecDeque<(RecordId, Record)>,
    kept_bytes: usize,
    is_disk_failing: bool,
    /// Messages that the disk did not take.
    pub(super) unwritten: u64,
    /// Messages that could not be read back.
    pub(super) unreadable: u64,
}

impl Shelf {
    pub(super) fn on(disk: EventStore) -> Self {
        Self { disk: Some(disk), ..Self::default() }
    }

    pub(super) const fn disk(&self) -> Option<&EventStore> {
        self.disk.as_ref()
    }

    /// Messages that are only kept.
    pub(super) fn kept(&self) -> usize {
        self.kept.len() + self.disk.as_ref().map_or(0, EventStore::kept)
    }

    /// Messages that wait in memory.
    pub(super) fn in_memory(&self) -> usize {
        self.memory.len()
    }

    pub(super) fn put(&mut self, id: RecordId, record: Record, openness: Openness) {
        let Some(disk) = &self.disk else {
            self.memory.insert(id, record);
            return;
        };
        let message = stored(record);
        match disk.put(id.0, &message, openness) {
            Ok(()) => self.is_disk_failing = false,
            Err(error) => {
                self.unwritten += 1;
                if !std::mem::replace(&mut self.is_disk_failing, true) {
                    tracing::error!(%error, "events are kept in memory alone: the disk does not take them");
                }
                self.memory.extend(recalled(message).map(|record| (id, record)));
            }
        }
    }

    pub(super) fn get(&mut self, id: RecordId) -> Option<Record> {
        if let Some(record) = self.memory.get(&id) {
            return Some(record.clone());
        }
        let found = self.disk.as_ref().map(|disk| disk.get(id.0));
        let record = match found {
            Some(Ok(Some(message))) => recalled(message),
            Some(Err(error)) => {
                tracing::error!(%error, "an event cannot be read back and is skipped");
                None
            }
            Some(Ok(None)) | None => None,
        };
        self.unreadable += u64::from(record.is_none());
        record
    }

    pub(super) fn settle(&mut self, id: RecordId, fate: Fate) {
        match (self.memory.remove(&id), fate) {
            (Some(record), Fate::Kept) => {
                self.kept_bytes += record.payload.len();
                self.kept.push_back((id, record));
                while self.kept_bytes > KEPT_IN_MEMORY_BYTES
                    && let Some((_, oldest)) = self.kept.pop_front()
                {
                    self.kept_bytes -= oldest.payload.len();
                }
            }
            (Some(_), Fate::Gone) => {}
            (None, _) => {
                if let Some(disk) = &self.disk {
                    disk.settle(id.0, fate);
                }
            }
        }
    }

    /// Kept messages from this sequence number on, of one topic or all, wait again.
    pub(super) fn again(&mut self, from_seq: u64, topic: Option<&str>) -> Result<Vec<Card>, StoreError> {
        let mut cards = match &self.disk {
            Some(disk) => disk.again(from_seq, topic)?.into_iter().filter_map(card).collect(),
            None => Vec::new(),
        };
        let is_wanted = |record: &Record| record.seq >= from_seq && topic.is_none_or(|topic| topic == record.topic);
        cards.extend(self.take_kept(|_, record| is_wanted(record)));
        cards.sort_by_key(|card| card.id);
        Ok(cards)
    }

    /// These, as far as they are still kept, wait again.
    pub(super) fn again_by_id(&mut self, ids: &[RecordId]) -> Result<Vec<Card>, StoreError> {
        let mut cards = match &self.disk {
            Some(disk) => {
                let ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
                disk.again_by_id(&ids)?.into_iter().filter_map(card).collect()
            }
            None => Vec::new(),
        };
        cards.extend(self.take_kept(|id, _| ids.contains(id)));
        cards.sort_by_key(|card| card.id);
        Ok(cards)
    }

    /// How many wait, from this sequence number on, of one topic or all.
    pub(super) fn waiting(&self, from_seq: u64, topic: Option<&str>) -> Result<u64, StoreError> {
        let is_wanted = |record: &&Record| record.seq >= from_seq && topic.is_none_or(|topic| topic == record.topic);
        let on_disk = self.disk.as_ref().map_or(Ok(0), |disk| disk.waiting(from_seq, topic))?;
        Ok(on_disk + self.memory.values().filter(is_wanted).count() as u64)
    }

    /// The lowest sequence number that is there, kept or waiting, of one topic or of all.
    pub(super) fn oldest_seq(&self, topic: Option<&str>) -> Result<Option<u64>, StoreError> {
        let of_topic = |record: &&Record| topic.is_none_or(|topic| topic == record.topic);
        let all = self.kept.iter().map(|(_, record)| record).chain(self.memory.values());
        let in_memory = all.filter(of_topic).map(|record| record.seq).min();
        let on_disk = self.disk.as_ref().map(|disk| disk.oldest_seq(topic)).transpose()?.flatten();
        Ok([in_memory, on_disk].into_iter().flatten().min())
    }

    fn take_kept(&mut self, is_wanted: impl Fn(&RecordId, &Record) -> bool) -> Vec<Card> {
        let (wanted, rest) = std::mem::take(&mut self.kept).into_iter().partition(|(id, record)| is_wanted(id, record));
        self.kept = rest;
        let wanted: VecDeque<(RecordId, Record)> = wanted;
        let cards = wanted.iter().map(|(id, record)| Card::of(*id, record)).collect();
        self.kept_bytes -= wanted.iter().map(|(_, record)| record.payload.len()).sum::<usize>();
        self.memory.extend(wanted);
        cards
    }
}

impl Card {
    pub(super) fn of(id: RecordId, record: &Record) -> Self {
        Self {
            id,
            event: record.event,
            sensor: record.sensor.clone(),
            bytes: record.payload.len(),
            accepted_at: record.accepted_at.0,
        }
    }
}

/// A card of this run's boot; none when the sensor's name is not one.
pub(super) fn card(message: WaitingMessage) -> Option<Card> {
    let sensor = SensorId::new(&message.sensor).ok()?;
    let WaitingMessage { id, event, bytes, accepted_at, .. } = message;
    Some(Card { id: RecordId(id), event, sensor, bytes, accepted_at: accepted_at.0 })
}

fn stored(record: Record) -> StoredMessage {
    StoredMessage {
        event: record.event,
        sensor: record.sensor.to_string(),
        topic: record.topic,
        boot_id: record.boot_id.to_string(),
        seq: record.seq,
        accepted_at: record.accepted_at,
        payload: record.payload,
    }
}

fn recalled(message: StoredMessage) -> Option<Record> {
    Some(Record {
        event: message.event,
        sensor: SensorId::new(&message.sensor).ok()?,
        topic: message.topic,
        boot_id: Arc::from(message.boot_id),
        seq: message.seq,
        accepted_at: message.accepted_at,
        payload: message.payload,
    })
}
