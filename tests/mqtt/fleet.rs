//! The files of `deploy/fleet` with two real brokers and real certificates; only ports, addresses and paths are changed.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use perceptd::publish::BrokerAddress;

use super::mosquitto::free_port;
use super::robot::{Robot, event};

/// Longer than a bridge takes to connect on a busy machine: mosquitto's own waits between attempts grow to 30 s.
const PATIENCE: Duration = Duration::from_secs(60);

struct Fleet {
    folder: tempfile::TempDir,
    fleet_port: u16,
    robot_port: u16,
    brokers: Vec<Process>,
}

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Fleet {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = Self { folder, fleet_port: free_port(), robot_port: free_port(), brokers: Vec::new() };
        fleet.make_certificates();
        std::fs::copy(deployed("fleet.acl"), fleet.path("fleet.acl")).unwrap();
        let (fleet_port, robot_port) = (fleet.fleet_port, fleet.robot_port);
        fleet.run("fleet-broker.conf", &[("listener 8883", &format!("listener {fleet_port} 127.0.0.1"))], fleet_port);
        let changes = [
            ("listener 1883 127.0.0.1", &*format!("listener {robot_port} 127.0.0.1")),
            ("address fleet.example.net:8883", &*format!("address 127.0.0.1:{fleet_port}")),
        ];
        fleet.run("robot-broker.conf", &changes, robot_port);
        fleet
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let output = command.current_dir(self.folder.path()).args(arguments.split(' ')).output();
        let output = output.expect("install the Debian package openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn make_certificates(&self) {
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        self.openssl(&format!("req -x509 {key} -days 30 -subj /CN=farm-ca -keyout ca.key -out ca.crt"));
        for name in ["fleet", "r1", "ingest", "operator"] {
            let subject = format!("-subj /CN={name} -addext subjectAltName=IP:127.0.0.1");
            self.openssl(&format!("req {key} {subject} -keyout {name}.key -out {name}.csr"));
            let authority = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -copy_extensions copy";
            self.openssl(&format!("x509 -req -in {name}.csr {authority} -out {name}.crt"));
        }
    }

    fn run(&mut self, file: &str, changes: &[(&str, &str)], port: u16) {
        let data = self.path(&format!("{file}.data"));
        std::fs::create_dir(&data).unwrap();
        let mut text = std::fs::read_to_string(deployed(file)).unwrap();
        let paths = [
            ("/etc/mosquitto/fleet", self.folder.path().to_str().unwrap()),
            ("/var/lib/mosquitto", data.to_str().unwrap()),
        ];
        for (from, to) in changes.iter().chain(&paths) {
            assert!(text.contains(from), "{file} has no `{from}`");
            text = text.replace(from, to);
        }
        // As root it would become the user mosquitto, who cannot read this folder.
        let config = self.path(file);
        std::fs::write(&config, format!("user root\nlog_dest file {}.log\n{text}", config.display())).unwrap();
        self.start_again(file, port);
    }

    /// Starts a broker that ran before, with what it has on disk.
    #[expect(clippy::disallowed_methods, reason = "mosquitto does not say when it listens")]
    fn start_again(&mut self, file: &str, port: u16) {
        let config = self.path(file);
        let mut command = Command::new("/usr/sbin/mosquitto");
        let child = command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.brokers.push(Process(child));
        for _ in 0..400 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("{file}: {}", std::fs::read_to_string(format!("{}.log", config.display())).unwrap_or_default());
    }

    /// One of mosquitto's clients at the fleet's broker, as who the certificate says.
    fn at_fleet(&self, program: &str, who: &str) -> Command {
        // Its own lines of debugging it would keep until it ends.
        let mut command = Command::new("stdbuf");
        command.args([
            "--output=L",
            program,
            "-V",
            "mqttv5",
            "-h",
            "127.0.0.1",
            "-p",
            &self.fleet_port.to_string(),
            "-q",
            "1",
        ]);
        let file = |name: String| self.path(&name);
        command.arg("--cafile").arg(file("ca.crt".to_owned()));
        command.arg("--cert").arg(file(format!("{who}.crt"))).arg("--key").arg(file(format!("{who}.key")));
        command
    }

    fn listen(&self, who: &str, filter: &str) -> Ear {
        let mut command = self.at_fleet("mosquitto_sub", who);
        Ear::of(command.args(["-t", filter, "-F", "%t %x"]))
    }

    fn logs(&self) -> String {
        let log = |file: &str| std::fs::read_to_string(self.path(&format!("{file}.log"))).unwrap_or_default();
        format!("fleet:\n{}\nrobot:\n{}", log("fleet-broker.conf"), log("robot-broker.conf"))
    }
}

/// Lines of a `mosquitto_sub`: a topic and the payload in hex.
struct Ear {
    lines: Receiver<String>,
    heard: RefCell<Vec<String>>,
    _process: Process,
}

impl Ear {
    fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("install the Debian package mosquitto-clients");
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = sync_channel(1000);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { lines, heard: RefCell::default(), _process: Process(child) }
    }

    /// The first line not asked for yet that begins so, in whatever order they come.
    fn hear(&self, beginning: &str, fleet: &Fleet) -> String {
        let mut heard = self.heard.borrow_mut();
        loop {
            if let Some(at) = heard.iter().position(|line| line.starts_with(beginning)) {
                return heard.remove(at);
            }
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => heard.push(line),
                Err(_) => panic!("no `{beginning}`, but {heard:?}\n{}", fleet.logs()),
            }
        }
    }
}

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/fleet").join(file)
}

fn robot(fleet: &Fleet) -> Robot {
    Robot::start(BrokerAddress { host: "127.0.0.1".to_owned(), port: fleet.robot_port }, |settings| {
        (settings.fleet, settings.robot) = ("farm".to_owned(), "r1".to_owned());
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_robots_words_reach_its_fleet_and_its_broker_is_missed() {
    let mut fleet = Fleet::start();
    let bridges = fleet.listen("ingest", "bridge/#");
    assert_eq!(bridges.hear("bridge/farm/r1 ", &fleet), "bridge/farm/r1 31", "1, in hex");
    let ear = fleet.listen("ingest", "perceptd/v1/#");
    let robot = robot(&fleet);
    ear.hear("perceptd/v1/farm/r1/status ", &fleet);
    robot.say_embedding("front", 1);
    robot.publisher.event(&event(1, 1, "dog")).unwrap();
    ear.hear("perceptd/v1/farm/r1/embedding/front ", &fleet);
    ear.hear("perceptd/v1/farm/r1/event/dog ", &fleet);

    // A wish reaches the robot's broker.
    let mut command = Command::new("mosquitto_sub");
    let port = fleet.robot_port.to_string();
    let at_robot = Ear::of(command.args(["-p", &port, "-q", "1", "-t", "perceptd/v1/farm/r1/#", "-F", "%t %x"]));
    at_robot.hear("perceptd/v1/farm/r1/status ", &fleet);
    let wish = ["-t", "perceptd/v1/farm/r1/config/desired", "-m", "A"];
    assert!(fleet.at_fleet("mosquitto_pub", "operator").args(wish).status().unwrap().success());
    assert_eq!(at_robot.hear("perceptd/v1/farm/r1/config", &fleet), "perceptd/v1/farm/r1/config/desired 41");

    // No power: the broker goes without a word, and perceptd's will with it.
    robot.crash().await;
    fleet.brokers.pop();
    assert_eq!(bridges.hear("bridge/farm/r1 ", &fleet), "bridge/farm/r1 30", "0, in hex");
}

/// Says these lines at the robot's broker, which has acknowledged all of them in the end.
fn say_at_robot(fleet: &Fleet, topic: &str, lines: &str) {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", "mqttv5", "-p", &fleet.robot_port.to_string(), "-q", "1", "-t", topic, "-l"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("install the Debian package mosquitto-clients");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_power_cut_without_network_costs_the_fleet_at_most_the_last_nine_messages() {
    let mut fleet = Fleet::start();
    let bridges = fleet.listen("ingest", "bridge/#");
    bridges.hear("bridge/farm/r1 31", &fleet);
    fleet.brokers.remove(0);
    let lines: String = (10..35).map(|number| format!("{number}\n")).collect();
    say_at_robot(&fleet, "perceptd/v1/farm/r1/event/dog", &lines);
    // It has saved before it reads what comes next.
    say_at_robot(&fleet, "elsewhere", "x\n");
    fleet.brokers.clear();

    fleet.start_again("fleet-broker.conf", fleet.fleet_port);
    let wish = ["-r", "-t", "perceptd/v1/farm/r1/config/desired", "-m", "A"];
    assert!(fleet.at_fleet("mosquitto_pub", "operator").args(wish).status().unwrap().success());
    let ear = fleet.listen("ingest", "perceptd/v1/farm/#");
    ear.hear("perceptd/v1/farm/r1/config/desired", &fleet);
    fleet.start_again("robot-broker.conf", fleet.robot_port);
    for number in 10..26 {
        let hex: String = number.to_string().bytes().map(|digit| format!("{digit:x}")).collect();
        ear.hear(&format!("perceptd/v1/farm/r1/event/dog {hex}"), &fleet);
    }
}

#[tokio::test]
async fn a_robot_cannot_speak_as_another_nor_without_a_certificate() {
    let fleet = Fleet::start();
    let ear = fleet.listen("ingest", "perceptd/v1/#");
    let say = |who: &str, topic: &str| {
        let output = fleet.at_fleet("mosquitto_pub", who).args(["-r", "-t", topic, "-m", "A"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (who, topic) in [
        ("r1", "perceptd/v1/farm/r2/status"),
        ("r1", "perceptd/v1/other/r1/status"),
        ("ingest", "perceptd/v1/farm/r1/config/desired"),
        ("operator", "perceptd/v1/farm/r1/status"),
    ] {
        assert!(say(who, topic).contains("Not authorized"), "{who} may write {topic}");
    }
    say("r1", "perceptd/v1/farm/r1/status");
    // What was refused would have come first.
    assert_eq!(ear.hear("perceptd", &fleet), "perceptd/v1/farm/r1/status 41");

    let port = fleet.fleet_port.to_string();
    let nobody = Command::new("mosquitto_pub")
        .args(["-p", &port, "--cafile"])
        .arg(fleet.path("ca.crt"))
        .args(["-t", "perceptd/v1/farm/r1/status", "-m", "A"])
        .output()
        .unwrap();
    assert!(!nobody.status.success(), "without a certificate: {nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_shares_the_work() {
    const EVENTS: u32 = 100;
    let fleet = Fleet::start();
    let bridges = fleet.listen("ingest", "bridge/#");
    assert_eq!(bridges.hear("bridge/farm/r1 ", &fleet), "bridge/farm/r1 31");
    let shared = "$share/ingest/perceptd/v1/farm/+/event/#";
    let worker = || {
        let mut command = fleet.at_fleet("mosquitto_sub", "ingest");
        let ear = Ear::of(command.args(["-d", "-t", shared, "-F", "%t %x"]));
        ear.hear("Subscribed", &fleet);
        ear
    };
    let workers = [worker(), worker()];
    let robot = robot(&fleet);
    for revision in 1..=EVENTS {
        robot.publisher.event(&event(1, revision, "dog")).unwrap();
    }
    let mut heard = Vec::new();
    let mut shares = [0, 0];
    while heard.len() < EVENTS as usize {
        for (worker, share) in workers.iter().zip(&mut shares) {
            while let Ok(line) = worker.lines.recv_timeout(Duration::from_millis(200)) {
                if line.starts_with("perceptd/") {
                    *share += 1;
                    heard.push(line);
                }
            }
        }
    }
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len(), EVENTS as usize, "each once");
    assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
    robot.stop().await;
}
