//! Configuration, prompts and commands by topic: `perceptd run` with two IMUs on pseudo-terminals, a real mosquitto, `perceptd config` and
//! `perceptd prompt` as a person calls them, and a Python client that shares no code with perceptd.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perceptd::publish::{BrokerAddress, Heard, Subscriber, SubscriberSettings};
use perceptd::time::now;

use crate::mqtt::{Mosquitto, soon};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python");

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
    broker: Mosquitto,
    folder: tempfile::TempDir,
    _imus: Imus,
    daemon: Option<Child>,
}

impl Rover {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(format!("tty-{name}")));
        let imus = Imus::start(&paths);
        let broker = Mosquitto::start();
        let text = format!(
            "[robot]\nname = 'rover'\n[pack]\npath = '{ROOT}/models/tiny'\n[mqtt]\nport = {}\n[state]\nfolder = 'state'\n\
             [sensors.a]\ndriver = 'witmotion'\ndevice = '{}'\nhop_secs = 1.0\n\
             [sensors.b]\ndriver = 'witmotion'\ndevice = '{}'\nhop_secs = 1.0\n\
             [[prompts]]\nid = 'knock'\naudio = '{ROOT}/tests/golden/bell.wav'\nin = ['imu']\n",
            broker.address().port,
            paths[0].display(),
            paths[1].display()
        );
        std::fs::write(folder.path().join("perceptd.toml"), text).unwrap();
        let mut rover = Self { broker, folder, _imus: imus, daemon: None };
        rover.run();
        rover
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("perceptd.toml")
    }

    fn run(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_perceptd"));
        self.daemon = Some(command.args(["run", "--config"]).arg(self.config()).stderr(log).spawn().unwrap());
    }

    fn stop(&mut self, signal: &str) {
        let mut daemon = self.daemon.take().unwrap();
        assert!(Command::new("kill").args([signal, &daemon.id().to_string()]).status().unwrap().success());
        daemon.wait().unwrap();
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
        soon(async {
            while connections() < starts {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
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
    Subscriber::new(SubscriberSettings { broker, credentials: None, filter })
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
    rover.expect(&refused, 1, &["rejected:\n  mqtt.host: cannot be changed by topic"]);
    rover.expect(&["config", "set", "log.level=loud"], 1, &["log.level: `loud` is not known"]);
    let shown =
        rover.expect(&["config", "get"], 0, &["generation 3", "log.level = \"debug\"", "sensors.b.hop_secs = 0.25"]);
    assert!(!shown.contains("mqtt"), "{shown}");
    rover.expect(&["config", "diff", "log.level=warn"], 0, &["log.level: \"debug\" → \"warn\""]);
    rover.expect(&["config", "rollback"], 0, &["applied as generation 7"]);
    rover.expect(&["config", "diff"], 0, &["sensors.b.enabled = false"]);

    let silence = rover.folder.path().join("silence.wav");
    std::fs::write(&silence, silent_wav()).unwrap();
    let silence = format!("audio:{}", silence.display());
    rover.expect(&["prompt", "add", "hush", &silence, "--in", "imu"], 1, &["cannot look for hush:", "silent"]);
    let added = ["prompt", "add", "thud", "audio:tests/golden/chirp.wav", "0.5*text:a knock", "--in", "imu"];
    rover.expect(&added, 0, &["looks for thud: audio of ", "0.5·text:a knock"]);
    rover.expect(&["prompt", "add", "knock", "--p-false", "0.2"], 0, &["looks for knock", "p_false 0.2; from topic"]);
    rover.expect(
        &["prompt", "list"],
        0,
        &["thud: audio of", "from topic", "hush: not looked for; last wish rolled back"],
    );
    rover.expect(&["prompt", "remove", "knock"], 0, &["prompt knock is as the config file says"]);

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
    assert!(Path::new(PYTHON).exists(), "no .venv with tests/requirements.txt (tests/run makes it)");
    let output = Command::new(PYTHON)
        .arg(format!("{ROOT}/tests/control/commands.py"))
        .args(["--port", &rover.broker.address().port.to_string()])
        .args(["--root", "perceptd/v1/default/rover/", "--sensor", "b"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}\n{}", rover.log());
    let out: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (done, refused) = (1, 2);
    let one = |name: &str| {
        let answers = out[name].as_array().unwrap();
        assert_eq!(answers.len(), 1, "{name}: {answers:?}");
        (answers[0]["state"].as_i64().unwrap(), answers[0]["what"].as_str().unwrap().to_owned())
    };
    let recorded = out["record"][0]["what"].as_str().unwrap();
    let file = recorded.rsplit(" in ").next().unwrap();
    let recording = perceptd::recording::Recording::open(Path::new(file)).unwrap();
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
    assert_eq!(out["unanswered"].as_array().unwrap().len(), 0, "{out}");
    let sensors: Vec<&str> = out["snapshot"].as_array().unwrap().iter().filter_map(|s| s["sensor"].as_str()).collect();
    assert_eq!(sensors, ["a", "b"]);
    assert_eq!(out["snapshot"][0]["scores"][0], "knock");

    let wishes = out["wishes"].as_array().unwrap();
    let states: Vec<_> =
        wishes.iter().map(|w| (w["generation"].as_u64().unwrap(), w["state"].as_str().unwrap())).collect();
    let (applied, rejected) = ("WISH_STATE_APPLIED", "WISH_STATE_REJECTED");
    assert_eq!(states, [(7, applied), (7, applied), (7, applied), (7, applied), (8, rejected), (9, rejected)]);
    assert!(wishes.iter().all(|wish| wish["in_force"] == 7), "{wishes:?}");
    let problems: Vec<Vec<&str>> =
        wishes.iter().map(|w| w["problems"].as_array().unwrap().iter().filter_map(|p| p.as_str()).collect()).collect();
    assert!(problems[..3].iter().all(Vec::is_empty), "{problems:?}");
    assert!(problems[3][0].contains("other content"), "{problems:?}");
    assert_eq!(problems[4].len(), 2, "each key of its own: {problems:?}");
    assert!(problems[5][0].contains("odd number"), "{problems:?}");
    let lines = rover.log().matches("a message is refused").count();
    assert!(lines <= 20, "the log is not flooded: {lines}");
    assert_whole(&places.lock().unwrap()["a"]);
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
