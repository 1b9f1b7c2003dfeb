//! The cli room.

pub mod detect;
