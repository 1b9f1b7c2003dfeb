//! What the outbox knows of a record while it holds it, and of an event.

use std::collections::VecDeque;

use uuid::Uuid;

use super::RecordId;
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
    /// How often broken connections have had it offered again.
    pub(super) repeats: u8,
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
