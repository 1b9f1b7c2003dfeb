//! What must outlive a restart: the only room that touches the state folder.
//!
//! It keeps what it is given and judges nothing.

pub mod events;
mod remote;

pub use remote::{Answer, ConfigLedger, Fault, RemoteError, RemoteStore, Trial, WishState};
