//! What the outbox knows of a record while it holds it, and of an event.

use std::collections::VecDeque;
use std::time::Duration;

use uuid::Uuid;

use super::{MOST_REPEATS, RecordId, SAFE_AFTER};
use crate::modality::SensorId;
use crate::time::MonoTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind an earlier record of its event.
    Behind,
    /// May be offered.
    Ready,
    /// Offered, not yet acknowledged.
    Offered,
    /// Waits for its next offer.
    Resting(MonoTime),
}

pub(super) struct Held {
    pub(super) event: Uuid,
    pub(super) sensor: SensorId,
    pub(super) bytes: usize,
    pub(super) accepted_at: MonoTime,
    pub(super) place: Place,
    /// It has been counted as delivered or given up before.
    pub(super) is_again: bool,
    pub(super) trust: Trust,
}

/// How far it may be trusted that an acknowledged record was handed on. The longer a connection lived after the acknowledgement, the
/// likelier it was; so the times add up, and a repeat that the next break cut short counts for little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    /// How long the connections that acknowledged it lived afterwards, all of them together.
    outlived: Duration,
    /// How often broken connections have had it offered again.
    repeats: u8,
}

impl Trust {
    /// Of a record that was acknowledged at `at` on a connection that lived until `until`; none when it need not be offered again.
    pub(super) fn after(self, at: MonoTime, until: MonoTime) -> Option<Self> {
        let lived = Duration::from_nanos(until.nanos_since(at).max(0).unsigned_abs());
        let (outlived, repeats) = (self.outlived + lived, self.repeats + 1);
        (outlived < SAFE_AFTER && repeats <= MOST_REPEATS).then_some(Self { outlived, repeats })
    }
}

/// An event's records in their order; only the first may be offered.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) ids: VecDeque<RecordId>,
    /// Since when the broker has taken none of them.
    pub(super) failing_since: Option<MonoTime>,
    /// Whether its last answer, on the last connection, was that nobody subscribes.
    pub(super) is_unclaimed: bool,
}
