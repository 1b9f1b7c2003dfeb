//! Everything that tests perceptd from outside, as one binary: it links once.

// Clippy grants these inside #[test] functions only, not in the functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod command_line;
mod control;
mod daemon;
mod demo;
mod mqtt;
mod pack;
mod parity;
mod recording;
mod serial;
mod sources;
mod tidy;
