//! `perceptd record` and `perceptd replay` as processes, with a serial device on a pty, and with bags that the MCAP project's own library
//! writes and reads.

// Waits for another process.
#![expect(clippy::disallowed_methods, reason = "a process and a device run in real time")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use perceptd::modality::{Modality, SensorId};
use perceptd::recording::{Recording, RecordingWriter, TopicSettings};
use perceptd::sensors::{Sample, SampleData};
use serde_json::Value;
use serialport::{SerialPort as _, TTYPort};

use crate::mqtt::script;

const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/bundled/meadow.mcap");
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny");
/// With half of all windows allowed to fire, there are events of all phases.
const SHEEP: [&str; 4] = ["--prompt", "text:sheep", "--p-false", "0.5"];
/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn perceptd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perceptd")).args(arguments).output().unwrap()
}

/// Runs it and gives what it said on stderr; it must succeed.
fn replay(arguments: &[&str]) -> String {
    let output = perceptd(&[&["replay"], arguments].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

fn lines(file: &Path) -> Vec<Value> {
    std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first seconds of the bundled recording.
fn cut(secs: f64, to: &Path) {
    let whole = Recording::open(Path::new(BUNDLED)).unwrap();
    let mut writer = RecordingWriter::create_new(to, &whole.timeline()).unwrap();
    for sample in whole.samples().map(Result::unwrap).take_while(|sample| sample.arrived_at.secs_f64() < secs) {
        writer.write(&sample).unwrap();
    }
    writer.finish().unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_same_recording_gives_the_same_bytes_at_any_speed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let short = at("short.mcap");
    cut(6.0, &short);
    for (name, speed) in [("1", "max"), ("2", "max"), ("3", "4"), ("4", "1")] {
        for out in [at(&format!("{name}.jsonl")), at(&format!("{name}.mcap"))] {
            let arguments = [text(&short), "--pack", TINY, "--out", text(&out), "--speed", speed];
            let said = replay(&[&arguments[..], &SHEEP].concat());
            assert!(said.contains("30 of camera") && !said.contains(" 0 event"), "{said}");
        }
    }
    for kind in ["jsonl", "mcap"] {
        let first = std::fs::read(at(&format!("1.{kind}"))).unwrap();
        for other in ["2", "3", "4"] {
            assert!(first == std::fs::read(at(&format!("{other}.{kind}"))).unwrap(), "{other}.{kind} differs");
        }
    }
    let written = lines(&at("1.jsonl"));
    let heard = |what: &str| written.iter().filter(|line| line["heard"] == what).count();
    assert!(heard("embedding") > 60 && heard("joint") > 8, "{} {}", heard("embedding"), heard("joint"));
    let events: Vec<&Value> = written.iter().filter(|line| line["heard"] == "event").collect();
    assert!(events.iter().any(|event| event["phase"] == "new"));
    // Whatever began has ended.
    let of_phase = |phase: &str| events.iter().filter(|event| event["phase"] == phase).count();
    assert_eq!(of_phase("new"), of_phase("end"));
    assert!(events.iter().all(|event| event["boot_id"].as_str().unwrap().starts_with("replay-")));

    // What was written beside the input is the input, and is replayed as such.
    let again = at("again.jsonl");
    let annotated = at("1.mcap");
    replay(&[&[text(&annotated), "--pack", TINY, "--out", text(&again), "--events"][..], &SHEEP].concat());
    let scores = |lines: &[Value]| -> Vec<(Value, Value, Value)> {
        let events = lines.iter().filter(|line| line["heard"] == "event");
        events.map(|of| (of["phase"].clone(), of["onset_mono_nanos"].clone(), of["calibrated"].clone())).collect()
    };
    assert_eq!(scores(&lines(&again)), scores(&written));
}

/// What `tests/bags.py`, which has the MCAP project's own library, says.
fn bags(arguments: &[&str]) -> Vec<Value> {
    let output = script("tests/bags.py").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn another_reader_of_mcap_opens_what_perceptd_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (short, out) = (dir.path().join("short.mcap"), dir.path().join("out.mcap"));
    cut(8.0, &short);
    let channels = bags(&["read", text(&short)]);
    let of = |topic: &str, channels: &[Value]| channels.iter().find(|of| of["topic"] == topic).unwrap().clone();
    let camera = of("/camera", &channels);
    assert_eq!((&camera["schema"], &camera["messages"]), (&"foxglove.CompressedImage".into(), &40.into()));
    // Arrival and capture are both there, 30 ms apart.
    let nanos = |key: &str| camera[key].as_i64().unwrap();
    assert_eq!(nanos("first_log_nanos") - nanos("first_publish_nanos"), 30_000_000);
    assert_eq!(of("/imu", &channels)["readings"], of("/imu", &channels)["messages"]);

    replay(&[&[text(&short), "--pack", TINY, "--out", text(&out)][..], &SHEEP].concat());
    let found = bags(&["read", text(&out)]);
    for channel in &channels {
        let topic = channel["topic"].as_str().unwrap();
        assert_eq!(of(topic, &found), *channel, "{topic} is not copied");
    }
    let camera = of("/perceptd/embedding/camera", &found);
    assert_eq!((&camera["schema"], &camera["dim"]), (&"perceptd.v1.Embedding".into(), &64.into()));
    assert!(camera["messages"].as_u64().unwrap() >= 39);
    assert_eq!(of("/perceptd/joint", &found)["schema"], "perceptd.v1.JointEmbedding");
    assert_eq!(of("/perceptd/event/sheep", &found)["schema"], "perceptd.v1.Event");
    let drawn = of("/camera/annotations", &found);
    let first = &drawn["boxes"][0];
    assert_eq!(first["corners"][0].as_array().unwrap().len(), 4, "{drawn}");
    assert!(first["labels"][0].as_str().unwrap().starts_with("sheep "), "{drawn}");
    // The end of the last event clears the picture.
    assert_eq!(drawn["boxes"].as_array().unwrap().last().unwrap()["corners"], Value::Array(Vec::new()));
}

fn topic(name: &str, topic: &str) -> TopicSettings {
    TopicSettings::new(SensorId::new(name).unwrap(), topic)
}

#[test]
fn ros_bags_of_another_writer_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let jpeg = dir.path().join("picture.jpg");
    let frame = Recording::open(Path::new(BUNDLED)).unwrap().samples().find_map(|sample| match sample.unwrap().data {
        SampleData::Image(frame) => Some(frame),
        _ => None,
    });
    let frame = frame.unwrap();
    std::fs::write(&jpeg, &frame.bytes).unwrap();
    let mut first: Option<Vec<Sample>> = None;
    for how in ["zstd", "lz4", "none", "loose"] {
        let bag = dir.path().join(format!("{how}.mcap"));
        bags(&["write", text(&bag), how, text(&jpeg)]);
        let refused = Recording::open(&bag).unwrap_err().to_string();
        assert!(refused.contains("/imu/data (sensor_msgs/msg/Imu, 600 messages): imu"), "{refused}");
        let depth = TopicSettings { modality: Some(Modality::Depth), ..topic("deep", "/depth/image_raw") };
        let topics = [
            topic("front", "/camera/image_raw/compressed"),
            topic("imu", "/imu/data"),
            topic("mic", "/audio"),
            topic("raw", "/camera/image_raw"),
            depth,
        ];
        let recording = Recording::open_mapped(&bag, &topics).unwrap();
        let samples: Vec<Sample> = recording.samples().map(Result::unwrap).collect();
        assert_eq!((samples.len(), recording.len()), (840, 840), "{how}");
        // However it is packed, it is the same.
        let first = first.get_or_insert_with(|| samples.clone());
        let alike = |(a, b): (&Sample, &Sample)| match (&a.data, &b.data) {
            // No reading is never equal.
            (SampleData::Depth(a), SampleData::Depth(b)) => {
                a.values.iter().zip(&b.values).all(|(a, b)| a.to_bits() == b.to_bits())
            }
            _ => a == b,
        };
        assert!(first.iter().zip(&samples).all(alike), "{how}");
    }
    let samples = first.unwrap();
    let of = |name: &str| samples.iter().find(|sample| sample.sensor.as_str() == name).unwrap();
    // The clock's zero is ten seconds before the second of the first arrival.
    let (imu, front, mic) = (of("imu"), of("front"), of("mic"));
    assert_eq!((imu.captured_at.nanos(), imu.arrived_at.nanos()), (10_250_000_000, 10_252_000_000));
    assert_eq!((front.captured_at.nanos(), front.arrived_at.nanos()), (10_250_000_000, 10_290_000_000));
    assert_eq!((mic.captured_at.nanos(), mic.arrived_at.nanos()), (10_250_000_000, 10_350_000_000));
    let SampleData::Imu(readings) = &imu.data else { panic!() };
    assert_eq!(readings[0].accel_in_body_mps2, [0.0, 0.0, 9.80665]);
    let SampleData::Image(picture) = &front.data else { panic!() };
    assert!(*picture == frame);
    let SampleData::Image(raw) = &of("raw").data else { panic!() };
    // bgr8 became rgb8, and the bytes at the rows' ends are gone.
    assert_eq!((&raw.bytes[..6], raw.bytes.len()), (&[2, 1, 0, 5, 4, 3][..], 64 * 48 * 3));
    let SampleData::Depth(plane) = &of("deep").data else { panic!() };
    assert!(plane.values[0].is_nan() && plane.values[1] == 0.001);
    let SampleData::Audio { sample_rate_hz: 16_000, samples: sound } = &mic.data else { panic!() };
    assert_eq!((sound.len(), sound[1]), (1600, -3969.0 / 32_768.0));

    let (bag, out) = (dir.path().join("zstd.mcap"), dir.path().join("out.jsonl"));
    let topics = ["--topic", "front=/camera/image_raw/compressed", "--topic", "imu=/imu/data", "--topic", "mic=/audio"];
    let depth = ["--topic", "deep=/depth/image_raw:depth"];
    let out_and_pack = [text(&bag), "--pack", TINY, "--out", text(&out)];
    let said = replay(&[&out_and_pack[..], &topics, &depth].concat());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines(&out).iter().filter(|line| line["heard"] == "embedding") {
        *counts.entry(line["sensor"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let wanted = [("deep", 13), ("front", 30), ("imu", 12), ("mic", 12)];
    assert_eq!(counts, wanted.map(|(name, count)| (name.to_owned(), count)).into(), "{said}");

    // A topic of which nothing can be read is a failure, and told with what is wrong.
    let arguments = ["replay", text(&bag), "--pack", TINY, "--topic", "front=/camera/image_raw:depth"];
    let output = perceptd(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = "front: 60 of 60 messages of /camera/image_raw could not be read as depth: its encoding is `bgr8`";
    let is_told = said.contains(told) && said.contains("perceptd: nothing came of front (/camera/image_raw)");
    assert!(output.status.code() == Some(1) && is_told, "{said}");

    // Topics can stand in a config that has nothing else: the command line says what is replayed, nothing is published.
    let config = dir.path().join("topics.toml");
    let topics =
        "[replay.topics.imu]\ntopic = '/imu/data'\n[[prompts]]\nid = 'sheep'\ntext = 'sheep'\nin = ['image']\n";
    std::fs::write(&config, topics).unwrap();
    let said = replay(&[text(&bag), "--pack", TINY, "--config", text(&config)]);
    assert!(said.contains("12 of imu windows"), "{said}");
}

/// A WitMotion packet: header, kind, four little-endian values, sum.
fn packet(kind: u8, values: [i16; 4]) -> Vec<u8> {
    let mut bytes = vec![0x55, kind];
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes.push(bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    bytes
}

/// `perceptd record` of an IMU on a pty; ended when dropped.
struct Recorder {
    child: Child,
    port: TTYPort,
    out: PathBuf,
    _dir: tempfile::TempDir,
}

impl Recorder {
    fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (port, slave) = TTYPort::pair().unwrap();
        let (config, out) = (dir.path().join("perceptd.toml"), dir.path().join("out.mcap"));
        let device = slave.name().unwrap();
        let text = format!(
            "[robot]\nname = 'a'\n[pack]\npath = '{TINY}'\n[sensors.imu]\ndriver = 'witmotion'\ndevice = '{device}'\n\
             [sensors.gone]\ndriver = 'gy_mcu90640'\ndevice = '/dev/absent'\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_perceptd"));
        command.args(["record", "--out"]).arg(&out).arg("--config").arg(&config).args(more);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(slave);
        Self { child, port, out, _dir: dir }
    }

    /// Feeds the device until the recording holds this many readings.
    fn feed_until(&mut self, readings: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.readings() < readings {
            assert!(Instant::now() < deadline, "{} readings", self.readings());
            // Until perceptd has opened the other end, writing fails.
            drop(self.port.write_all(&[packet(0x51, [0, 0, 2048, 0]), packet(0x52, [0, 0, 7, 0])].concat()));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn readings(&self) -> usize {
        let Ok(recording) = Recording::open(&self.out) else { return 0 };
        let count = |sample: &Sample| if let SampleData::Imu(readings) = &sample.data { readings.len() } else { 0 };
        recording.samples().flatten().map(|sample| count(&sample)).sum()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Gone already where the test has ended it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_recorder_that_is_killed_leaves_all_but_the_last_chunk() {
    let mut recorder = Recorder::start(&[]);
    recorder.feed_until(100);
    recorder.child.kill().unwrap();
    recorder.child.wait().unwrap();
    let recording = Recording::open(&recorder.out).unwrap();
    let names: Vec<String> = recording.sensors().iter().map(|(id, modality)| format!("{id} {modality}")).collect();
    assert_eq!(names, ["gone thermal", "imu imu"]);
    let (samples, errors): (Vec<_>, Vec<_>) = recording.samples().partition(Result::is_ok);
    assert!(!samples.is_empty());
    let told = errors[0].as_ref().unwrap_err().to_string();
    assert!(errors.len() == 1 && told.contains("never finished"), "{told}");
    // What is there is replayed, the loss is told, and the exit code says that it is not whole.
    let output = perceptd(&["replay", text(&recorder.out), "--pack", TINY]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("never finished"), "{said}");
}

#[test]
fn a_recorder_stops_in_order_and_keeps_what_is_there() {
    let mut recorder = Recorder::start(&[]);
    recorder.feed_until(20);
    assert!(Command::new("kill").arg(recorder.child.id().to_string()).status().unwrap().success());
    let deadline = Instant::now() + PATIENCE;
    while recorder.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut said = String::new();
    std::io::Read::read_to_string(&mut recorder.child.stdout.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("of imu") && said.contains("0 of gone (/dev/absent"), "{said}");
    let recording = Recording::open(&recorder.out).unwrap();
    assert!(recording.samples().all(|sample| sample.is_ok()));
    let sample = recording.samples().next().unwrap().unwrap();
    assert!(sample.captured_at <= sample.arrived_at);
    // It is not written over.
    let before = std::fs::read(&recorder.out).unwrap();
    let config = recorder.out.with_file_name("perceptd.toml");
    let output = perceptd(&["record", "--out", text(&recorder.out), "--config", text(&config), "--for", "1s"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("it is there already"), "{said}");
    assert!(std::fs::read(&recorder.out).unwrap() == before);
}

#[test]
fn what_cannot_be_recorded_or_replayed_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let config = at("perceptd.toml");
    let text = format!(
        "[robot]\nname = 'a'\n[pack]\npath = '{TINY}'\n[sensors.imu]\ndriver = 'witmotion'\ndevice = '/dev/absent'\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::write(at("noise.mcap"), b"noise, and no recording").unwrap();
    let (noise, nowhere, absent, mine) = (at("noise.mcap"), at("no/such/out.mcap"), at("absent.mcap"), at("mine.mcap"));
    cut(1.0, Path::new(&mine));
    let lines = at("lines.jsonl");
    std::fs::write(&lines, "{}").unwrap();
    let (refused, nonsense) = (at("refused.jsonl"), format!("audio:{}", at("noise.mcap")));
    let refused_copy = at("refused.mcap");
    let (both_a, both_camera) = (["a=/camera", "a=/thermal"], ["a=/camera", "b=/camera"]);
    let twice = |[one, two]: [&'static str; 2]| ["replay", BUNDLED, "--pack", TINY, "--topic", one, "--topic", two];
    let cases: [(&[&str], i32, &str); 14] = [
        (&["record", "--out", &nowhere, "--config", &config], 1, "No such file or directory"),
        (&["record", "--out", &absent, "--config", &nowhere], 64, "cannot read the config"),
        (&["replay", &absent, "--pack", TINY], 1, "cannot read"),
        (&["replay", &noise, "--pack", TINY], 1, "does not begin as MCAP files do"),
        (&["replay", BUNDLED, "--pack", TINY, "--out", &nowhere], 1, "cannot write"),
        (&["replay", BUNDLED, "--pack", TINY, "--topic", "a=/nothing"], 1, "it has no topic /nothing"),
        (&["replay", BUNDLED, "--pack", TINY, "--topic", "mic=/camera"], 1, "it has a sensor `mic` already"),
        (&twice(both_a), 64, "/camera and /thermal are both named `a`"),
        (&twice(both_camera), 64, "/camera is named `a` and `b`"),
        (&["replay", &mine, "--pack", TINY, "--out", &mine], 1, "name another file"),
        (&["replay", &mine, "--pack", TINY, "--out", &lines], 1, "name another file"),
        (&["replay", &at("."), "--pack", TINY], 1, "name the file in it"),
        (&["replay", BUNDLED, "--pack", TINY, "--prompt", &nonsense, "--out", &refused], 1, "noise"),
        (&["replay", BUNDLED, "--pack", TINY, "--prompt", &nonsense, "--out", &refused_copy], 1, "noise"),
    ];
    for (arguments, code, words) in cases {
        let output = perceptd(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words) && said.matches("perceptd: ").count() == 1, "{arguments:?}: {said}");
    }
    for never_begun in [&absent, &refused, &refused_copy] {
        assert!(!Path::new(never_begun).exists(), "{never_begun}");
    }
    assert!(Recording::open(Path::new(&mine)).unwrap().samples().all(|sample| sample.is_ok()));
}

#[test]
fn a_replay_ends_at_once_by_a_signal_while_it_still_looks_at_the_file() {
    const LOOKED_AT: u64 = 16 << 20;
    let dir = tempfile::tempdir().unwrap();
    let endless = dir.path().join("endless.mcap");
    // One record of a kind that nobody knows, and nothing of it on the disk.
    let mut begin = b"\x89MCAP0\r\n\xee".to_vec();
    begin.extend((1u64 << 39).to_le_bytes());
    std::fs::write(&endless, begin).unwrap();
    std::fs::File::options().write(true).open(&endless).unwrap().set_len(1 << 40).unwrap();
    for signal in ["-INT", "-TERM"] {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_perceptd"));
        let mut child = replay.args(["replay", text(&endless), "--pack", TINY]).stderr(Stdio::piped()).spawn().unwrap();
        let id = child.id().to_string();
        let read = || {
            let told = std::fs::read_to_string(format!("/proc/{id}/io")).unwrap();
            told.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse::<u64>().unwrap()
        };
        let deadline = Instant::now() + PATIENCE;
        while read() < LOOKED_AT && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let ended = child.try_wait().unwrap();
        // It has ended by itself unless the test fails.
        drop(child.kill());
        let status = child.wait().unwrap();
        assert!(ended.is_some() && !status.success(), "{signal}: {status}");
    }
}
