//! `perceptd run` as a process, against a real mosquitto and a Python subscriber.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use perceptd::media::Picture;
use perceptd::publish::{BrokerAccess, Heard, HeardSensor, Subscriber, SubscriberSettings};
use rustix::process::{Pid, Signal, kill_process};

use crate::mqtt::{Mosquitto, listen, soon};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) fn config(folder: &Path, text: &str) -> std::path::PathBuf {
    let file = folder.join("perceptd.toml");
    std::fs::write(&file, text.replace("ROOT", ROOT)).unwrap();
    file
}

/// A running daemon, ended when dropped.
pub(crate) struct Daemon(Option<Child>);

impl Daemon {
    pub(crate) fn start(config: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_perceptd"))
            .arg("run")
            .arg("--config")
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(Some(child))
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(self) -> Output {
        self.stop_by(Signal::TERM)
    }

    pub(crate) fn stop_by(self, signal: Signal) -> Output {
        self.tell(&[signal]);
        self.end()
    }

    /// Sends it these signals, one right after the other.
    fn tell(&self, signals: &[Signal]) {
        let id = Pid::from_child(self.0.as_ref().unwrap());
        signals.iter().for_each(|&signal| kill_process(id, signal).unwrap());
    }

    fn has_ended(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    fn end(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_subscriber_receives_every_sense_and_events() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[robot]\nfleet = 'test'\nname = 'meadow'\n[pack]\npath = 'ROOT/models/reference'\n[mqtt]\nport = {}\n\
         [replay]\nrecording = 'ROOT/deploy/bundled/meadow.mcap'\nspeed = 1.0\nloop = true\n\
         [[prompts]]\nid = 'sheep'\naudio = 'ROOT/deploy/bundled/prompts/sheep.ogg'\n",
        broker.address().port
    );
    let daemon = Daemon::start(&config(folder.path(), &text));
    let levels = [
        "status",
        "health",
        "joint",
        "embedding/camera",
        "embedding/mic",
        "embedding/thermal",
        "embedding/depth",
        "embedding/imu",
        "event/sheep",
        "active",
    ];
    let topics = levels.map(|level| format!("perceptd/v1/test/meadow/{level}"));
    let heard = listen(&broker.address(), &topics).await.unwrap();
    let filter = "perceptd/v1/test/meadow/health".to_owned();
    let mut ears = Subscriber::new(SubscriberSettings { broker: BrokerAccess::plain(broker.address()), filter });
    let is_well = |sensor: &HeardSensor| sensor.state == "ok" && sensor.samples_per_sec > 0.0;
    let all_well = async {
        loop {
            if let Heard::Health(health) = ears.next().await
                && health.sensors.iter().all(is_well)
            {
                return health.sensors.len();
            }
        }
    };
    assert_eq!(soon(all_well).await, 5, "a recording's sensors deliver");
    let stopped = daemon.stop();
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(heard.status.success(), "{}", String::from_utf8_lossy(&heard.stderr));
    let lines: Vec<serde_json::Value> =
        String::from_utf8(heard.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: BTreeSet<&str> = lines.iter().filter_map(|line| line["topic"].as_str()).collect();
    for topic in topics {
        assert!(said.contains(topic.as_str()), "{topic} is missing: {said:?}");
    }
}

#[test]
fn events_that_nobody_subscribed_to_are_told_apart_from_lost_ones() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[robot]\nname = 'alone'\n[pack]\npath = 'ROOT/models/reference'\n[mqtt]\nport = {}\n\
         [replay]\nrecording = 'ROOT/deploy/bundled/meadow.mcap'\nspeed = 'max'\n\
         [[prompts]]\nid = 'sheep'\naudio = 'ROOT/deploy/bundled/prompts/sheep.ogg'\n",
        broker.address().port
    );
    let output = perceptd(&["run", "--config", config(folder.path(), &text).to_str().unwrap()]);
    let unclaimed = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{unclaimed}");
    assert!(unclaimed.contains("nobody has subscribed to these events") && !unclaimed.contains("ERROR"), "{unclaimed}");
    assert!(!unclaimed.contains("[state] folder"), "no remedy that a replay does not have: {unclaimed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_devices_are_told_and_retried_and_a_stop_is_clean() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[robot]\nname = 'blind'\n[pack]\npath = 'ROOT/models/tiny'\n[mqtt]\nport = {}\n\
         [sensors.front]\ndriver = 'v4l'\ndevice = '/dev/no-such-camera'\n\
         [sensors.heat]\ndriver = 'gy_mcu90640'\ndevice = '/dev/no-such-port'\n",
        broker.address().port
    );
    let filter = "perceptd/v1/default/blind/#".to_owned();
    let mut subscriber = Subscriber::new(SubscriberSettings { broker: BrokerAccess::plain(broker.address()), filter });
    let daemon = Daemon::start(&config(folder.path(), &text));
    let lost = soon(async {
        loop {
            if let Heard::Health(health) = subscriber.next().await
                && health.sensors.iter().all(|sensor| sensor.state == "lost")
            {
                return health;
            }
        }
    })
    .await;
    assert!(lost.sensors.iter().any(|sensor| sensor.reason.contains("/dev/no-such-camera")), "{lost:?}");
    let output = daemon.stop();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let last = soon(async {
        loop {
            if let Heard::Status(status) = subscriber.next().await
                && status.state != "running"
            {
                return status;
            }
        }
    })
    .await;
    assert_eq!(last.state, "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_and_an_echo_of_the_first_does_not() {
    for (impatient, code) in [(false, 0), (true, 130)] {
        let broker = Mosquitto::start();
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[robot]\nname = 'hasty'\n[pack]\npath = 'ROOT/models/tiny'\n[mqtt]\nport = {}\n\
             [sensors.front]\ndriver = 'v4l'\ndevice = '/dev/no-such-camera'\n",
            broker.address().port
        );
        let filter = "perceptd/v1/default/hasty/status".to_owned();
        let settings = SubscriberSettings { broker: BrokerAccess::plain(broker.address()), filter };
        let mut subscriber = Subscriber::new(settings);
        let mut daemon = Daemon::start(&config(folder.path(), &text));
        soon(async { while !matches!(subscriber.next().await, Heard::Status(_)) {} }).await;
        // A stop takes two seconds now: nobody takes its last word.
        broker.pause();
        daemon.tell(&[Signal::TERM, Signal::INT]);
        // Again and again, for it counts from half a second after the daemon has seen the first.
        while impatient && !daemon.has_ended() {
            daemon.tell(&[Signal::INT]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let output = daemon.end();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert_eq!(told.matches("stopping; a second signal ends at once").count(), 1, "{told}");
        assert_eq!(told.contains("second signal: ending at once"), impatient, "{told}");
    }
}

/// Writes files that no prompt can be made of: a sound without a byte, a picture of one pixel, noise.
fn write_useless_files(folder: &Path) {
    let pixel = Picture { width: 1, height: 1, rgb: vec![200; 3] }.to_jpeg(90).unwrap();
    let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, bytes) in [("nothing.wav", &[][..]), ("pixel.jpg", &pixel), ("noise.mcap", &noise)] {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_of_the_file_that_are_no_good_are_told_and_the_others_looked_for() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    write_useless_files(folder.path());
    let text = format!(
        "[robot]\nname = 'choosy'\n[pack]\npath = 'ROOT/models/tiny'\n[mqtt]\nport = {}\n\
         [sensors.front]\ndriver = 'v4l'\ndevice = '/dev/no-such-camera'\n\
         [[prompts]]\nid = 'mute'\naudio = 'nothing.wav'\n[[prompts]]\nid = 'speck'\nimage = 'pixel.jpg'\n\
         [[prompts]]\nid = 'gone'\naudio = 'gone.wav'\n[[prompts]]\nid = 'place'\nimage = 'folder.jpg'\n\
         [[prompts]]\nid = 'dog'\ntext = 'a dog'\n",
        broker.address().port
    );
    std::fs::create_dir(folder.path().join("folder.jpg")).unwrap();
    let filter = "perceptd/v1/default/choosy/#".to_owned();
    let mut subscriber = Subscriber::new(SubscriberSettings { broker: BrokerAccess::plain(broker.address()), filter });
    let daemon = Daemon::start(&config(folder.path(), &text));
    let mut reported = BTreeMap::new();
    soon(async {
        while reported.len() < 5 {
            if let Heard::PromptReported(report) = subscriber.next().await {
                let problem = report.problems.first().cloned().unwrap_or_default();
                reported.insert(report.prompt, (report.state, report.origin, problem));
            }
        }
    })
    .await;
    let output = daemon.stop();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    for (prompt, file) in [
        ("mute", "nothing.wav"),
        ("speck", "pixel.jpg"),
        ("gone", "gone.wav: cannot be read: No such file"),
        ("place", "folder.jpg: cannot be read: Is a directory"),
    ] {
        let (state, origin, problem) = &reported[prompt];
        assert!(state == "rolled_back" && origin == "unspecified" && problem.contains(file), "{reported:?}");
        let errors = told.lines().filter(|line| line.contains("ERROR") && line.contains(file));
        assert_eq!(errors.count(), 1, "{told}");
    }
    assert_eq!(reported["dog"], ("applied".to_owned(), "file".to_owned(), String::new()));
}

#[test]
fn a_check_opens_what_the_config_names() {
    let folder = tempfile::tempdir().unwrap();
    write_useless_files(folder.path());
    let checked = |pack: &Path| {
        let text = "[robot]\nname = 'a'\n[pack]\npath = 'PACK'\n[replay]\nrecording = 'noise.mcap'\n\
                    [[prompts]]\nid = 'mute'\naudio = 'nothing.wav'\n\
                    [[prompts]]\nid = 'mixed'\nparts = [\n{ text = 'dog' },\n{ image = 'pixel.jpg' },\n]\n";
        let file = config(folder.path(), &text.replace("PACK", pack.to_str().unwrap()));
        let output = perceptd(&["check", file.to_str().unwrap()]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap().replace(folder.path().to_str().unwrap(), ""))
    };
    let assert_told = |(code, told): (Option<i32>, String), begins: &[(&str, &str)]| {
        assert_eq!((code, told.lines().count()), (Some(64), begins.len()), "{told}");
        for (line, (begin, what)) in told.lines().zip(begins) {
            assert!(line.starts_with(&format!("/perceptd.toml:{begin}: ")) && line.contains(what), "{begin}: {told}");
        }
    };
    let of_files = [
        ("6: replay.recording", "noise.mcap"),
        ("9: prompts[0].audio", "the sound is empty"),
        ("14: prompts[1].parts[1].image", "1×1 pixels"),
    ];
    let tiny = Path::new(ROOT).join("models/tiny");
    assert_told(checked(&tiny), &of_files);

    let damaged = folder.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    for file in std::fs::read_dir(&tiny).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), damaged.join(file.file_name())).unwrap();
    }
    let mut model = std::fs::read(tiny.join("imu.onnx")).unwrap();
    let half = model.len() / 2;
    model[half] ^= 1;
    std::fs::write(damaged.join("imu.onnx"), model).unwrap();
    assert_told(checked(&damaged), &[&[("4: pack.path", "imu.onnx")][..], &of_files].concat());
}

#[test]
fn whoever_asks_for_prompts_alone_is_refused_wrong_ones() {
    let folder = tempfile::tempdir().unwrap();
    write_useless_files(folder.path());
    let [mute, speck, gone] = ["audio:nothing.wav", "image:pixel.jpg", "audio:gone.wav"].map(|prompt| {
        let (sense, file) = prompt.split_once(':').unwrap();
        format!("{sense}:{}", folder.path().join(file).display())
    });
    let replay: &[&str] = &["replay", "deploy/bundled/meadow.mcap"];
    let prompts = ["--pack", "models/tiny", "--prompt", &mute, "--prompt", &speck, "--prompt", &gone];
    for command in [&["demo", "--speed", "max"], replay] {
        let output = perceptd(&[command, &prompts].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {told}");
        assert!(["nothing.wav", "pixel.jpg", "gone.wav"].iter().all(|file| told.contains(file)), "{command:?}: {told}");
    }
    let text = "[pack]\npath = 'ROOT/models/tiny'\n[[prompts]]\nid = 'lost'\naudio = 'gone.wav'\n";
    let config = config(folder.path(), text);
    let output = perceptd(&[replay, &["--config", config.to_str().unwrap()]].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("perceptd: prompt `lost`: ") && told.contains("No such file"), "{told}");
}

fn perceptd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perceptd")).args(arguments).current_dir(ROOT).output().unwrap()
}

#[test]
fn five_mistakes_get_five_messages() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[robot]\nname = 'Rover 7'\n[pack]\npath = 'ROOT/models/tiny'\n[mqtt]\nport = 'many'\n\
                [sensors.mic]\ndriver = 'microfone'\n[windows]\nimage_hop_sec = 1\n\
                [[prompts]]\nid = 'bark'\naudio = 'no-such.wav'\n";
    let file = config(folder.path(), text);
    let output = perceptd(&["check", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told.lines().count(), 5, "{told}");
    for what in ["Rover 7", "port", "microfone", "image_hop_sec", "no-such.wav"] {
        assert!(told.contains(what), "{what}: {told}");
    }
}

#[test]
fn a_wrong_config_is_a_wrong_command_line_to_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = config(folder.path(), "[robot]\nname = 'Rover 7'\n[pack]\npath = 'ROOT/models/tiny'\n");
    let absent = folder.path().join("absent.toml");
    let out = folder.path().join("out.mcap");
    let commands: [&[&str]; 5] = [
        &["run"],
        &["record", "--out", out.to_str().unwrap()],
        &["replay", "deploy/bundled/meadow.mcap"],
        &["config", "get"],
        &["prompt", "list"],
    ];
    for command in commands {
        for (file, what) in [(&wrong, "Rover 7"), (&absent, "cannot read the config")] {
            let output = perceptd(&[command, &["--config", file.to_str().unwrap()]].concat());
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.matches("perceptd: ").count() == 1 && told.contains(what), "{command:?}: {told}");
            assert_eq!(output.status.code(), Some(64), "{command:?}: {told}");
        }
    }
}

#[test]
fn bad_files_get_one_clear_error_each_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let bad = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let nothing = bad("nothing.wav", b"");
    let sounds =
        perceptd(&["embed", "--pack", "models/tiny", "--modality", "audio", &nothing, "tests/golden/bell.wav"]);
    let told = String::from_utf8(sounds.stderr).unwrap();
    assert_eq!(sounds.status.code(), Some(1));
    assert!(told.lines().count() == 1 && told.contains("nothing.wav"), "{told}");
    assert_eq!(String::from_utf8(sounds.stdout).unwrap().lines().count(), 1);

    let not_a_number = bad(
        "nan.csv",
        b"t_secs,ax_mps2,ay_mps2,az_mps2,gx_radps,gy_radps,gz_radps\n0,0,0,9.8,0,0,0\n1,NaN,0,9.8,0,0,0\n",
    );
    let motion = perceptd(&["embed", "--pack", "models/tiny", "--modality", "imu", &not_a_number]);
    let told = String::from_utf8(motion.stderr).unwrap();
    assert!(motion.status.code() == Some(1) && told.lines().count() == 1 && told.contains("nan.csv"), "{told}");

    let broken = bad("broken.mcap", b"\x89MCAP0\r\nnonsense");
    let demo = perceptd(&["demo", "--pack", "models/tiny", "--recording", &broken, "--speed", "max"]);
    let told = String::from_utf8(demo.stderr).unwrap();
    assert!(demo.status.code() == Some(1) && told.contains("broken.mcap"), "{told}");
}

#[test]
fn a_recording_that_is_damaged_part_way_is_played_up_to_there_and_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(Path::new(ROOT).join("deploy/bundled/meadow.mcap")).unwrap();
    let half = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[half] ^= 1;
    for (name, bytes) in [("flipped.mcap", &flipped[..]), ("cut.mcap", &whole[..half])] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let recording = path.to_str().unwrap();
        let prompt = "text:dog";
        let demo = perceptd(&["demo", "--recording", recording, "--speed", "max", "--prompt", prompt]);
        let (out, told) = (String::from_utf8(demo.stdout).unwrap(), String::from_utf8(demo.stderr).unwrap());
        assert_eq!(demo.status.code(), Some(1), "{name}: {told}");
        assert!(told.contains(name) && told.contains("is damaged after"), "{told}");
        assert!(out.contains("first embedding") && out.contains("status: stopped"), "{name}: {out}");
    }
}
