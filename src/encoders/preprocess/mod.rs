//! From what sensors and files give to what models take: pure, no I/O, equal to the Python recipe within stated tolerances.

pub mod grey;
pub mod image;
pub mod log_mel;
pub mod motion;
pub mod resample;
mod resize;
pub mod text;
