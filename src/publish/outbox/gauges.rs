//! What the outbox tells of itself.

use super::{Outbox, OutboxCounts};
use crate::store::events::EventStore;
use crate::time::MonoTime;

impl Outbox {
    /// Records of events of which nothing has been refused yet; a stop waits for these only.
    #[must_use]
    pub fn untried(&self) -> usize {
        self.by_event.values().filter(|queue| queue.failing_since.is_none()).map(|queue| queue.ids.len()).sum()
    }

    /// Held records of events of which the broker has said, on the last connection, that nobody subscribes; those behind go with the first.
    #[must_use]
    pub fn unclaimed(&self) -> usize {
        self.by_event.values().filter(|queue| queue.is_unclaimed).map(|queue| queue.ids.len()).sum()
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

    /// Held records that had been acknowledged or given up before.
    #[must_use]
    pub const fn again(&self) -> usize {
        self.again
    }

    /// Records that stay for a while after they were acknowledged or given up.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.shelf.kept()
    }

    /// Whether the records outlive the process.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        self.shelf.disk().is_some()
    }

    /// Held records that lie in memory alone: all of them without a state folder, with one those that its disk did not take.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        self.shelf.in_memory()
    }

    /// Times that the disk could not be synced.
    #[must_use]
    pub fn failed_syncs(&self) -> u64 {
        self.shelf.disk().map_or(0, EventStore::failed_syncs)
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
        let (unwritten, damaged) = (self.shelf.unwritten, self.counts.damaged + self.shelf.unreadable);
        OutboxCounts { unwritten, damaged, ..self.counts }
    }
}
