//! The subcommands, one file each: plain functions that `main` calls.

pub mod check;
