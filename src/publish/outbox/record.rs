//! What the outbox holds and counts, and within which bounds.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::modality::SensorId;
use crate::time::{MonoTime, NANOS_PER_SEC};

/// 2020: a wall clock before it has not been set yet and says nothing about a message's age.
const CLOCK_IS_SET_UNIX_NANOS: i64 = 1_577_836_800 * NANOS_PER_SEC;

/// Bounds of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Records held at most.
    pub max_records: usize,
    /// Bytes of payload held at most.
    pub max_bytes: usize,
    /// A record that waited longer is dropped.
    pub max_age: Duration,
    /// How long a record is offered again after the broker first said that nobody subscribes, or refused it.
    pub retry_for: Duration,
    /// Wait between such offers; shorter on a connection that is younger than a few of it.
    pub retry_every: Duration,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            max_records: 100_000,
            max_bytes: 64 << 20,
            max_age: Duration::from_secs(7 * 86_400),
            retry_for: Duration::from_secs(60),
            retry_every: Duration::from_secs(1),
        }
    }
}

/// Names a record in this outbox, also across restarts where it lies on disk; rises with every accepted record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub(super) u64);

/// One message of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The event; its records are delivered in the order in which they were accepted.
    pub event: Uuid,
    /// The sensor that it is about, for counting.
    pub sensor: SensorId,
    /// Topic.
    pub topic: String,
    /// The boot that the sequence number belongs to.
    pub boot_id: Arc<str>,
    /// Sequence number within topic and boot.
    pub seq: u64,
    /// When it was accepted: on this boot's clock, and on the wall clock in nanoseconds.
    pub accepted_at: (MonoTime, i64),
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

/// What [`crate::publish::Publisher::resend`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resent {
    /// Messages that come: those that are offered again, and those that waited for the broker already.
    pub messages: u64,
    /// Of these, the ones that waited already.
    pub waited: u64,
    /// The lowest sequence number that is still there, kept or waiting.
    pub oldest_seq: Option<u64>,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Records accepted.
    pub accepted: u64,
    /// Records acknowledged with success.
    pub delivered: u64,
    /// Records dropped because of the bounds, or because they could not be read back.
    pub dropped: u64,
    /// Records given up because nobody subscribed for [`OutboxLimits::retry_for`].
    pub unclaimed: u64,
    /// Records given up because the broker refused them for [`OutboxLimits::retry_for`].
    pub refused: u64,
    /// Records found at the start, left by a run before.
    pub recovered: u64,
    /// Records offered again although they had been acknowledged: on request, or after a broken connection.
    pub again: u64,
    /// Records that the disk did not take; they are in memory alone.
    pub unwritten: u64,
    /// Records that could not be read back from the disk, and files of them that were set aside.
    pub damaged: u64,
}

/// When a message of another boot was accepted, on this boot's clock; now, if the wall clock does not tell.
pub(super) fn aged(accepted_unix_nanos: i64, now: (MonoTime, i64)) -> MonoTime {
    if accepted_unix_nanos < CLOCK_IS_SET_UNIX_NANOS {
        return now.0;
    }
    now.0.shifted(-now.1.saturating_sub(accepted_unix_nanos).max(0))
}
