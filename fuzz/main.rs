//! libFuzzer's entry: the body of the target that `TARGET` names gets bytes until it fails.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports, reason = "what only devices call")]
#[path = "../src/sensors/wire/mod.rs"]
mod wire;
use wire::*;

#[path = "../src/recording/cdr.rs"]
mod cdr;
use cdr::CdrReader;

/// What `thermal.rs` and `depth.rs` take from the floor.
mod media {
    pub(crate) struct Plane {
        pub(crate) width: u32,
        pub(crate) height: u32,
        pub(crate) values: Vec<f32>,
    }
}
use media::Plane;

/// What `pcm.rs` and `thermal.rs` take from their room.
mod sensors {
    pub(crate) mod settings {
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(crate) enum ThermalLayout {
            Y16 { telemetry_rows: u32, kelvin_per_step: Option<f64> },
            DoubleHeight { marker_rows: u32 },
        }

        #[derive(Clone, Copy, Debug)]
        pub(crate) enum PcmEncoding {
            S16Le,
            F32Le,
        }
    }
}
use sensors::settings::{PcmEncoding, ThermalLayout};

#[path = "../src/sensors/stream/pcm.rs"]
mod pcm;
use pcm::PcmSplitter;
#[path = "../src/sensors/stream/frame_cutter.rs"]
mod frame_cutter;
use frame_cutter::FrameCutter;

#[allow(dead_code, private_interfaces, reason = "what only devices call")]
#[path = "../src/sensors/camera/depth.rs"]
mod depth;
#[allow(dead_code, private_interfaces, reason = "what only devices call")]
#[path = "../src/sensors/camera/thermal.rs"]
mod thermal;
use depth::depth_frame;
use thermal::thermal_frame;

mod bodies;
mod cdr_body;
mod cut_body;
mod frames_body;
#[path = "../tests/packets/mod.rs"]
mod packets;
mod pcm_body;

/// What is no parser of a device's wire.
const OTHERS: &[bodies::Target] = &[
    bodies::Target { name: "cdr", body: cdr_body::cdr, example: cdr_body::example },
    bodies::Target { name: "cut", body: cut_body::cut, example: cut_body::example },
    bodies::Target { name: "frames", body: frames_body::frames, example: frames_body::example },
    bodies::Target { name: "pcm", body: pcm_body::pcm, example: pcm_body::example },
];

static TARGET: LazyLock<&bodies::Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let all = || bodies::TARGETS.iter().chain(OTHERS);
    let found = all().find(|target| target.name == name);
    let names: Vec<_> = all().map(|target| target.name).collect();
    found.unwrap_or_else(|| panic!("TARGET is `{name}`: one of {}", names.join(" ")))
});

fuzz_target!(init: first_example(), |bytes: &[u8]| (TARGET.body)(bytes));

/// Writes the target's example into the corpus, so that no search begins from nothing.
fn first_example() {
    let Ok(folder) = std::env::var("CORPUS") else { return };
    std::fs::write(std::path::Path::new(&folder).join("example"), (TARGET.example)()).expect("the corpus is writable");
}
