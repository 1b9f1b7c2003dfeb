//! The perceptd command: arguments, logging, exit code.
fn main() {}
