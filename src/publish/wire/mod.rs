//! Domain → protobuf and protobuf → [`Heard`](super::Heard): generated types live here and nowhere else.

mod answered;
mod asked;
mod back;
mod out;
mod recover;
mod wished;

pub(super) use asked::{command, config_wish, prompt_content};
pub(super) use back::hear;
pub(super) use out::{Envelope, HealthFacts, OutboxFacts, PresenceState, SensorFacts, StatusFacts};
pub(super) use recover::crash_recovered;
#[cfg(test)]
pub(super) use wished::commands;
pub(super) use wished::{config_desired, prompt_desired, prompt_removed};

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated from proto/")]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/perceptd.v1.rs"));
}
