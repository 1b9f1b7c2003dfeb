//! Benchmarks: each encoder, and everything that is not an encoder.
fn main() {}
