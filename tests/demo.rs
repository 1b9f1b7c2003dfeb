//! The main job end to end, as `perceptd demo` shows it: bundled recording, reference pack, embedded broker, a subscriber.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use perceptd::geometry::PixelBox;
use perceptd::media::{CameraFrame, Picture, PixelFormat};
use perceptd::recording::{Recording, RecordingWriter};
use perceptd::sensors::{Sample, SampleData};
use perceptd::time::now;
use serde::Deserialize;
use sha2::{Digest, Sha256};

const BUNDLED: &str = "deploy/bundled/meadow.mcap";
const TRUTH: &str = "deploy/bundled/truth.json";
/// An event may begin before a thing is wholly in the picture and end a little after it has left.
const SLACK_SECS: f64 = 1.5;
/// Of the reference pack's sound encoder.
const WINDOW_SECS: f64 = 2.0;

#[derive(Deserialize)]
struct Truth {
    objects: Vec<Object>,
    sounds: Vec<Sound>,
}

#[derive(Deserialize)]
struct Object {
    name: String,
    prompt: Option<String>,
    boxes: Vec<Seen>,
}

#[derive(Deserialize)]
struct Seen {
    t_secs: f64,
    #[serde(rename = "box")]
    corners_px: [f32; 4],
    seen: f64,
}

#[derive(Deserialize)]
struct Sound {
    name: String,
    from_secs: f64,
    to_secs: f64,
}

/// One line of `perceptd demo --json`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Line {
    id: String,
    phase: String,
    prompt: String,
    sensor: String,
    onset_mono_nanos: i64,
    last_support_mono_nanos: i64,
    boxes: Vec<Boxed>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Boxed {
    #[serde(rename = "box")]
    corners_px: [f32; 4],
}

impl Line {
    fn last_secs(&self) -> f64 {
        self.last_support_mono_nanos as f64 / 1e9
    }

    fn best_box(&self) -> Option<PixelBox> {
        self.boxes.first().map(|found| pixel_box(found.corners_px))
    }
}

fn pixel_box([x0, y0, x1, y1]: [f32; 4]) -> PixelBox {
    PixelBox { x0, y0, x1, y1 }
}

fn truth() -> Truth {
    serde_json::from_str(&std::fs::read_to_string(TRUTH).unwrap()).unwrap()
}

/// What `perceptd demo --json --speed max` prints, played once through.
fn demo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_perceptd"))
        .args(["demo", "--json", "--speed", "max"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The same of the demo as it comes; where tests share a process, they share it.
fn as_bundled() -> &'static str {
    static PRINTED: OnceLock<String> = OnceLock::new();
    PRINTED.get_or_init(|| demo(&[]))
}

fn lines(printed: &str) -> Vec<Line> {
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The last message of every event, by prompt and sensor.
fn events(lines: &[Line]) -> BTreeMap<(String, String), Vec<Line>> {
    let mut last: BTreeMap<String, Line> = BTreeMap::new();
    for line in lines {
        last.insert(line.id.clone(), line.clone());
    }
    let mut events: BTreeMap<(String, String), Vec<Line>> = BTreeMap::new();
    for line in last.into_values() {
        events.entry((line.prompt.clone(), line.sensor.clone())).or_default().push(line);
    }
    events
}

/// Seconds on the recording's clock at which its first sample was true.
fn begin_secs() -> f64 {
    let recording = Recording::open(Path::new(BUNDLED)).unwrap();
    let begin = recording.samples().map(|sample| sample.unwrap().captured_at).min().unwrap();
    begin.secs_f64()
}

/// The bundled recording with every sample passed through `change`.
fn changed(folder: &Path, mut change: impl FnMut(Sample, f64) -> Sample) -> PathBuf {
    let path = folder.join("changed.mcap");
    let recording = Recording::open(Path::new(BUNDLED)).unwrap();
    let begin = begin_secs();
    let mut writer = RecordingWriter::create_new(&path, &recording.timeline()).unwrap();
    for (sensor, modality) in recording.sensors() {
        writer.add_sensor(&sensor, modality).unwrap();
    }
    for sample in recording.samples() {
        let sample = sample.unwrap();
        let secs = sample.captured_at.secs_f64() - begin;
        writer.write(&change(sample, secs)).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn mirrored(sample: Sample, _: f64) -> Sample {
    let SampleData::Image(frame) = &sample.data else { return sample };
    let picture = frame.to_picture().unwrap();
    let row = 3 * picture.width as usize;
    let rgb = picture.rgb.chunks_exact(row).flat_map(|row| row.rchunks_exact(3).flatten().copied()).collect();
    let jpeg = Picture { rgb, ..picture }.to_jpeg(95).unwrap();
    let frame = CameraFrame { format: PixelFormat::Jpeg, bytes: jpeg.into(), ..frame.clone() };
    Sample { data: SampleData::Image(frame), ..sample }
}

fn muted(mut sample: Sample, _: f64) -> Sample {
    if let SampleData::Audio { samples, .. } = &mut sample.data {
        samples.fill(0.0);
    }
    sample
}

#[test]
fn every_prompt_is_found_where_it_is_and_nowhere_else() {
    let (truth, begin) = (truth(), begin_secs());
    let printed = as_bundled();
    assert_eq!(printed, demo(&[]), "the same recording gives the same events, to the byte");
    let lines = lines(printed);
    let events = events(&lines);
    let prompted: Vec<&Object> = truth.objects.iter().filter(|object| object.prompt.is_some()).collect();
    for object in &prompted {
        let of_object = lines.iter().filter(|line| line.prompt == object.name && line.sensor == "camera");
        let overlaps: Vec<f32> = of_object.map(|line| overlap(line, object, begin)).collect();
        assert!(overlaps.iter().any(|overlap| *overlap >= 0.5), "{}: {overlaps:?}", object.name);
    }
    assert!(prompted.iter().filter(|object| object.prompt.as_deref() == Some("audio")).count() >= 2);
    assert!(prompted.iter().any(|object| object.prompt.as_deref() == Some("text")));
    for event in events.iter().filter(|((_, sensor), _)| sensor == "camera").flat_map(|(_, events)| events) {
        let present = truth.objects.iter().filter(|object| object.name == event.prompt);
        let (from, to) = interval(event, begin);
        assert!(present.into_iter().any(|object| object.is_present_during(from, to)), "nothing there: {event:?}");
    }
    let heard: Vec<&Line> =
        events.iter().filter(|((_, sensor), _)| sensor == "mic").flat_map(|(_, events)| events).collect();
    // Every sound is heard, by a window that holds some of it, and nothing else begins an event.
    for sound in &truth.sounds {
        let is_it = |event: &&&Line| event.prompt == sound.name && sound.is_held_by_the_first_window_of(event, begin);
        assert_eq!(heard.iter().filter(is_it).count(), 1, "{}: {heard:?}", sound.name);
    }
    assert_eq!(heard.len(), truth.sounds.len(), "{heard:?}");
}

impl Sound {
    /// An event begins with the window that fired first, two seconds long; here it may come half a second late.
    fn is_held_by_the_first_window_of(&self, event: &Line, begin: f64) -> bool {
        let (from, _) = interval(event, begin);
        (self.from_secs - WINDOW_SECS..=self.to_secs + 0.5).contains(&from)
    }
}

impl Object {
    fn is_present_during(&self, from_secs: f64, to_secs: f64) -> bool {
        let times: Vec<f64> = self.boxes.iter().map(|seen| seen.t_secs).collect();
        let (first, last) = (times[0], times[times.len() - 1]);
        from_secs >= first - SLACK_SECS && to_secs <= last + SLACK_SECS
    }

    fn box_at(&self, secs: f64) -> Option<PixelBox> {
        let nearest = self.boxes.iter().min_by(|a, b| (a.t_secs - secs).abs().total_cmp(&(b.t_secs - secs).abs()))?;
        (nearest.seen > 0.3 && (nearest.t_secs - secs).abs() < 0.5).then(|| pixel_box(nearest.corners_px))
    }
}

fn interval(event: &Line, begin: f64) -> (f64, f64) {
    (event.onset_mono_nanos as f64 / 1e9 - begin, event.last_secs() - begin)
}

fn overlap(event: &Line, object: &Object, begin: f64) -> f32 {
    let found = event.best_box().zip(object.box_at(event.last_secs() - begin));
    found.map_or(0.0, |(found, truth)| found.iou(&truth))
}

#[test]
fn a_recording_of_which_nothing_comes_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.mcap");
    let timeline = Recording::open(Path::new(BUNDLED)).unwrap().timeline();
    RecordingWriter::create_new(&empty, &timeline).unwrap().finish().unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_perceptd")).args(["demo", "--recording"]).arg(&empty).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("nothing came of"), "{told}");
}

#[test]
fn mirrored_frames_mirror_the_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let flipped = changed(folder.path(), mirrored);
    let (straight, flipped) = (lines(as_bundled()), lines(&demo(&["--recording", flipped.to_str().unwrap()])));
    let boxes = |lines: &[Line]| -> BTreeMap<String, (f64, PixelBox)> {
        let new = lines.iter().filter(|line| line.sensor == "camera" && line.phase == "new");
        new.filter_map(|line| Some((line.prompt.clone(), (line.last_secs(), line.best_box()?)))).collect()
    };
    let (straight, flipped) = (boxes(&straight), boxes(&flipped));
    let mut compared = 0;
    for (prompt, (at, found)) in &straight {
        let Some((at_flipped, mirrored)) = flipped.get(prompt) else { continue };
        if (at - at_flipped).abs() > 0.5 {
            continue;
        }
        let back = PixelBox { x0: 640.0 - mirrored.x1, x1: 640.0 - mirrored.x0, ..*mirrored };
        assert!(found.iou(&back) >= 0.5, "{prompt}: {found:?} against {back:?}");
        compared += 1;
    }
    assert!(compared >= 2, "{straight:?} {flipped:?}");
}

#[test]
fn with_the_object_removed_there_is_no_event_of_it() {
    let truth = truth();
    let first = truth.objects.iter().find(|object| object.prompt.as_deref() == Some("audio")).unwrap();
    let (gone_from, gone_to) = (first.boxes[0].t_secs - 0.5, first.boxes[first.boxes.len() - 1].t_secs + 0.5);
    let folder = tempfile::tempdir().unwrap();
    let mut empty = None;
    let recording = changed(folder.path(), |mut sample, secs| {
        if let SampleData::Image(frame) = &mut sample.data {
            let empty = empty.get_or_insert_with(|| frame.clone());
            if (gone_from..=gone_to).contains(&secs) {
                *frame = empty.clone();
            }
        }
        sample
    });
    let events = events(&lines(&demo(&["--recording", recording.to_str().unwrap()])));
    assert!(!events.contains_key(&(first.name.clone(), "camera".to_owned())), "{events:?}");
    assert!(events.keys().any(|(_, sensor)| sensor == "camera"), "the others are still found");
}

#[test]
fn a_muted_sound_track_is_heard_as_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let recording = changed(folder.path(), muted);
    let events = events(&lines(&demo(&["--recording", recording.to_str().unwrap()])));
    assert!(!events.keys().any(|(_, sensor)| sensor == "mic"), "{events:?}");
    assert!(events.keys().any(|(_, sensor)| sensor == "camera"), "the camera still finds");
}

#[test]
fn other_prompts_find_their_own_and_not_the_first_ones() {
    let (truth, begin) = (truth(), begin_secs());
    let prompts = ["text:horse", "audio:deploy/bundled/prompts/duck.ogg", "audio:deploy/bundled/prompts/pig.ogg"];
    let events = events(&lines(&demo(&prompts.map(|prompt| ["--prompt", prompt]).concat())));
    assert!(!events.keys().any(|(name, _)| name == "pig"), "a pig is neither seen nor heard: {events:?}");
    for event in events.iter().filter(|((_, sensor), _)| sensor == "mic").flat_map(|(_, events)| events) {
        // In sound words are a weak prompt, as the pack's card says: they may take one animal's call for another's, and nothing else.
        let may_be = |sound: &Sound| event.prompt == "horse" || event.prompt == sound.name;
        let is_it = |sound: &Sound| may_be(sound) && sound.is_held_by_the_first_window_of(event, begin);
        assert!(truth.sounds.iter().any(is_it), "nothing sounds there: {event:?}");
    }
    for name in ["horse", "duck"] {
        let thing = truth.objects.iter().find(|object| object.name == name).unwrap();
        let seen = events.get(&(name.to_owned(), "camera".to_owned())).unwrap();
        for event in seen {
            let (from, to) = interval(event, begin);
            assert!(thing.is_present_during(from, to), "{event:?}");
        }
    }
}

/// A demo in real time, as a person sees it; ended when dropped.
struct Shown(Child);

impl Shown {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perceptd"));
        Self(command.arg("demo").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Everything that it says until its end, which must be a clean one; `meanwhile` hears each line.
    fn until_its_end(mut self, mut meanwhile: impl FnMut(&Child, &str)) -> Vec<String> {
        let mut said = Vec::new();
        for line in BufReader::new(self.0.stdout.take().unwrap()).lines().map(Result::unwrap) {
            meanwhile(&self.0, &line);
            said.push(line);
        }
        let status = self.0.wait().unwrap();
        let mut errors = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        // A busy machine may be warned of.
        let is_clean = status.success() && errors.lines().all(|line| line.contains("WARN"));
        assert!(is_clean, "{status}: {errors}{said:#?}");
        assert!(said.iter().any(|line| line.contains("first embedding, from ")), "{said:#?}");
        assert!(said.last().unwrap().contains("status: stopped"), "{said:#?}");
        said
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // It has ended by itself unless the test failed.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn in_real_time_it_ends_by_itself_after_so_long() {
    let begin = now();
    // Start and enrolment are among them.
    let said = Shown::start(&["--for", "10s"]).until_its_end(|_, _| {});
    let secs = now().nanos_since(begin) as f64 / 1e9;
    assert!((10.0..90.0).contains(&secs), "{secs} s");
    assert!(said.iter().any(|line| line.contains("embeddings: ") && line.contains("camera ")), "{said:#?}");
}

#[test]
fn an_interrupt_ends_it_cleanly() {
    Shown::start(&[]).until_its_end(|child, line| {
        if line.contains("first embedding, from ") {
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        }
    });
}

#[test]
fn the_bundled_media_are_disjoint_from_what_the_pack_was_made_of() {
    let sources = std::fs::read_to_string("deploy/bundled/SOURCES.md").unwrap();
    let shown: Vec<&str> = sources.split('`').filter(|word| is_digest(word)).collect();
    let data = std::fs::read_to_string("models/reference/DATA.tsv").unwrap();
    let used: Vec<&str> = data.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect();
    let rows = sources.lines().filter(|line| line.starts_with("| ")).count() - 1; // the heads
    assert!(rows >= 12 && shown.len() == rows, "{} digests in {rows} rows", shown.len());
    assert!(used.len() > 500 && used.iter().all(|word| is_digest(word)));
    for digest in &shown {
        assert!(!used.contains(digest), "{digest} is in both");
    }
    for prompt in std::fs::read_dir("deploy/bundled/prompts").unwrap() {
        let path = prompt.unwrap().path();
        let digest: String =
            Sha256::digest(std::fs::read(&path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(shown.contains(&digest.as_str()), "{} is not in SOURCES.md as it is", path.display());
    }
}

fn is_digest(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}
