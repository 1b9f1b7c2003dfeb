//! Domain → protobuf and protobuf → [`Heard`](super::Heard): generated types live here and nowhere else.

mod back;
mod out;
mod recover;

pub(super) use back::hear;
pub(super) use out::{Envelope, HealthFacts, OutboxFacts, PresenceState, SensorFacts, StatusFacts};
pub(super) use recover::crash_recovered;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated from proto/")]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/perceptd.v1.rs"));
}
