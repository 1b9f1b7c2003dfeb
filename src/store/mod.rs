//! What must outlive a restart: the only room that touches the state folder.
//!
//! It keeps what it is given and judges nothing. A write is whole or not there: beside, synced, renamed.

mod remote;

pub use remote::{Answer, ConfigLedger, Fault, RemoteStore, StoreError, Trial, WishState};
