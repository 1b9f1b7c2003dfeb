//! The cli room.

pub mod embed;
