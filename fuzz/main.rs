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

/// What `pcm.rs` takes from its room.
mod sensors {
    pub(crate) mod settings {
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum PcmEncoding {
            S16Le,
            F32Le,
        }
    }
}
use sensors::settings::PcmEncoding;

#[path = "../src/sensors/stream/pcm.rs"]
mod pcm;
use pcm::PcmSplitter;

mod bodies;
mod cdr_body;
#[path = "../tests/packets/mod.rs"]
mod packets;
mod pcm_body;

/// What is no parser of a device's wire.
const OTHERS: &[bodies::Target] = &[
    bodies::Target { name: "cdr", body: cdr_body::cdr, example: cdr_body::example },
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
