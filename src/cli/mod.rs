//! The cli room.
pub mod record;
