//! libFuzzer's entry: the body of the target that `TARGET` names gets bytes until it fails.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports, reason = "what only devices call")]
#[path = "../src/sensors/wire/mod.rs"]
mod wire;
use wire::*;

mod bodies;
#[path = "../tests/packets/mod.rs"]
mod packets;

static TARGET: LazyLock<&bodies::Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let found = bodies::TARGETS.iter().find(|target| target.name == name);
    let names: Vec<_> = bodies::TARGETS.iter().map(|target| target.name).collect();
    found.unwrap_or_else(|| panic!("TARGET is `{name}`: one of {}", names.join(" ")))
});

fuzz_target!(init: first_example(), |bytes: &[u8]| (TARGET.body)(bytes));

/// Writes the target's example into the corpus, so that no search begins from nothing.
fn first_example() {
    let Ok(folder) = std::env::var("CORPUS") else { return };
    std::fs::write(std::path::Path::new(&folder).join("example"), (TARGET.example)()).expect("the corpus is writable");
}
