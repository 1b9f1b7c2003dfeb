//! Keeps the house as `ARCHITECTURE.md` draws it: arrows between rooms, crates per room, sizes, docs, nothing left behind.

mod source;

use std::path::{Path, PathBuf};

use source::Source;

/// What every room stands on.
const FLOOR: [&str; 11] =
    ["backoff", "children", "files", "geometry", "media", "modality", "pipe", "simd", "stdout", "telemetry", "time"];

/// Data flows from left to right: a room may import what stands to its left.
const STREAM: [&str; 9] =
    ["sensors", "recording", "windows", "encoders", "space", "prompts", "detect", "events", "publish"];

/// Rooms above the stream: each may import all of it, and what stands to its left here. `store` stands among them for those to its right
/// alone; what it may import itself is less, see [`BESIDE`].
const ABOVE: [&str; 4] = ["store", "config", "daemon", "cli"];

/// Other rooms, and what each may import beyond the floor. `publish` may also call `store`.
const BESIDE: [(&str, &[&str]); 3] =
    [("store", &["encoders", "space", "prompts", "detect", "events"]), ("main", &["cli"]), ("lib", &[])];

/// Crates that only these rooms may name: a device, a runtime or a format stays behind its room's types.
const CRATES: [(&str, &[&str]); 34] = [
    ("alsa", &["sensors"]),
    ("anyhow", &["cli", "daemon"]),
    ("base64", &["sensors"]),
    ("clap", &["main", "cli"]),
    ("cpal", &["sensors"]),
    ("crc32fast", &["recording"]),
    ("httparse", &["sensors"]),
    ("image", &["media"]),
    ("lz4_flex", &["recording"]),
    ("mavlink", &["sensors"]),
    ("mcap", &["recording"]),
    ("nix", &["children"]),
    ("nokhwa", &["sensors"]),
    ("prost", &["publish", "recording"]),
    ("realfft", &["encoders"]),
    ("rubato", &["windows"]),
    ("rumqttc", &["publish"]),
    ("rumqttc_v4", &["publish"]),
    ("rumqttd", &["publish"]),
    ("rusqlite", &["store"]),
    ("rustix", &["time", "sensors", "daemon"]),
    ("ruzstd", &["recording"]),
    ("safetensors", &["encoders"]),
    ("sd_notify", &["daemon"]),
    ("serialport", &["sensors"]),
    ("symphonia", &["media"]),
    ("tokenizers", &["encoders"]),
    ("tokio", &["publish", "daemon", "cli"]),
    ("toml", &["config", "encoders"]),
    ("tract_onnx", &["encoders"]),
    ("tracing_subscriber", &["cli"]),
    ("uuid", &["events", "publish", "store"]),
    ("v4l", &["sensors"]),
    ("zune_jpeg", &["media"]),
];

/// Crates that stay in one file of their room, or below it.
const ONE_FILE: [&str; 9] =
    ["tract_onnx", "alsa", "cpal", "mavlink", "nokhwa", "serialport", "v4l", "rubato", "tokenizers"];

/// Lines of a file above its unit tests, and with them. About 300 is the custom; this is where it ends.
const MAX_CODE_LINES: usize = 400;
const MAX_LINES: usize = 650;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with every complaint at once.
fn none_of(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} to tidy:\n  {}", complaints.len(), complaints.join("\n  "));
}

/// What a room may import; none for a room that the table does not know.
fn may_import(room: &str) -> Option<Vec<&'static str>> {
    let mut allowed = FLOOR.to_vec();
    if let Some(at) = STREAM.iter().position(|r| *r == room) {
        allowed.extend(&STREAM[..at]);
        if room == "publish" {
            allowed.push("store");
        }
    } else if let Some((_, rooms)) = BESIDE.iter().find(|(r, _)| *r == room) {
        allowed.extend(*rooms);
    } else if let Some(at) = ABOVE.iter().position(|r| *r == room) {
        allowed.extend(STREAM.iter().chain(&ABOVE[..at]));
    } else if !FLOOR.contains(&room) {
        return None;
    }
    Some(allowed)
}

fn rooms_named_in(source: &Source) -> Vec<String> {
    let own = if source.room == "main" { "perceptd::" } else { "crate::" };
    let mut names = source::names_after(&source.code, own);
    // From a room's door and from the floor's files `super` is the root.
    if source.path == format!("{}/mod.rs", source.room) || !source.path.contains('/') {
        names.extend(source::names_after(&source.code, "super::"));
    }
    names
}

#[test]
fn rooms_import_only_from_upstream() {
    let mut complaints = Vec::new();
    for source in source::sources(root()) {
        let Some(allowed) = may_import(&source.room) else {
            complaints
                .push(format!("src/{}: the room `{}` is not on the map in tests/tidy.rs", source.path, source.room));
            continue;
        };
        for name in rooms_named_in(&source) {
            if name != source.room && !allowed.contains(&name.as_str()) {
                complaints.push(format!("src/{}: `{}` may not import `{name}`", source.path, source.room));
            }
        }
    }
    none_of(complaints);
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut complaints = Vec::new();
    let sources = source::sources(root());
    for (name, rooms) in CRATES {
        let naming = sources.iter().filter(|s| source::names_crate(&s.code, name) && !has_module(&sources, s, name));
        let (inside, outside): (Vec<_>, Vec<_>) = naming.partition(|s| rooms.contains(&s.room.as_str()));
        complaints
            .extend(outside.iter().map(|s| format!("src/{}: only {} may name `{name}`", s.path, rooms.join(", "))));
        let idle = rooms.iter().filter(|room| !inside.iter().any(|s| s.room == **room));
        complaints.extend(idle.map(|room| format!("`{room}` may name `{name}` in tests/tidy.rs, and does not")));
        let paths: Vec<_> = inside.iter().map(|s| s.path.as_str()).collect();
        let shortest = paths.iter().min_by_key(|path| path.len()).map_or("", |path| path.trim_end_matches(".rs"));
        if ONE_FILE.contains(&name) && !paths.iter().all(|path| path.starts_with(shortest)) {
            complaints.push(format!("`{name}` is named in {} files: {}", paths.len(), paths.join(", ")));
        }
    }
    none_of(complaints);
}

/// Whether the file's room has a module of that name, which `name::` then means.
fn has_module(sources: &[Source], of: &Source, name: &str) -> bool {
    let (file, folder) = (format!("/{name}.rs"), format!("/{name}/mod.rs"));
    sources.iter().any(|s| s.room == of.room && (s.path.ends_with(&file) || s.path.ends_with(&folder)))
}

#[test]
fn every_crate_of_the_manifest_is_used() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let sources = source::sources(root());
    let unused = dependencies.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).filter(|name| {
        let name = name.replace('-', "_").replace("rumqttc_v5_next", "rumqttc");
        !sources.iter().any(|s| source::names_crate(&s.code, &name) || s.code.contains(&format!("{name}::")))
    });
    none_of(unused.map(|name| format!("Cargo.toml: nothing in src/ names `{name}`")).collect());
}

#[test]
fn files_are_short_and_say_their_job() {
    let mut complaints = Vec::new();
    for source in source::sources(root()) {
        let (lines, code) = (source.text.lines().count(), source.code.lines().count());
        if code > MAX_CODE_LINES || lines > MAX_LINES {
            complaints.push(format!("src/{}: {code} lines above the tests, {lines} in all; split it", source.path));
        }
        if source.path == "main.rs" && lines > 80 {
            complaints.push(format!("src/main.rs: {lines} lines; it has arguments, logging and the exit code, ≤ 80"));
        }
        if !source.text.starts_with("//! ") && !source.is_tests {
            complaints.push(format!("src/{}: begins without `//! ` and its job", source.path));
        }
    }
    none_of(complaints);
}

#[test]
fn nothing_outside_tests_panics_on_purpose() {
    const WORDS: [&str; 6] = [".unwrap()", ".unwrap_err()", ".expect_err(", "unimplemented!(", "todo!(", "panic!("];
    let mut complaints = Vec::new();
    for source in source::sources(root()) {
        for (index, line) in source.code.lines().enumerate() {
            for word in WORDS.into_iter().filter(|word| line.contains(word)) {
                complaints.push(format!("src/{}:{}: `{word}`", source.path, index + 1));
            }
        }
        // What is computed while compiling cannot panic later.
        let at_run_time = source.code.lines().filter(|line| !line.trim_start().starts_with("const "));
        let expects = at_run_time.filter(|line| line.contains(".expect(")).count();
        let reasons = source.code.matches("clippy::expect_used").count();
        if expects > 0 && reasons == 0 {
            complaints.push(format!(
                "src/{}: `.expect(` without a local #[expect(clippy::expect_used, reason)]",
                source.path
            ));
        }
    }
    none_of(complaints);
}

#[test]
fn unsafe_stays_in_one_place() {
    // Choosing instructions by what the machine can do is unsafe to the compiler.
    let allowed = |s: &Source| usize::from(s.path == "simd.rs");
    let sources = source::sources(root());
    let outside = sources.iter().filter(|s| s.text.matches(concat!("unsa", "fe {")).count() > allowed(s));
    none_of(outside.map(|s| format!("src/{}: `unsafe`", s.path)).collect());
}

#[test]
fn only_time_reads_clocks_and_only_sensors_sleep() {
    // Clippy knows the calls (clippy.toml); these may be excepted from it.
    let allowed = ["time.rs", "sensors/microphone.rs", "sensors/pace.rs"];
    let sources = source::sources(root());
    let excepted = sources.iter().filter(|s| s.code.contains("clippy::disallowed_methods"));
    let outside = excepted.filter(|s| !allowed.contains(&s.path.as_str()));
    none_of(outside.map(|s| format!("src/{}: an exception to clippy.toml's disallowed methods", s.path)).collect());
}

/// Text files of the tree that people write.
fn texts() -> impl Iterator<Item = (PathBuf, String)> {
    source::files(root()).into_iter().filter_map(|path| {
        let text = std::fs::read_to_string(&path).ok()?;
        Some((path.strip_prefix(root()).unwrap().to_owned(), text))
    })
}

#[test]
fn the_tree_names_no_machine_and_no_registry() {
    // In two halves, so that this file does not name them.
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("py", "pi.org"),
        concat!("python", "hosted.org"),
        concat!("deb.de", "bian.org"),
        concat!("registry.npm", "js.org"),
        concat!("static.cra", "tes.io"),
        concat!("index.cra", "tes.io"),
    ];
    let mut complaints = Vec::new();
    for (path, text) in texts() {
        for (index, line) in text.lines().enumerate() {
            for word in words {
                let inside_path =
                    |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}$".contains(c));
                if line.match_indices(word).any(|(at, _)| !(word.starts_with('/') && inside_path(at))) {
                    complaints.push(format!("{}:{}: `{word}`", path.display(), index + 1));
                }
            }
        }
    }
    none_of(complaints);
}

#[test]
fn no_merge_was_left_half_done() {
    let is_left = |text: &str| text.lines().any(|line| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> "));
    none_of(texts().filter(|(_, text)| is_left(text)).map(|(path, _)| path.display().to_string()).collect());
}

#[test]
fn links_in_pages_lead_somewhere() {
    let mut complaints = Vec::new();
    for (path, text) in texts().filter(|(path, _)| path.extension().is_some_and(|e| e == "md")) {
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', ' ', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let folder = root().join(&path).parent().unwrap().to_owned();
            if !folder.join(target).exists() {
                complaints.push(format!("{}: no `{target}`", path.display()));
            }
        }
    }
    none_of(complaints);
}
