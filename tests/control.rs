//! Configuration, prompts and commands by topic: `perceptd run` with two IMUs on pseudo-terminals, a real mosquitto, `perceptd config` and
//! `perceptd prompt` as a person calls them, and a Python client that shares no code with perceptd.

mod access;
mod embedder;
mod hops;
mod many;
mod once;
mod rivals;
mod starts;
mod winner;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use perceptd::publish::{BrokerAccess, BrokerAddress, Heard, HeardEmbedding, Subscriber, SubscriberSettings};
use perceptd::recording::Recording;
use perceptd::time::now;

use crate::mqtt::{Mosquitto, holds, script};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// IMUs that answer at 115200 baud alone.
struct Imus {
    child: Child,
    _stdin: ChildStdin,
}

impl Imus {
    fn start(paths: &[PathBuf]) -> Self {
        let mut child = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/control/imus.py"))
            .args(paths)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let stdin = child.stdin.take().unwrap();
        Self { child, _stdin: stdin }
    }
}

impl Drop for Imus {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A robot with two IMUs, its broker and its state folder.
struct Rover {
    name: &'static str,
    broker: Arc<Mosquitto>,
    folder: tempfile::TempDir,
    _imus: Imus,
    daemon: Option<Child>,
}

impl Rover {
    fn start() -> Self {
        Self::beside("rover", Arc::new(Mosquitto::start()), "")
    }

    /// One at this broker, with these lines in its config.
    fn beside(name: &'static str, broker: Arc<Mosquitto>, more: &str) -> Self {
        let mut rover = Self::at_rest(name, broker, more);
        rover.run();
        rover
    }

    /// The same, not started yet.
    fn at_rest(name: &'static str, broker: Arc<Mosquitto>, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(format!("tty-{name}")));
        let imus = Imus::start(&paths);
        let text = format!(
            "[robot]\nname = '{name}'\n[pack]\npath = '{ROOT}/models/tiny'\n[mqtt]\nport = {}\n[state]\nfolder = 'state'\n\
             [sensors.a]\ndriver = 'witmotion'\ndevice = '{}'\nhop_secs = 1.0\n\
             [sensors.b]\ndriver = 'witmotion'\ndevice = '{}'\nhop_secs = 1.0\n\
             [[prompts]]\nid = 'knock'\naudio = '{ROOT}/tests/golden/bell.wav'\nin = ['imu']\n{more}",
            broker.address().port,
            paths[0].display(),
            paths[1].display()
        );
        std::fs::write(folder.path().join("perceptd.toml"), text).unwrap();
        Self { name, broker, folder, _imus: imus, daemon: None }
    }

    /// Changes the config file, which is read at the next start.
    fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "no `{from}` in {text}");
        std::fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("perceptd.toml")
    }

    fn run(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_perceptd"));
        self.daemon = Some(command.args(["run", "--config"]).arg(self.config()).stderr(log).spawn().unwrap());
    }

    /// Sends commands from Python; what it prints.
    fn commands(&self, arguments: &[&str]) -> String {
        let output = script("tests/control/commands.py")
            .args(["--port", &self.broker.address().port.to_string()])
            .args(["--root", &format!("perceptd/v1/default/{}/", self.name)])
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    fn stop(&mut self, signal: &str) {
        let mut daemon = self.daemon.take().unwrap();
        assert!(Command::new("kill").args([signal, &daemon.id().to_string()]).status().unwrap().success());
        daemon.wait().unwrap();
    }

    fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Calls `perceptd` as a person would; code, and what it printed.
    fn perceptd(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perceptd"));
        command.args(arguments).arg("--config").arg(self.config()).args(["--timeout", "60s"]).current_dir(ROOT);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.code().unwrap(), text)
    }

    fn expect(&self, arguments: &[&str], code: i32, words: &[&str]) -> String {
        let (found, text) = self.perceptd(arguments);
        let all = words.iter().all(|word| text.contains(word));
        assert!(found == code && all, "{arguments:?} gave {found}:\n{text}\nand the log:\n{}", self.log());
        text
    }

    /// Waits until perceptd, started for the `starts`th time, has connected; what it reports then follows at once.
    async fn connected(&self, starts: usize) {
        let connections = || self.log().matches("connected to the broker").count();
        holds(|| connections() >= starts).await;
    }
}

impl Drop for Rover {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }
}

fn ear(broker: BrokerAddress) -> Subscriber {
    let filter = "perceptd/v1/default/rover/#".to_owned();
    Subscriber::new(SubscriberSettings { broker: BrokerAccess::plain(broker), filter })
}

/// Every embedding's place on its sensor's grid, by sensor, as they came.
type Places = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

fn places(broker: BrokerAddress) -> Places {
    let places = Places::default();
    let kept = Arc::clone(&places);
    tokio::spawn(async move {
        let mut ear = ear(broker);
        while Arc::strong_count(&kept) > 1 {
            if let Heard::Embedding(embedding) = ear.next().await {
                kept.lock().unwrap().entry(embedding.sensor).or_default().push(embedding.window_index);
            }
        }
    });
    places
}

async fn until(places: &Places, what: &str, condition: impl Fn(&BTreeMap<String, Vec<u64>>) -> bool) {
    let limit = now() + Duration::from_secs(60);
    while !condition(&places.lock().unwrap()) {
        assert!(now() < limit, "not within a minute: {what}: {:?}", places.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn count(places: &Places, sensor: &str) -> usize {
    places.lock().unwrap().get(sensor).map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_is_changed_and_rolled_back_and_the_other_sensor_notices_nothing() {
    let mut rover = Rover::start();
    let places = places(rover.broker.address());
    until(&places, "both deliver", |places| places.len() == 2).await;

    let change = ["config", "set", "sensors.b.hop_secs=0.25", "log.level=debug", "events.exit_odds_ratio=8"];
    rover.expect(&change, 0, &["default/rover: applied as generation 1"]);
    rover.expect(&["config", "set", "sensors.b.enabled=false"], 0, &["applied as generation 2"]);
    let silent = count(&places, "b");
    let others = count(&places, "a");
    until(&places, "a goes on", |places| places["a"].len() >= others + 3).await;
    assert_eq!(count(&places, "b"), silent, "b is off");
    rover.expect(&["config", "set", "sensors.b.enabled=true"], 0, &["applied as generation 3"]);
    until(&places, "b is back", |places| places["b"].len() > silent).await;

    let began = now();
    rover.expect(&["config", "set", "sensors.b.baud=9600"], 1, &["rolled back:\n  sensors.b: "]);
    assert!(now() < began + Duration::from_secs(10), "it took too long");
    let before = count(&places, "b");
    until(&places, "b delivers as before", |places| places["b"].len() > before + 3).await;

    let refused = ["config", "set", "mqtt.host=elsewhere", "log.level=loud"];
    rover.expect(
        &refused,
        1,
        &["rejected:\n  mqtt.host: cannot be changed by topic", "log.level: `loud` is not known"],
    );
    rover.expect(&["config", "set", "log.level=loud"], 1, &["log.level: `loud` is not known"]);
    let shown =
        rover.expect(&["config", "get"], 0, &["generation 3", "log.level = \"debug\"", "sensors.b.hop_secs = 0.25"]);
    assert!(!shown.contains("mqtt."), "{shown}");
    rover.expect(&["config", "diff", "log.level=warn"], 0, &["log.level: \"debug\" → \"warn\""]);
    rover.expect(&["config", "rollback"], 0, &["applied as generation 7"]);
    rover.expect(&["config", "diff"], 0, &["sensors.b.enabled = false"]);

    let log = rover.log();
    for line in [
        "INFO perceptd::daemon::control::answers: a config that came by topic is applied generation=1 keys=[\"events.exit_odds_ratio\"",
        "WARN perceptd::daemon::control::answers: a config that came by topic is rolled back generation=4 problems=[\"sensors.b: ",
        "WARN perceptd::daemon::control::answers: a config that came by topic is rejected generation=5 problems=[\"mqtt.host: ",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line} in {log}");
    }

    rover.expect(&["prompt", "add", "hush"], 64, &["nothing is said of the prompt `hush`"]);
    let silence = rover.folder.path().join("silence.wav");
    std::fs::write(&silence, silent_wav()).unwrap();
    let silence = format!("audio:{}", silence.display());
    let began = now();
    rover.expect(&["prompt", "add", "hush", &silence, "--in", "imu"], 1, &["cannot look for hush:", "silent"]);
    assert!(now() < began + Duration::from_secs(10), "it took too long");
    let parts = ["audio:tests/golden/chirp.wav", "0.5*text:a knock", "0.2*image:tests/golden/wide.png"];
    let added = [&["prompt", "add", "thud"], &parts[..], &["--negative", "text:rain", "--in", "imu"]].concat();
    rover.expect(&added, 0, &["looks for thud: audio of ", " + 0.5·text:a knock + 0.2·image of ", "; in imu;"]);
    rover.expect(&["prompt", "add", "knock", "--p-false", "0.2"], 0, &["looks for knock", "p_false 0.2; from topic"]);
    rover.expect(
        &["prompt", "list"],
        0,
        &["thud: audio of", "from topic", "hush: not looked for; last wish rolled back"],
    );
    rover.expect(&["prompt", "remove", "knock"], 0, &["prompt knock is as the config file says"]);
    rover.expect(&["prompt", "remove", "thump"], 1, &["rover: looks for no `thump`; known: hush, knock, thud\n"]);

    assert_whole(&places.lock().unwrap()["a"]);
    rover.stop("-TERM");
    rover.run();
    rover.connected(2).await;
    rover.expect(&["config", "get"], 0, &["generation 7", "sensors.b.enabled = false"]);
    rover.expect(&["prompt", "list"], 0, &["thud: audio of", "knock: audio:"]);
    rover.expect(&["prompt", "remove", "thud"], 0, &["prompt thud is gone"]);
    assert!(!rover.folder.path().join("state/remote/prompts/thud.pb").exists());
    rover.expect(&["config", "get", "--robot", "nobody-*"], 1, &["no robot `nobody-*`", "heard: rover"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_level_is_changed_and_no_sensor_notices() {
    let rover = Rover::start();
    let places = places(rover.broker.address());
    until(&places, "both deliver", |places| places.len() == 2).await;
    let lines = |words: &str| rover.log().lines().filter(|line| line.contains("DEBUG") && line.contains(words)).count();
    assert_eq!(lines(""), 0);
    rover.expect(&["config", "set", "log.level=debug"], 0, &["applied as generation 1"]);
    holds(|| lines("embedded sensor=a") > 0 && lines("embedded sensor=b") > 0).await;
    rover.expect(&["config", "set", "log.level=info"], 0, &["applied as generation 2"]);
    let (told, seen) = (lines(""), count(&places, "a"));
    until(&places, "a goes on", |places| places["a"].len() >= seen + 3).await;
    assert_eq!(lines(""), told, "nothing more at info");
    for sensor in ["a", "b"] {
        assert_whole(&places.lock().unwrap()[sensor]);
    }
}

/// No place of the grid is missing between the first and the last.
fn assert_whole(places: &[u64]) {
    let gaps: Vec<_> = places.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(gaps.is_empty() && places.len() > 5, "{gaps:?} of {places:?}");
}

/// A second of nothing at 16 kHz.
fn silent_wav() -> Vec<u8> {
    let data = 32_000u32;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data");
    file.extend(data.to_le_bytes());
    file.resize(file.len() + data as usize, 0);
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_and_generations_keep_their_rules() {
    let rover = Rover::start();
    let places = places(rover.broker.address());
    until(&places, "both deliver", |places| places.len() == 2).await;
    let out: serde_json::Value = serde_json::from_str(&rover.commands(&["--sensor", "b"])).unwrap();
    let (done, refused) = (1, 2);
    let one = |name: &str| {
        let answers = out[name].as_array().unwrap();
        assert_eq!(answers.len(), 1, "{name}: {answers:?}");
        (answers[0]["state"].as_i64().unwrap(), answers[0]["what"].as_str().unwrap().to_owned())
    };
    let recorded = out["record"][0]["what"].as_str().unwrap();
    let file = recorded.rsplit(" in ").next().unwrap();
    let recording = Recording::open(Path::new(file)).unwrap();
    assert_eq!(recording.sensors().len(), 2, "{recorded}");
    assert!(recording.samples().count() > 20, "{recorded}");
    assert_eq!(out["second_record"][0]["state"], refused, "one at a time: {out}");
    for name in ["good", "old_mqtt", "restart", "record", "resend"] {
        assert_eq!(one(name).0, done, "{out}");
    }
    for (name, why) in [
        ("replayed", "came before"),
        ("retained", "must not be retained"),
        ("timeless", "no expiry"),
        ("late", "after its expiry"),
        ("nobody", "no sensor `nobody`"),
        ("mismatch", "the topic is cmd/record"),
    ] {
        let (state, what) = one(name);
        assert!(state == refused && what.contains(why), "{name}: {what}");
    }
    assert_eq!(out["elsewhere"].as_array().unwrap().len(), 0, "answers stay below the robot's own reply topic");
    assert_eq!(out["answered_elsewhere"].as_array().unwrap().len(), 0, "{out}");
    let sensors: Vec<&str> = out["snapshot"].as_array().unwrap().iter().filter_map(|s| s["sensor"].as_str()).collect();
    assert_eq!(sensors, ["a", "b"]);
    assert_eq!(out["snapshot"][0]["scores"][0], "knock");

    let wishes = out["wishes"].as_array().unwrap();
    let states: Vec<_> =
        wishes.iter().map(|w| (w["generation"].as_u64().unwrap(), w["state"].as_str().unwrap())).collect();
    let (applied, rejected) = ("WISH_STATE_APPLIED", "WISH_STATE_REJECTED");
    assert_eq!(states, [(7, applied), (7, applied), (6, rejected), (7, rejected), (8, rejected), (9, rejected)]);
    assert!(wishes.iter().all(|wish| wish["in_force"] == 7), "{wishes:?}");
    let problems: Vec<Vec<&str>> =
        wishes.iter().map(|w| w["problems"].as_array().unwrap().iter().filter_map(|p| p.as_str()).collect()).collect();
    assert!(problems[..2].iter().all(Vec::is_empty), "{problems:?}");
    assert!(problems[2][0].contains("6 is lower than 7"), "{problems:?}");
    assert!(problems[3][0].contains("other content"), "{problems:?}");
    assert_eq!(problems[4].len(), 2, "each key of its own: {problems:?}");
    assert!(problems[5][0].contains("odd number"), "{problems:?}");
    let one_at_once = out["one_at_once"].as_array().unwrap();
    assert_eq!(one_at_once[0], applied);
    let states: Vec<_> = one_at_once[1..].iter().map(|answer| answer["state"].as_i64().unwrap()).collect();
    assert_eq!(states, [refused, done, done], "{one_at_once:?}");
    assert!(one_at_once[1]["what"].as_str().unwrap().starts_with("1 commands are being worked on"), "{one_at_once:?}");
    let lines = rover.log().matches("a message is refused").count();
    assert!(lines <= 20, "the log is not flooded: {lines}");
    assert_whole(&places.lock().unwrap()["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_robots_are_configured_at_once_and_from_a_file() {
    let broker = Arc::new(Mosquitto::start());
    let rovers = ["rover-1", "rover-2", "mower"].map(|name| Rover::beside(name, Arc::clone(&broker), ""));
    for rover in &rovers {
        rover.connected(1).await;
    }
    let rover = &rovers[0];
    let (all, good) = (["--robot", "rover-?"], rover.folder.path().join("patch.json"));
    let set = |arguments: &[&str], code, words: &[&str]| {
        rover.expect(&[&["config", "set"], arguments, &all].concat(), code, words);
    };
    std::fs::write(&good, r#"{"log": {"level": "debug"}, "sensors": {"b": {"hop_secs": 0.5}}}"#).unwrap();
    let applied = |generation: u32| {
        ["rover-1", "rover-2"].map(|name| format!("default/{name}: applied as generation {generation}"))
    };
    let good = good.to_str().unwrap();
    set(&["--file", good], 0, &[&applied(1)[0], &applied(1)[1]]);
    let shown = rover.expect(&[&["config", "get"], &all[..]].concat(), 0, &["# rover-1", "# rover-2"]);
    assert_eq!(shown.matches("sensors.b.hop_secs = 0.5").count(), 2, "{shown}");

    // Over what is in force, and over the file alone.
    set(&["events.min_on_secs=0.2"], 0, &[&applied(2)[0], &applied(2)[1]]);
    let differs = [&["config", "diff"], &all[..]].concat();
    rover.expect(
        &differs,
        0,
        &["rover-2\n  events.min_on_secs = 0.2\n  log.level = \"debug\"\n  sensors.b.hop_secs = 0.5"],
    );
    set(&["--whole", "events.min_on_secs=0.3"], 0, &[&applied(3)[0], &applied(3)[1]]);
    rover.expect(&differs, 0, &["rover-1\n  events.min_on_secs = 0.3\nrover-2\n  events.min_on_secs = 0.3\n"]);
    rover.expect(&["config", "get", "--robot", "mower"], 0, &["# mower: ", "perceptd.toml alone"]);

    // A prompt that one of them looks for is taken away from all; what nobody looks for is a mistake of whoever asks.
    rover.expect(&["prompt", "add", "thud", "audio:tests/golden/bell.wav", "--in", "imu"], 0, &["looks for thud"]);
    let remove = |id: &str, code, words: &[&str]| {
        rover.expect(&[&["prompt", "remove", id], &all[..]].concat(), code, words);
    };
    remove("thud", 0, &["rover-1: prompt thud is gone", "rover-2: looks for no `thud`; known: knock"]);
    remove("thud", 1, &["rover-1: looks for no `thud`; known: knock", "rover-2: looks for no `thud`"]);

    let bad = rover.folder.path().join("bad.json");
    std::fs::write(&bad, "{\"log\": ").unwrap();
    let bad = bad.to_str().unwrap();
    set(&["--file", bad], 1, &[bad]);
    set(&["--file", "/nothing/there.json"], 1, &["cannot read /nothing/there.json"]);
    set(&["--file", good, "log.level=info"], 64, &["cannot be used with"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_has_a_thumbnail_of_the_camera() {
    const SIZE: (u32, u32) = (640, 360);
    let pictures = tempfile::tempdir().unwrap();
    let picture = image::RgbImage::from_fn(SIZE.0, SIZE.1, |x, _| {
        if x < SIZE.0 / 2 { image::Rgb([250, 20, 20]) } else { image::Rgb([20, 20, 250]) }
    });
    picture.save(pictures.path().join("a.png")).unwrap();
    let eye = format!("[sensors.eye]\ndriver = 'folder'\npath = '{}'\nloop = true\n", pictures.path().display());
    let rover = Rover::beside("rover", Arc::new(Mosquitto::start()), &eye);
    let places = places(rover.broker.address());
    until(&places, "all deliver", |places| places.len() == 3).await;
    let found: serde_json::Value = serde_json::from_str(&rover.commands(&["--snapshot"])).unwrap();
    for name in ["a", "b"] {
        assert_eq!((&found["with"][name], &found["without"][name]), (&"".into(), &"".into()), "an IMU has no picture");
    }
    assert_eq!(found["without"]["eye"], "");
    let jpeg = base64::engine::general_purpose::STANDARD.decode(found["with"]["eye"].as_str().unwrap()).unwrap();
    assert_eq!(image::guess_format(&jpeg).unwrap(), image::ImageFormat::Jpeg);
    let thumbnail = image::load_from_memory(&jpeg).unwrap().to_rgb8();
    assert_eq!(thumbnail.dimensions(), (320, 180));
    let (left, right) = (thumbnail.get_pixel(40, 90), thumbnail.get_pixel(280, 90));
    assert!(left[0] > 200 && left[2] < 70 && right[2] > 200 && right[0] < 70, "{left:?} {right:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_by_command_outlives_a_kill() {
    let mut rover = Rover::start();
    let places = places(rover.broker.address());
    until(&places, "both deliver", |places| places.len() == 2).await;
    rover.commands(&["--record", "600"]);
    let recording = || {
        let mut files = std::fs::read_dir(rover.folder.path().join("state/remote/recordings")).ok()?;
        Recording::open(&files.next()?.unwrap().path()).ok()
    };
    let length_secs = || {
        let arrivals = recording()?.arrivals();
        Some(arrivals.end.nanos_since(arrivals.start) as f64 / 1e9)
    };
    holds(|| length_secs().is_some_and(|secs| secs >= 3.0)).await;
    // A flush comes each second, wherever in it the kill falls.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let killed_at = now();
    rover.stop("-KILL");
    let path = std::fs::read_dir(rover.folder.path().join("state/remote/recordings")).unwrap().next().unwrap();
    let recording = Recording::open(&path.unwrap().path()).unwrap();
    assert_eq!(recording.sensors().len(), 2);
    let last = recording.samples().flatten().map(|sample| sample.arrived_at).max().unwrap();
    let lost_secs = killed_at.nanos_since(last) as f64 / 1e9;
    assert!((0.0..1.5).contains(&lost_secs), "{lost_secs} s are lost");
}

/// A program that writes 16-bit sound at 48 kHz at its pace: no tenth of a second is like another.
const SOUND: &str = "
import random, struct, sys, time
rng, began, n = random.Random(3), time.monotonic(), 0
while True:
    n += 1
    sys.stdout.buffer.write(struct.pack('<4800h', *(rng.randrange(-9000, 9000) for _ in range(4800))))
    sys.stdout.buffer.flush()
    time.sleep(max(0.0, began + n / 10 - time.monotonic()))
";

/// A program that writes 16-bit frames of 32x24 twelve times a second, each unlike the last.
const PLANES: &str = "
import struct, sys, time
n = 0
while True:
    n += 1
    sys.stdout.buffer.write(struct.pack('<768H', *(28000 + (x * x + 37 * n * x) % 3000 for x in range(768))))
    sys.stdout.buffer.flush()
    time.sleep(1 / 12)
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_from_mid_run_replays_to_the_live_vectors() {
    let scripts = tempfile::tempdir().unwrap();
    let path = |name: &str| scripts.path().join(name).display().to_string();
    std::fs::write(path("sound.py"), SOUND).unwrap();
    std::fs::write(path("planes.py"), PLANES).unwrap();
    std::fs::create_dir(path("pictures")).unwrap();
    for n in 0..7u8 {
        let picture = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * n, y as u8 * 5, 30 * n]));
        picture.save(path(&format!("pictures/{n}.png"))).unwrap();
    }
    let more = format!(
        "[sensors.eye]\ndriver = 'folder'\npath = '{}'\nloop = true\nhop_secs = 0.25\n\
         [sensors.mic]\ndriver = 'command'\ncommand = ['python3', '{}']\noutput = 's16le'\nsample_rate_hz = 48000\nhop_secs = 0.25\n\
         [sensors.heat]\ndriver = 'command'\ncommand = ['python3', '{}']\noutput = 'y16'\nwidth_px = 32\nheight_px = 24\nhop_secs = 0.25\n",
        path("pictures"),
        path("sound.py"),
        path("planes.py"),
    );
    let rover = Rover::beside("rover", Arc::new(Mosquitto::start()), &more);
    let live: Arc<Mutex<Vec<HeardEmbedding>>> = Arc::default();
    let (kept, mut ear) = (Arc::clone(&live), ear(rover.broker.address()));
    tokio::spawn(async move {
        while Arc::strong_count(&kept) > 1 {
            if let Heard::Embedding(embedding) = ear.next().await {
                kept.lock().unwrap().push(embedding);
            }
        }
    });
    // It runs for longer than the longest window, so that what came before the recording could be in the first ones.
    let has_heard = |sensor: &str| live.lock().unwrap().iter().filter(|heard| heard.sensor == sensor).count() >= 8;
    holds(|| ["a", "b", "eye", "heat", "mic"].into_iter().all(has_heard)).await;
    let file = tokio::task::block_in_place(|| rover.commands(&["--record", "9", "--wait"])).trim().to_owned();

    let recording = Recording::open(Path::new(&file)).unwrap();
    let mut inside: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for sample in recording.samples().map(Result::unwrap) {
        let captured = sample.captured_at.nanos();
        inside.entry(sample.sensor.to_string()).or_insert((captured, captured)).1 = captured;
    }
    let out = rover.folder.path().join("replayed.jsonl");
    let mut replay = Command::new(env!("CARGO_BIN_EXE_perceptd"));
    replay.args(["replay", &file, "--out"]).arg(&out).arg("--config").arg(rover.config());
    let told = replay.output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let replayed = std::fs::read_to_string(out).unwrap();
    let replayed: BTreeMap<(String, u64), serde_json::Value> = replayed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|said| said["heard"] == "embedding")
        .map(|said| ((said["sensor"].as_str().unwrap().to_owned(), said["window_index"].as_u64().unwrap()), said))
        .collect();
    let mut same: BTreeMap<&str, usize> = BTreeMap::new();
    let live = live.lock().unwrap();
    for heard in live.iter() {
        let hop_nanos = if matches!(&*heard.sensor, "a" | "b") { 1_000_000_000 } else { 250_000_000 };
        let (first, last) = inside[&heard.sensor];
        let start = heard.window_index as i64 * hop_nanos;
        // The last tenth of a second may still be in the resampler's filter.
        if start < first || heard.end_mono_nanos.max(start + hop_nanos) + 100_000_000 > last {
            continue;
        }
        let again = &replayed[&(heard.sensor.clone(), heard.window_index)];
        // By way of text, as the other: every single-precision number has its own.
        let text = serde_json::to_string(&Heard::Embedding(heard.clone())).unwrap();
        let mut wanted: serde_json::Value = serde_json::from_str(&text).unwrap();
        // The replay is another run, and counts its messages from 1.
        for key in ["boot_id", "seq"] {
            wanted[key] = again[key].clone();
        }
        assert_eq!(*again, wanted);
        *same.entry(&heard.sensor).or_default() += 1;
    }
    // A window of motion is 5 s long, one of sound 2 s.
    for (sensor, least) in [("a", 2), ("b", 2), ("eye", 25), ("heat", 25), ("mic", 18)] {
        assert!(same.get(sensor).is_some_and(|count| *count >= least), "{sensor}: {same:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_goes_back_to_what_was_good() {
    let mut rover = Rover::start();
    rover.connected(1).await;
    rover.expect(&["config", "set", "log.level=debug"], 0, &["applied as generation 1"]);
    rover.expect(&["config", "set", "events.min_on_secs=0.2"], 0, &["applied as generation 2"]);
    for starts in 2..5 {
        rover.stop("-KILL");
        rover.run();
        rover.connected(starts).await;
    }
    rover.expect(&["config", "get"], 0, &["generation 1", "generation 2 rolled back", "log.level = \"debug\""]);
    rover.stop("-TERM");
    // A config that perceptd did not survive is not tried again, though the broker still has it.
    let ledger = rover.folder.path().join("state/remote/config.json");
    let text = std::fs::read_to_string(&ledger).unwrap();
    let trial = text.replace("\"trial\":null", "\"trial\":{\"generation\":3,\"digest\":\"x\"}");
    assert_ne!(trial, text);
    std::fs::write(&ledger, trial).unwrap();
    rover.run();
    rover.connected(5).await;
    rover.expect(&["config", "get"], 0, &["generation 1", "generation 3 rolled back", "perceptd ended while it tried"]);
}
