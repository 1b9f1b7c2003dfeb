//! `perceptd embed` and `perceptd detect` as processes: what they print, and what a mistake gets.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use perceptd::geometry::PixelBox;
use perceptd::media::Picture;
use perceptd::recording::Recording;
use perceptd::sensors::SampleData;
use serde::Deserialize;

const TINY: [&str; 2] = ["--pack", "models/tiny"];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perceptd"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("PERCEPTD_LOG");
    command
}

fn perceptd(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A process whose output is read as it comes; ended when dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// How it ended, and what is left on stderr.
    fn end(mut self, mut errors: impl Read) -> (ExitStatus, String) {
        let mut told = String::new();
        errors.read_to_string(&mut told).unwrap();
        (self.0.wait().unwrap(), told)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself unless the test failed.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Embedded {
    file: String,
    modality: String,
    space: String,
    vector: Vec<f64>,
}

/// What `perceptd embed` prints of these inputs with the tiny pack; every line must be well formed.
fn embedded(output: &Output, modality: &str) -> Vec<(String, Vec<f64>)> {
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    let one = |line: &str| {
        let Embedded { file, modality: of, space, vector } = serde_json::from_str(line).unwrap();
        assert_eq!((of.as_str(), vector.len()), (modality, 64));
        assert!(space.starts_with("p64-"), "{space}");
        let length: f64 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5, "{file}: {length}");
        (file, vector)
    };
    lines.map(one).collect()
}

/// An IMU file as `embed` takes it: the golden one with times before its readings.
fn motion(folder: &Path) -> PathBuf {
    let golden = std::fs::read_to_string("tests/golden/motion.csv").unwrap();
    let rows = golden.lines().skip(1).enumerate().map(|(k, row)| format!("{:.1},{row}\n", k as f64 / 10.0));
    let file = folder.join("motion.csv");
    std::fs::write(&file, rows.collect::<String>()).unwrap();
    file
}

#[test]
fn every_sense_is_embedded_and_a_bad_file_among_good_ones_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let motion = motion(folder.path());
    let (motion, depth) = (motion.to_str().unwrap(), "tests/golden/depth_millimetres.png");
    let inputs: [(&str, &[&str]); 6] = [
        ("image", &["tests/golden/wide.png", "tests/golden/tall.png"]),
        ("audio", &["tests/golden/bell.wav", "deploy/bundled/prompts/duck.ogg"]),
        ("text", &["a dog", "the sound of rain"]),
        ("thermal", &[depth, depth]),
        ("depth", &[depth, depth]),
        ("imu", &[motion, motion]),
    ];
    for (modality, files) in inputs {
        let embed = |files: &[&str]| perceptd(&[&["embed", "--modality", modality], &TINY[..], files].concat());
        let output = embed(files);
        assert!(output.status.success() && output.stderr.is_empty(), "{modality}: {}", told(&output));
        let good = embedded(&output, modality);
        let names: Vec<&str> = good.iter().map(|(file, _)| file.as_str()).collect();
        assert_eq!(names, files, "{modality}");
        assert_eq!(good[0].1 == good[1].1, files[0] == files[1], "{modality}");
        let bad = if modality == "text" { "@no-such-file" } else { "no-such-file" };
        let output = embed(&[files[0], bad, files[1]]);
        assert_eq!(output.status.code(), Some(1), "{modality}");
        assert_eq!(told(&output), format!("{bad}: cannot be read: No such file or directory (os error 2)\n"));
        assert_eq!(embedded(&output, modality), good, "{modality}");
    }
}

#[test]
fn a_text_of_each_line_of_a_file_is_embedded_and_unknown_words_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("texts.txt");
    std::fs::write(&file, "a dog\n\n🐕 犬\na dog 🐕\n").unwrap();
    let output =
        perceptd(&[&["embed", "--modality", "text"], &TINY[..], &[&format!("@{}", file.display()), ""]].concat());
    assert_eq!(output.status.code(), Some(1));
    let texts: Vec<String> = embedded(&output, "text").into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["a dog", "a dog 🐕"]);
    let told = told(&output);
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("\"🐕 犬\": ") && told[0].contains("none of the words of `🐕 犬` is known"),
        "{told:?}"
    );
    assert_eq!(told[1], "\"\": cannot embed this text: there is nothing but white space");
    for arguments in [&["--prompt", "text:🐕"][..], &["--prompt", "text:a dog", "--prompt", "text:犬"]] {
        let output = perceptd(&[&["detect", "tests/golden/wide.png"], &TINY[..], arguments].concat());
        let told = self::told(&output);
        let unknown = arguments[arguments.len() - 1];
        assert!(
            told.starts_with(&format!("perceptd: prompt `{unknown}`: cannot embed this text: none of the words of `")),
            "{told}"
        );
        assert_eq!((told.lines().count(), told.matches("prompt").count()), (1, 1), "{told}");
        assert!(output.status.code() == Some(1) && output.stdout.is_empty());
    }
}

#[test]
fn a_name_that_is_no_utf8_is_told_with_a_mark_and_keeps_nobody_up() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"n\xff.png"));
    std::fs::copy("tests/golden/wide.png", &odd).unwrap();
    let files = [Path::new("tests/golden/tall.png"), &odd, Path::new("tests/golden/wide.png")];
    let (embed, detect) = (["embed", "--modality", "image"], ["detect", "--prompt", "text:a dog"]);
    for begin in [&embed[..], &detect[..]] {
        let output = command(&[begin, &TINY[..], &["--"]].concat()).args(files).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
        let mut names: Vec<String> = lines
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["file"].as_str().unwrap().to_owned())
            .collect();
        names.dedup();
        assert_eq!(names, files.map(|file| file.to_string_lossy().into_owned()));
        assert!(names[1].ends_with("n\u{fffd}.png"), "{names:?}");
    }
}

#[test]
fn a_file_of_texts_is_read_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        format!("@{}", folder.path().join(name).display())
    };
    let marked = at("marked.txt", b"\xef\xbb\xbfa dog\r\na cat\r\n");
    let latin = at("latin.txt", b"a dog\n\na caf\xe9\na cat\n");
    let (empty, blank) = (at("empty.txt", b""), at("blank.txt", b" \n\r\n"));
    let output = perceptd(&[&["embed", "--modality", "text"], &TINY[..], &[&marked, &latin, &empty, &blank]].concat());
    assert_eq!(output.status.code(), Some(1));
    let texts: Vec<String> = embedded(&output, "text").into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["a dog", "a cat", "a dog", "a cat"]);
    let told = told(&output);
    let told: Vec<&str> = told.lines().collect();
    assert!(told.len() == 3 && told[0].starts_with(&format!("{latin}: line 3: it is no UTF-8")), "{told:?}");
    assert_eq!(told[1..], [&empty, &blank].map(|file| format!("{file}: it holds no text: write one in each line")));
}

#[test]
fn a_thermal_picture_of_zeros_is_taken_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = folder.path().join("zeros.png");
    image::ImageBuffer::<image::Luma<u16>, _>::from_raw(32, 24, vec![0; 32 * 24]).unwrap().save(&zeros).unwrap();
    let output = perceptd(&[&["embed", "--modality", "thermal"], &TINY[..], &[zeros.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", told(&output));
    let wanted = format!("{}: all of its numbers are 0: it holds no hundredths of a kelvin\n", zeros.display());
    assert_eq!((told(&output), embedded(&output, "thermal").len()), (wanted, 1));
}

#[test]
fn a_picture_without_temperatures_or_distances_is_taken_with_a_word() {
    for (modality, unit) in [("thermal", "hundredths of a kelvin"), ("depth", "millimetres")] {
        let files = ["tests/golden/wide.png", "tests/golden/depth_millimetres.png", "tests/golden/tall.png"];
        let output = perceptd(&[&["embed", "--modality", modality], &TINY[..], &files].concat());
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(embedded(&output, modality).len(), 3);
        let told = told(&output);
        let told: Vec<&str> = told.lines().collect();
        assert_eq!(told.len(), 2, "{told:?}");
        for (line, file) in told.iter().zip([files[0], files[2]]) {
            assert!(line.starts_with(&format!("{file}: it is no 16-bit grey PNG")) && line.contains(unit), "{line}");
        }
    }
}

/// One candidate, as `perceptd detect` prints it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Candidate {
    file: String,
    prompt: String,
    space: String,
    #[serde(rename = "box")]
    corners_px: [f32; 4],
    raw: f32,
    score: f32,
    threshold: f32,
    fires: bool,
}

impl Candidate {
    fn place(&self) -> PixelBox {
        let [x0, y0, x1, y1] = self.corners_px;
        PixelBox { x0, y0, x1, y1 }
    }
}

/// What is printed, in the order of pictures and prompts: each pair of them and its candidates.
fn candidates(output: &Output) -> Vec<((String, String), Vec<Candidate>)> {
    let mut pairs: Vec<((String, String), Vec<Candidate>)> = Vec::new();
    for line in std::str::from_utf8(&output.stdout).unwrap().lines() {
        let candidate: Candidate = serde_json::from_str(line).unwrap();
        let pair = (candidate.file.clone(), candidate.prompt.clone());
        match pairs.last_mut().filter(|(last, _)| *last == pair) {
            Some((_, of_pair)) => of_pair.push(candidate),
            None => pairs.push((pair, vec![candidate])),
        }
    }
    pairs
}

fn check(pairs: &[((String, String), Vec<Candidate>)], size_of: impl Fn(&str) -> (f32, f32)) {
    for ((file, prompt), candidates) in pairs {
        let (width, height) = size_of(file);
        assert!(candidates.is_sorted_by(|better, worse| better.score >= worse.score), "{file} {prompt}");
        for candidate in candidates {
            let PixelBox { x0, y0, x1, y1 } = candidate.place();
            assert!(0.0 <= x0 && x0 < x1 && x1 <= width && 0.0 <= y0 && y0 < y1 && y1 <= height, "{candidate:?}");
            assert!(candidate.raw.is_finite() && (0.0..=1.0).contains(&candidate.score), "{candidate:?}");
            assert_eq!(candidate.fires, candidate.score >= candidate.threshold, "{candidate:?}");
        }
    }
}

#[test]
fn every_prompt_is_looked_for_in_every_picture_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.png");
    let png = std::fs::read("tests/golden/wide.png").unwrap();
    std::fs::write(&broken, &png[..png.len() / 2]).unwrap();
    let (broken, [wide, tall]) = (broken.to_str().unwrap(), ["tests/golden/wide.png", "tests/golden/tall.png"]);
    let prompts = ["audio:deploy/bundled/prompts/pig.ogg", "text:a dog", "image:tests/golden/wide.png"];
    let asked: Vec<&str> = prompts.iter().flat_map(|prompt| ["--prompt", prompt]).collect();
    let detect = |arguments: &[&str]| perceptd(&[&["detect"], arguments, &TINY[..], &asked].concat());
    let usual = detect(&[wide, broken, tall]);
    assert_eq!(usual.status.code(), Some(1));
    let told = told(&usual);
    assert!(
        told.starts_with(&format!("{broken}: not a readable PNG picture: ")) && told.lines().count() == 1,
        "{told}"
    );
    let usual = candidates(&usual);
    let pairs: Vec<_> = usual.iter().map(|((file, prompt), _)| (file.as_str(), prompt.as_str())).collect();
    let expected: Vec<_> = [wide, tall].iter().flat_map(|file| prompts.map(|prompt| (*file, prompt))).collect();
    assert_eq!(pairs, expected);
    let size_of = |file: &str| if file == wide { (320.0, 180.0) } else { (97.0, 131.0) };
    check(&usual, size_of);
    // Whoever accepts more false alarms has a lower threshold, and nothing else is another.
    let lax = detect(&["--p-false", "0.5", wide, tall]);
    assert!(lax.status.success(), "{}", self::told(&lax));
    let lax = candidates(&lax);
    check(&lax, size_of);
    for ((pair, usual), (same_pair, lax)) in usual.iter().zip(&lax) {
        assert_eq!((pair, usual.len()), (same_pair, lax.len()));
        for (usual, lax) in usual.iter().zip(lax) {
            assert!(lax.threshold < usual.threshold, "{lax:?} {usual:?}");
            assert_eq!(*usual, Candidate { threshold: usual.threshold, fires: usual.fires, ..lax.clone() });
        }
    }
}

/// The camera's picture at so many seconds of the bundled recording.
fn frame(secs: f64, to: &Path) -> Picture {
    let recording = Recording::open(Path::new("deploy/bundled/meadow.mcap")).unwrap();
    let samples: Vec<_> = recording.samples().map(Result::unwrap).collect();
    let begin = samples.iter().map(|sample| sample.captured_at).min().unwrap().secs_f64();
    let frame = samples.iter().find_map(|sample| match &sample.data {
        SampleData::Image(frame) if sample.captured_at.secs_f64() - begin >= secs - 0.01 => Some(frame),
        _ => None,
    });
    let picture = frame.unwrap().to_picture().unwrap();
    std::fs::write(to, picture.to_png().unwrap()).unwrap();
    picture
}

#[test]
fn a_sound_words_and_a_picture_find_the_thing_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let [duck, elephant, part] = ["duck.png", "elephant.png", "part.png"].map(|name| folder.path().join(name));
    frame(16.4, &duck);
    // Where they are, by deploy/bundled/truth.json.
    let duck_at = PixelBox { x0: 58.0, y0: 183.0, x1: 362.0, y1: 442.0 };
    let elephant_at = PixelBox { x0: 77.0, y0: 170.0, x1: 400.0, y1: 448.0 };
    let shown = frame(11.4, &elephant).cut(77, 170, 400, 448).unwrap();
    std::fs::write(&part, shown.to_png().unwrap()).unwrap();
    let (duck, elephant) = (duck.to_str().unwrap(), elephant.to_str().unwrap());
    let part = format!("image:{}", part.display());
    let prompts = [
        ("audio:deploy/bundled/prompts/duck.ogg", duck, duck_at),
        ("text:elephant", elephant, elephant_at),
        (part.as_str(), elephant, elephant_at),
    ];
    let asked: Vec<&str> = prompts.iter().flat_map(|(prompt, ..)| ["--prompt", prompt]).collect();
    let output = perceptd(&[&["detect", duck, elephant], &asked[..]].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
    let found = candidates(&output);
    check(&found, |_| (640.0, 480.0));
    assert_eq!(found.len(), 6);
    for ((file, prompt), candidates) in found {
        let (_, shown_in, place) = prompts.iter().find(|(of, ..)| *of == prompt).unwrap();
        let best = &candidates[0];
        assert!(best.space.starts_with("p384-"), "{best:?}");
        if file == *shown_in {
            assert!(best.fires && best.place().iou(place) >= 0.5, "{best:?} is not {place:?}");
        } else {
            assert!(candidates.iter().all(|candidate| !candidate.fires), "{candidates:?}");
        }
    }
}

#[test]
fn a_misspelt_log_level_is_a_mistake() {
    let embed = [&["embed", "--modality", "text"], &TINY[..], &["a dog"]].concat();
    for bad in ["chatty", "bogus===", "info,perceptd"] {
        for output in [
            perceptd(&[&["--log", bad], &embed[..]].concat()),
            command(&embed).env("PERCEPTD_LOG", bad).output().unwrap(),
        ] {
            let told = told(&output);
            assert!(told.contains("is no log level: say off, error, warn, info, debug, trace, or a filter"), "{told}");
            assert!(output.status.code() == Some(64) && output.stdout.is_empty(), "{bad}: {told}");
        }
    }
    // --log goes before the variable; an empty one is none.
    for (level, variable) in [("perceptd=debug", "chatty"), ("off", "")] {
        let output = command(&[&["--log", level], &embed[..]].concat()).env("PERCEPTD_LOG", variable).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
    }
}

#[test]
fn whoever_has_read_enough_ends_it() {
    let pictures = ["tests/golden/wide.png"; 200];
    let embed = [&["embed", "--modality", "image"], &TINY[..], &pictures].concat();
    let detect = [&["detect", "--prompt", "text:a dog"], &TINY[..], &pictures].concat();
    let replay = [&["replay", "deploy/bundled/meadow.mcap"], &TINY[..]].concat();
    let demo = vec!["demo", "--json"];
    for arguments in [embed, detect, replay, demo] {
        let mut child = Running::start(&mut command(&arguments));
        let mut first = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let errors = child.0.stderr.take().unwrap();
        let (status, told) = child.end(errors);
        assert!(first.starts_with('{'), "{}: {first}", arguments[0]);
        assert!(status.success() && !told.contains("pipe"), "{}: {told}", arguments[0]);
    }
}

#[test]
fn output_without_a_reader_is_no_failure_and_a_full_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = ["good.toml", "bad.toml"].map(|name| folder.path().join(name));
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
    let text = format!("[pack]\npath = '{}'\n[sensors.mic]\ndriver = 'microphone'\n", pack.display());
    std::fs::write(&good, format!("[robot]\nname = 'a'\n{text}")).unwrap();
    std::fs::write(&bad, text).unwrap();
    let embed = [&["embed", "--modality", "text"], &TINY[..], &["a dog"]].concat();
    let detect = [&["detect", "--prompt", "text:a dog"], &TINY[..], &["tests/golden/wide.png"]].concat();
    let commands = [
        (vec!["check", good.to_str().unwrap()], 0),
        // What it found stands in the exit code.
        (vec!["check", bad.to_str().unwrap()], 64),
        (vec!["devices"], 0),
        (vec!["devices", "--json"], 0),
        (embed, 0),
        (detect, 0),
    ];
    for (arguments, code) in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = command(&arguments).stdout(writer).output().unwrap();
        assert_eq!((closed.status.code(), told(&closed).as_str()), (Some(code), ""), "{arguments:?}");
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let full = command(&arguments).stdout(full).output().unwrap();
        let told = told(&full);
        assert!(told.contains("standard output: No space left on device") && told.lines().count() == 1, "{told}");
        assert_eq!(full.status.code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn errors_of_files_say_what_to_do_and_name_the_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, cut) = (folder.path().join("empty.wav"), folder.path().join("cut.ogg"));
    std::fs::write(&empty, "").unwrap();
    let sound = std::fs::read("deploy/bundled/prompts/duck.ogg").unwrap();
    std::fs::write(&cut, &sound[..3000]).unwrap();
    let (empty, cut) = (empty.to_str().unwrap(), cut.to_str().unwrap());
    let expected = [
        (empty, "the sound is empty: make it anew, or use another one"),
        (cut, "make a sound of it, for example with `ffmpeg -i THE_SOUND new.wav`"),
        ("no-such.wav", "cannot be read: No such file or directory (os error 2)"),
    ];
    let output = perceptd(&[&["embed", "--modality", "audio"], &TINY[..], &[empty, cut, "no-such.wav"]].concat());
    let embed = told(&output);
    assert_eq!(embed.lines().count(), 3, "{embed}");
    for (line, (file, what)) in embed.lines().zip(expected) {
        assert!(line.starts_with(file) && line.ends_with(what) && line.matches(file).count() == 1, "{line}");
        let prompt = format!("audio:{file}");
        let output = perceptd(&[&["detect", "tests/golden/wide.png", "--prompt", &prompt], &TINY[..]].concat());
        let told = told(&output);
        assert!(told.trim_end().ends_with(what) && told.matches(file).count() == 1, "{told}");
    }
}

#[test]
fn without_the_packs_of_a_checkout_it_is_told_how_to_name_one() {
    let elsewhere = tempfile::tempdir().unwrap();
    let output = command(&["embed", "--modality", "text", "--pack", "models/reference", "a dog"])
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    let told = told(&output);
    assert!(told.contains("models/reference/pack.toml") && told.contains("--pack"), "{told}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn absent_devices_say_where_to_look_and_alsa_says_nothing_past_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (alsa, config) = (folder.path().join("asound.conf"), folder.path().join("perceptd.toml"));
    std::fs::write(&alsa, "</usr/share/alsa/alsa.conf>\npcm.!default { type hw card nowhere }\n").unwrap();
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
    let text = format!(
        "[robot]\nname = 'deaf'\n[pack]\npath = '{}'\n[sensors.mic]\ndriver = 'microphone'\n\
         [sensors.imu]\ndriver = 'witmotion'\ndevice = '/dev/null'\n",
        pack.display()
    );
    std::fs::write(&config, text).unwrap();
    let whys = [
        "default microphone: not there, or it does not record; `perceptd devices` lists what there is",
        "/dev/null: it is no serial port; `perceptd devices` lists those that there are",
    ];
    for level in ["warn", "perceptd=debug"] {
        let out = folder.path().join(level);
        let record = ["record", "--for", "60s", "--config", config.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let mut recording =
            Running::start(command(&[&["--log", level], &record[..]].concat()).env("ALSA_CONFIG_PATH", &alsa));
        let mut errors = BufReader::new(recording.0.stderr.take().unwrap());
        let mut told = String::new();
        // Until both have been tried; at the latest until its end.
        while !whys.iter().all(|why| told.contains(why)) && errors.read_line(&mut told).unwrap() > 0 {}
        assert!(Command::new("kill").args(["-INT", &recording.0.id().to_string()]).status().unwrap().success());
        told.push_str(&recording.end(errors).1);
        assert!(whys.iter().all(|why| told.contains(why)), "{told}");
        assert!(!told.contains("ALSA lib"), "{told}");
        assert_eq!(told.contains("ALSA: "), level == "perceptd=debug", "{told}");
    }
}
