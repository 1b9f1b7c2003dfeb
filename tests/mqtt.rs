//! Publishing through a real mosquitto: presence, retained state, QoS, and brokers that die.

mod examples;
mod fleet;
mod flood;
mod gate;
mod home_assistant;
mod log;
mod mosquitto;
mod python;
mod reconnect;
mod robot;
mod tls;
mod transports;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use perceptd::events::{EndReason, Event, Phase};
use perceptd::pipe::Received;
use perceptd::publish::{
    Class, EmbeddedBroker, Heard, MqttVersion, Qos, RetainHandling, Subscription, TABLE, class_of,
};
use perceptd::store::events::StoreSettings;
use perceptd::telemetry::DropReason;

pub(crate) use gate::Gate;
use log::Log;
pub(crate) use mosquitto::Mosquitto;
pub(crate) use python::{listen, script};
use robot::{Ear, Robot, event, sensor};
pub(crate) use robot::{RawEar, holds, soon};

/// Says one of everything.
fn say_everything(robot: &Robot) {
    robot.say_embedding("front", 1);
    robot.say_joint(1);
    robot.publisher.event(&event(1, 1, "dog")).unwrap();
    robot.publisher.active(&[event(1, 1, "dog")]);
    robot.say_health();
}

async fn hears_everything(broker: perceptd::publish::BrokerAddress) {
    let mut ear = Ear::connected(broker.clone()).await;
    let robot = Robot::start(broker, |_| {});
    say_everything(&robot);
    let mut kinds = BTreeSet::new();
    while kinds.len() < 6 {
        kinds.insert(match ear.next().await {
            Heard::Status(status) => {
                assert_eq!((status.state.as_str(), status.space_id.as_str(), status.dim), ("running", "space-1", 4));
                assert_eq!(status.sensors.len(), 2);
                "status"
            }
            Heard::Embedding(embedding) => {
                let length: f32 = embedding.vector.iter().map(|v| v * v).sum::<f32>().sqrt();
                assert!((length - 1.0).abs() < 1e-6);
                assert_eq!((embedding.sensor.as_str(), embedding.space_id.as_str()), ("front", "space-1"));
                "embedding"
            }
            Heard::Joint(joint) => {
                assert_eq!(joint.mask, 1);
                "joint"
            }
            Heard::Event(event) => {
                assert_eq!((event.prompt.as_str(), event.phase.as_str(), event.revision), ("dog", "new", 1));
                "event"
            }
            Heard::Active(active) => {
                assert_eq!(active.events.len(), 1);
                "active"
            }
            Heard::Health(health) => {
                assert_eq!(health.sensors.len(), 2);
                "health"
            }
            other => panic!("{other:?}"),
        });
    }
    let farewell = robot.stop().await;
    assert!(farewell.said_stopped);
    assert_eq!(farewell.undelivered, 0);
    assert_eq!(ear.next_status().await.state, "stopped");
}

#[tokio::test]
async fn a_subscriber_hears_birth_vectors_events_and_the_stop() {
    let mosquitto = Mosquitto::start();
    hears_everything(mosquitto.address()).await;
}

#[tokio::test]
async fn the_embedded_broker_carries_it_all() {
    hears_everything(EmbeddedBroker::start(0).unwrap().address()).await;
}

#[tokio::test]
async fn topics_are_retained_and_of_the_qos_that_the_table_says() {
    let mosquitto = Mosquitto::start();
    let mut raw = RawEar::hearing(mosquitto.address(), "#").await;
    let robot = Robot::start(mosquitto.address(), |settings| settings.home_assistant = Some("home".to_owned()));
    say_everything(&robot);
    let mut seen = BTreeMap::new();
    let root = "perceptd/v1/fleet/robot/";
    robot.publisher.reply(format!("{root}reply/1"), Some(b"who asked".to_vec()), b"an answer".to_vec());
    robot.say_reports();
    while seen.len() < TABLE.len() {
        let packet = raw.next().await;
        let class = match class_of(&packet.topic) {
            _ if packet.correlation_data.is_some() => Class::Reply,
            _ if packet.topic.starts_with("home/") => Class::HomeDiscovery,
            class => class.unwrap(),
        };
        let rule = class.rule();
        assert_eq!((packet.retain, packet.qos == 1), (rule.retained, rule.qos == Qos::AtLeastOnce), "{packet:?}");
        let media_type = if class.is_protobuf() { "application/protobuf" } else { rule.message };
        assert_eq!(packet.content_type.as_deref(), Some(media_type));
        assert_eq!(packet.expiry_secs.is_some(), rule.expiry_secs.is_some(), "{packet:?}");
        assert_eq!(packet.user["msg"], rule.message);
        assert_eq!(packet.user["boot"], "boot-1");
        assert!(packet.user["seq"].parse::<u64>().unwrap() > 0);
        seen.insert(class, ());
    }
    let mut late = RawEar::connected(mosquitto.address()).await;
    let mut kept = BTreeSet::new();
    while kept.len() < 5 {
        let topic = late.next().await.topic;
        if class_of(&topic).is_some_and(Class::is_protobuf) {
            kept.insert(topic.replacen(root, "", 1));
        }
    }
    let expected = ["active", "config/reported", "health", "prompt/dog/reported", "status"];
    assert_eq!(kept.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    robot.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_subscribed_arrives_on_every_connect() {
    let mosquitto = Mosquitto::start();
    let gate = Gate::open(mosquitto.address()).await;
    let root = "perceptd/v1/fleet/robot/";
    let wanted = [("config/desired", RetainHandling::EveryConnect), ("cmd/+", RetainHandling::Never)];
    let wanted =
        wanted.map(|(filter, retain_handling)| Subscription { filter: format!("{root}{filter}"), retain_handling });
    let mut asker = RawEar::connected(mosquitto.address()).await;
    asker.publish(&format!("{root}config/desired"), true, b"settings").await;
    asker.publish(&format!("{root}cmd/old"), true, b"nobody wants this").await;
    let (robot, arrivals) = Robot::start_listening(gate.address(), wanted.to_vec());
    let next = || loop {
        match arrivals.recv(Duration::from_secs(20)) {
            // The cut may have come before the acknowledgement: QoS 1 is at least once.
            Received::Item(arrived) if arrived.duplicate => {}
            Received::Item(arrived) => return (arrived.topic.replacen(root, "", 1), arrived),
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..2 {
        let (topic, arrived) = tokio::task::block_in_place(next);
        assert_eq!(
            (topic.as_str(), arrived.payload.as_slice(), arrived.retained),
            ("config/desired", &b"settings"[..], true)
        );
        asker.ask(&format!("{root}cmd/snapshot"), &format!("{root}reply/1"), b"now").await;
        let (topic, arrived) = tokio::task::block_in_place(next);
        assert_eq!(
            (topic.as_str(), arrived.payload.as_slice(), arrived.retained),
            ("cmd/snapshot", &b"now"[..], false)
        );
        assert_eq!(
            (arrived.response_topic, arrived.correlation_data),
            (Some(format!("{root}reply/1")), Some(b"id".to_vec()))
        );
        assert!(arrived.expiry.is_some_and(|left| left <= Duration::from_secs(30)));
        gate.cut();
    }
    assert_eq!(robot.publisher.arrivals_dropped(), 0);
    robot.stop().await;
}

#[tokio::test]
async fn a_crash_leaves_the_will_of_its_own_session() {
    let mosquitto = Mosquitto::start();
    let mut ear = Ear::connected(mosquitto.address()).await;
    let robot = Robot::start(mosquitto.address(), |settings| settings.will_delay = Duration::from_secs(1));
    let birth = ear.next_status().await;
    robot.crash().await;
    let will = ear.next_status().await;
    assert_eq!((will.state.as_str(), will.session_number, will.seq), ("lost", birth.session_number, 0));
    assert_eq!(Ear::connected(mosquitto.address()).await.next_status().await.state, "lost", "the will is retained");
}

#[tokio::test]
async fn a_short_cut_is_a_new_birth_and_no_will() {
    let mosquitto = Mosquitto::start();
    let gate = Gate::open(mosquitto.address()).await;
    let mut ear = Ear::connected(mosquitto.address()).await;
    let robot = Robot::start(gate.address(), |settings| settings.will_delay = Duration::from_secs(2));
    let first = ear.next_status().await;
    gate.cut();
    let mut second = ear.next_status().await;
    while second.seq == first.seq {
        // The cut came before the acknowledgement, so the first birth is said twice: QoS 1 is at least once.
        second = ear.next_status().await;
    }
    assert_eq!(second.state, "running");
    assert!(second.session_number > first.session_number && second.seq > first.seq);
    assert!(
        ear.status_within(Duration::from_millis(2500)).await.is_none(),
        "the will of the cut session must not speak"
    );
    robot.stop().await;
}

#[tokio::test]
async fn vectors_do_not_pile_up_behind_a_dead_broker_and_events_do() {
    let mosquitto = Mosquitto::start();
    let gate = Gate::closed(mosquitto.address()).await;
    let mut ear = Ear::connected(mosquitto.address()).await;
    let robot = Robot::start(gate.address(), |_| {});
    for index in 0..500 {
        robot.say_embedding("front", index);
        robot.say_embedding("mic", index);
    }
    for revision in 1..=50 {
        robot.publisher.event(&event(1, revision, "dog")).unwrap();
    }
    assert_eq!(robot.publisher.outbox_len(), 50);
    gate.reopen();
    let (mut vectors, mut revisions) = (Vec::new(), Vec::new());
    while vectors.len() < 2 || revisions.len() < 50 {
        match ear.next().await {
            Heard::Embedding(embedding) => vectors.push(embedding.window_index),
            Heard::Event(event) => revisions.push(event.revision),
            _ => {}
        }
    }
    assert_eq!(vectors, [499, 499]);
    assert_eq!(revisions, (1..=50).collect::<Vec<_>>());
    for name in ["front", "mic"] {
        assert_eq!(robot.telemetry.sensor(&sensor(name)).read().drops[&DropReason::EmbeddingReplaced], 499);
    }
    assert_eq!(robot.stop().await.undelivered, 0);
}

#[tokio::test]
async fn a_replay_drops_no_vector_at_any_speed() {
    let mosquitto = Mosquitto::start();
    let mut ear = Ear::connected(mosquitto.address()).await;
    let robot = Robot::start_as(mosquitto.address(), true, |_| {});
    let (mut robot, count) = (robot, 300);
    robot = tokio::task::spawn_blocking(move || {
        assert!(robot.publisher.wait_until_connected(Duration::from_secs(10)));
        for index in 0..count {
            robot.say_embedding("front", index);
        }
        robot
    })
    .await
    .unwrap();
    let mut heard = Vec::new();
    while heard.len() < count as usize {
        if let Heard::Embedding(embedding) = ear.next().await {
            heard.push((embedding.window_index, embedding.seq));
        }
    }
    assert_eq!(heard, (0..count).map(|index| (index, index + 1)).collect::<Vec<_>>());
    robot.stop().await;
}

#[tokio::test]
async fn events_outlive_a_broker_that_is_killed() {
    let mut mosquitto = Mosquitto::start();
    let mut ear = Ear::connected(mosquitto.address()).await;
    let robot = Robot::start(mosquitto.address(), |_| {});
    let publisher = robot.publisher.clone();
    let (episodes, revisions) = (60u32, 5u32);
    let feeder = tokio::spawn(async move {
        for revision in 1..=revisions {
            for episode in 0..episodes {
                publisher.event(&event(u128::from(episode), revision, "dog")).unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let (tell, all_heard) = tokio::sync::oneshot::channel();
    let listener = tokio::spawn(async move {
        let mut first_seen: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut duplicates = 0;
        while first_seen.values().map(Vec::len).sum::<usize>() < (episodes * revisions) as usize {
            if let Heard::Event(event) = ear.next().await {
                let seen = first_seen.entry(event.id).or_default();
                if seen.contains(&event.revision) { duplicates += 1 } else { seen.push(event.revision) }
            }
        }
        tell.send((first_seen, duplicates)).unwrap();
        // What was heard and not acknowledged comes once more, and waits for as long as nobody is there.
        loop {
            drop(ear.next().await);
        }
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        mosquitto.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        mosquitto.restart();
    }
    soon(feeder).await.unwrap();
    let (first_seen, duplicates) = soon(all_heard).await.unwrap();
    for (id, seen) in &first_seen {
        assert_eq!(seen, &(1..=revisions).collect::<Vec<_>>(), "event {id} ({duplicates} duplicates in all)");
    }
    holds(|| robot.publisher.outbox_len() == 0).await;
    listener.abort();
    assert_eq!(robot.stop().await.undelivered, 0);
}

#[tokio::test]
async fn events_outlive_perceptd_where_there_is_a_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreSettings::new(folder.path().to_owned());
    let crashed = Robot::start(mosquitto::nobody(), |settings| settings.store = Some(store.clone()));
    for id in 1..=3 {
        crashed.publisher.event(&event(id, 1, "dog")).unwrap();
    }
    let ended = Event { phase: Phase::End(EndReason::Quiet), ..event(1, 2, "dog") };
    crashed.publisher.event(&ended).unwrap();
    // What a crash leaves: the files as they are now, the store still open.
    let left = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, left.path().join(path.file_name().unwrap())).unwrap();
    }
    crashed.crash().await;
    let mosquitto = Mosquitto::start();
    let mut ear = Ear::connected(mosquitto.address()).await;
    let store = StoreSettings::new(left.path().to_owned());
    let robot = Robot::start(mosquitto.address(), |settings| settings.store = Some(store));
    let mut heard = Vec::new();
    while heard.len() < 6 {
        let event = ear.next_event().await;
        heard.push((event.id.chars().last().unwrap(), event.revision, event.end_reason));
    }
    heard.sort();
    let said = |id, revision, reason: &str| (id, revision, reason.to_owned());
    let recovered = "crash_recovered";
    assert_eq!(
        heard,
        [
            said('1', 1, ""),
            said('1', 2, "quiet"),
            said('2', 1, ""),
            said('2', 2, recovered),
            said('3', 1, ""),
            said('3', 2, recovered)
        ]
    );
    assert_eq!(robot.publisher.outbox_counts().recovered, 4);
    // What is heard and not yet acknowledged would count as on its way.
    holds(|| robot.publisher.outbox_len() == 0).await;
    let resent = robot.publisher.resend(0, Some("dog")).unwrap();
    assert!(resent.messages <= 6, "{resent:?}");
    for _ in 0..resent.messages {
        ear.next_event().await;
    }
    assert_eq!(robot.stop().await.undelivered, 0);
}

#[tokio::test]
async fn mqtt_3_1_1_carries_it_too() {
    let mosquitto = Mosquitto::start();
    let mut ear = Ear::connected(mosquitto.address()).await;
    let robot = Robot::start(mosquitto.address(), |settings| settings.broker.version = Some(MqttVersion::V311));
    robot.say_embedding("front", 7);
    robot.publisher.event(&event(1, 1, "dog")).unwrap();
    robot.publisher.event(&event(1, 2, "dog")).unwrap();
    assert_eq!(ear.next_status().await.state, "running");
    assert_eq!((ear.next_event().await.revision, ear.next_event().await.revision), (1, 2));
    let farewell = robot.stop().await;
    assert_eq!((farewell.undelivered, farewell.said_stopped), (0, true));
    assert_eq!(ear.next_status().await.state, "stopped");
}

#[tokio::test]
async fn a_topic_that_the_broker_refuses_is_told_once_and_holds_nothing_up() {
    let rules = tempfile::NamedTempFile::new().unwrap();
    let mut text = "topic read #\n".to_owned();
    for allowed in ["status", "event/dog"] {
        text += &format!("topic write perceptd/v1/fleet/robot/{allowed}\n");
    }
    std::fs::write(rules.path(), text).unwrap();
    let mosquitto = Mosquitto::with(&format!("allow_anonymous true\nuser root\nacl_file {}\n", rules.path().display()));
    let mut ear = Ear::connected(mosquitto.address()).await;
    let log = Log::listen();
    let robot = Robot::start(mosquitto.address(), |settings| {
        settings.outbox.retry_every = Duration::from_millis(20);
        settings.outbox.retry_for = Duration::from_millis(200);
    });
    for id in 1..=3 {
        robot.publisher.event(&event(id, 1, "cat")).unwrap();
        robot.publisher.event(&event(10 + id, 1, "dog")).unwrap();
    }
    for id in 1..=3 {
        let heard = ear.next_event().await;
        assert_eq!((heard.prompt.as_str(), heard.id.ends_with(&format!("{:x}", 10 + id))), ("dog", true), "{heard:?}");
    }
    holds(|| robot.publisher.outbox_len() == 0).await;
    let counts = robot.publisher.outbox_counts();
    assert_eq!((counts.delivered, counts.refused), (3, 3), "offered again for a while, and then given up");
    robot.stop().await;
    let lines = log.lines_with("refuses what is published on perceptd/v1/fleet/robot/event/cat");
    assert_eq!(lines.len(), 1, "one line for many refusals: {lines:#?}");
}

#[tokio::test]
async fn two_of_one_name_are_guessed_at() {
    let mosquitto = Mosquitto::start();
    let log = Log::listen();
    let robots = [(); 2].map(|()| Robot::start(mosquitto.address(), |_| {}));
    holds(|| log.lines_about(&mosquitto.address()).iter().any(|line| line.contains("another perceptd"))).await;
    for robot in robots {
        robot.stop().await;
    }
    let lines = log.lines_about(&mosquitto.address());
    assert!(lines.iter().any(|line| line.contains("the client `perceptd.fleet.robot`")), "{lines:#?}");
}

#[tokio::test]
async fn without_a_broker_nothing_waits() {
    let robot = Robot::start(mosquitto::nobody(), |_| {});
    robot.say_embedding("front", 1);
    let farewell = tokio::time::timeout(Duration::from_secs(1), robot.stop()).await.unwrap();
    assert!(!farewell.said_stopped);
}

#[tokio::test]
async fn a_stop_waits_for_events_but_not_for_ever() {
    let robot = Robot::start(mosquitto::nobody(), |settings| settings.flush = Duration::from_millis(300));
    robot.publisher.event(&event(1, 1, "dog")).unwrap();
    assert_eq!(robot.stop().await.undelivered, 1);
}

#[tokio::test]
async fn a_stop_tells_what_the_disk_did_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let robot = Robot::start(mosquitto::nobody(), |settings| {
        settings.flush = Duration::from_millis(100);
        settings.store = Some(StoreSettings::new(folder.path().to_owned()));
    });
    robot.publisher.event(&event(1, 1, "dog")).unwrap();
    // A disk that takes no more.
    let database = rusqlite::Connection::open(folder.path().join("events.db")).unwrap();
    database
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON messages BEGIN SELECT RAISE(FAIL, 'full'); END")
        .unwrap();
    robot.publisher.event(&event(2, 1, "dog")).unwrap();
    let farewell = robot.stop().await;
    assert_eq!((farewell.undelivered, farewell.unwritten, farewell.are_kept), (2, 1, true));
}

#[tokio::test]
async fn nobody_has_subscribed_only_where_a_broker_is_there_to_say_so() {
    for (dies, expected) in [(false, (0, 3)), (true, (3, 0))] {
        let mut mosquitto = Mosquitto::start();
        let robot = Robot::start(mosquitto.address(), |settings| {
            settings.flush = Duration::from_millis(300);
            settings.outbox.retry_every = Duration::from_millis(20);
            settings.outbox.retry_for = Duration::from_millis(200);
        });
        robot.publisher.event(&event(1, 1, "dog")).unwrap();
        holds(|| robot.publisher.outbox_counts().unclaimed == 1).await;
        for (id, revision) in [(2, 1), (2, 2), (3, 1)] {
            robot.publisher.event(&event(id, revision, "dog")).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
        if dies {
            mosquitto.kill();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let farewell = robot.stop().await;
        assert_eq!((farewell.undelivered, farewell.unclaimed), expected, "the broker dies: {dies}");
    }
}

#[tokio::test]
async fn a_python_subscriber_understands_it_all() {
    let mosquitto = Mosquitto::start();
    let robot = Robot::start(mosquitto.address(), |_| {});
    let topics =
        ["status", "embedding/front", "joint", "event/dog"].map(|level| format!("perceptd/v1/fleet/robot/{level}"));
    let ear = python::listen(&mosquitto.address(), &topics);
    // It does not say when it listens.
    for index in 0.. {
        if ear.is_finished() {
            break;
        }
        robot.say_embedding("front", u64::from(index));
        robot.say_joint(u64::from(index));
        robot.publisher.event(&event(1, index + 1, "dog")).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let output = ear.await.unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stderr}");
    let lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for message in ["Status", "Embedding", "JointEmbedding", "Event"] {
        let full = format!("perceptd.v1.{message}");
        assert!(lines.iter().any(|line| line["message"] == full.as_str()), "no {full} in\n{stdout}\n{stderr}");
    }
    robot.stop().await;
}
