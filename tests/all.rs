//! Everything that tests perceptd from outside, as one binary: it links once.

// Clippy grants these inside #[test] functions only, not in the functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod control;
mod daemon;
mod demo;
mod mqtt;
mod pack;
mod parity;
mod serial;
mod sources;
mod tidy;
