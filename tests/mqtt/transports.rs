//! WebSockets, and brokers that do not speak MQTT 5, in front of a real mosquitto.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use perceptd::publish::{BrokerAccess, BrokerAddress, Heard, MqttVersion, Operator, OperatorSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::log::Log;
use super::mosquitto::{Mosquitto, free_port};
use super::robot::{Ear, Robot, event, holds, soon};

const VERSIONS: [MqttVersion; 2] = [MqttVersion::V5, MqttVersion::V311];

/// A mosquitto that takes WebSockets alone, and its second, plain listener.
fn websocket_broker() -> (Mosquitto, BrokerAddress) {
    let port = free_port();
    let plain = BrokerAddress { host: "127.0.0.1".to_owned(), port };
    let broker = Mosquitto::with(&format!("protocol websockets\nlistener {port} 127.0.0.1\nallow_anonymous true\n"));
    (broker, plain)
}

#[tokio::test]
async fn a_websocket_carries_it_too() {
    let (broker, plain) = websocket_broker();
    let mut ear = Ear::connected(plain).await;
    for version in VERSIONS {
        let robot = Robot::start(broker.address(), |settings| {
            settings.broker.version = Some(version);
            settings.broker.websocket_path = Some("/mqtt".to_owned());
        });
        robot.say_embedding("front", 7);
        for revision in 1..=3 {
            robot.publisher.event(&event(1, revision, "dog")).unwrap();
        }
        assert_eq!(ear.next_status().await.state, "running");
        for revision in 1..=3 {
            assert_eq!(ear.next_event().await.revision, revision, "{version:?}");
        }
        let farewell = robot.stop().await;
        assert_eq!((farewell.undelivered, farewell.said_stopped), (0, true), "{version:?}");
        assert_eq!(ear.next_status().await.state, "stopped");
    }
}

#[tokio::test]
async fn a_websocket_where_there_is_none_and_the_other_way_round_are_told_once() {
    let (broker, plain) = websocket_broker();
    let in_websocket = "nothing answers as a WebSocket for MQTT";
    for (address, path, said) in
        [(plain, Some("/mqtt"), in_websocket), (broker.address(), None, "what answers does not speak MQTT")]
    {
        for version in [None, Some(MqttVersion::V5), Some(MqttVersion::V311)] {
            let log = Log::listen();
            let before = log.lines_about(&address).len();
            let robot = Robot::start(address.clone(), |settings| {
                settings.broker.version = version;
                settings.broker.websocket_path = path.map(str::to_owned);
            });
            let publisher = robot.publisher.clone();
            let is_connected =
                tokio::task::spawn_blocking(move || publisher.wait_until_connected(Duration::from_secs(1)));
            assert!(!is_connected.await.unwrap(), "{said}");
            robot.stop().await;
            let lines = &log.lines_about(&address)[before..];
            assert!(lines.len() == 1 && lines[0].contains(said), "{version:?}: {lines:#?}");
        }
    }
}

/// How a broker that knows only 3.1.1 answers a CONNECT of 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// CONNACK as 3.1.1 has it: unacceptable protocol version.
    Code1,
    /// CONNACK as 5 has it: unsupported protocol version.
    Code0x84,
    /// It closes the connection.
    Nothing,
}

/// A gate in front of a broker that refuses MQTT 5, as long as it is told to.
struct OldBroker {
    address: BrokerAddress,
    /// The protocol level of every CONNECT so far.
    levels: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl OldBroker {
    async fn start(broker: BrokerAddress, refusal: Refusal) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = BrokerAddress { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let levels = Arc::<Mutex<Vec<u8>>>::default();
        let task = tokio::spawn(Self::serve(listener, broker, refusal, Arc::clone(&levels)));
        Self { address, levels, task }
    }

    #[expect(clippy::infinite_loop, reason = "ends with its task")]
    async fn serve(listener: TcpListener, broker: BrokerAddress, refusal: Refusal, levels: Arc<Mutex<Vec<u8>>>) {
        loop {
            let (mut inside, _) = listener.accept().await.unwrap();
            let (broker, levels) = (broker.clone(), Arc::clone(&levels));
            tokio::spawn(async move {
                let mut outside = TcpStream::connect((broker.host.as_str(), broker.port)).await.unwrap();
                // The kind, the length (a CONNECT with a will has two bytes of it), `MQTT` and its length, the level.
                let mut head = [0; 16];
                let taken = inside.read(&mut head).await.unwrap_or(0);
                let Some(name) = head[..taken].windows(4).position(|four| four == b"MQTT") else { return };
                levels.lock().unwrap().push(head[name + 4]);
                if head[name + 4] == 5 {
                    let answer: &[u8] = match refusal {
                        Refusal::Code1 => &[0x20, 2, 0, 1],
                        Refusal::Code0x84 => &[0x20, 3, 0, 0x84, 0],
                        Refusal::Nothing => &[],
                    };
                    drop(inside.write_all(answer).await);
                    // The rest of CONNECT is read: bytes that nobody read would reset the connection before the answer is there.
                    drop(tokio::time::timeout(Duration::from_millis(20), inside.read(&mut [0; 4096])).await);
                    return;
                }
                outside.write_all(&head[..taken]).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut inside, &mut outside).await);
            });
        }
    }

    fn levels(&self) -> Vec<u8> {
        self.levels.lock().unwrap().clone()
    }
}

impl Drop for OldBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_refuses_mqtt_5_gets_3_1_1_by_itself() {
    let mosquitto = Mosquitto::start();
    for (refusal, attempts) in
        [(Refusal::Code1, &[5, 5, 4][..]), (Refusal::Code0x84, &[5, 4]), (Refusal::Nothing, &[5, 5, 4])]
    {
        let mut ear = Ear::connected(mosquitto.address()).await;
        let old = OldBroker::start(mosquitto.address(), refusal).await;
        let log = Log::listen();
        let robot = Robot::start(old.address.clone(), |_| {});
        robot.publisher.event(&event(1, 1, "dog")).unwrap();
        assert_eq!(ear.next_event().await.revision, 1, "{refusal:?}");
        assert_eq!(old.levels(), attempts, "{refusal:?}");
        robot.say_health();
        let health = soon(async {
            loop {
                if let Heard::Health(health) = ear.next().await {
                    break health;
                }
            }
        });
        assert_eq!(health.await.mqtt_version, "3.1.1");
        let farewell = robot.stop().await;
        assert_eq!((farewell.undelivered, farewell.said_stopped), (0, true), "{refusal:?}");
        let lines = log.lines_about(&old.address);
        assert_eq!(lines.len(), 2, "connected, and that it is 3.1.1: {lines:#?}");
        assert!(lines[1].contains("does not speak MQTT 5, so 3.1.1 is spoken"), "{lines:#?}");

        // An operator has one attempt, and it is enough.
        let broker = BrokerAccess::plain(old.address.clone());
        let settings = OperatorSettings { broker, fleet: "fleet".to_owned() };
        assert!(soon(Operator::connect(settings)).await.is_ok(), "{refusal:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_5_that_was_asked_for_is_all_that_is_spoken() {
    let mosquitto = Mosquitto::start();
    let old = OldBroker::start(mosquitto.address(), Refusal::Code0x84).await;
    let log = Log::listen();
    let robot = Robot::start(old.address.clone(), |settings| settings.broker.version = Some(MqttVersion::V5));
    holds(|| old.levels().len() >= 3).await;
    robot.stop().await;
    assert!(old.levels().iter().all(|level| *level == 5), "{:?}", old.levels());
    let lines = log.lines_about(&old.address);
    assert!(lines.len() == 1 && lines[0].contains("set [mqtt] version = \"auto\""), "{lines:#?}");
}
