//! Integration tests, one binary.

mod pack;
mod parity;
