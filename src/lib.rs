//! perceptd reads what a robot senses, embeds it into one joint space and publishes embeddings and detection events over MQTT.
//!
//! Data flows one way; see `ARCHITECTURE.md` for the map and its invariants:
//!
//! ```text
//! devices → sensors → windows → encoders → space → prompts → detect → events → publish → broker
//! ```

// The floor: what every room stands on.
pub mod backoff;
pub mod children;
pub mod files;
pub mod geometry;
pub mod media;
pub mod modality;
pub mod pipe;
pub mod simd;
pub mod stdout;
pub mod telemetry;
pub mod time;

// The rooms, upstream first.
pub mod detect;
pub mod encoders;
pub mod events;
pub mod prompts;
pub mod publish;
pub mod recording;
pub mod sensors;
pub mod space;
pub mod store;
pub mod windows;

// Composition.
pub mod cli;
pub mod config;
pub mod daemon;
