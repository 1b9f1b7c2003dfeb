use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::encoders::Embedding;
use crate::events::{EndReason, Phase};
use crate::geometry::PixelBox;
use crate::modality::Modality;
use crate::publish::heard::Heard;
use crate::publish::outbox::OutboxLimits;
use crate::publish::publisher::Publisher;
use crate::publish::{ConfigReport, MqttVersion, QueueReading, wire};
use crate::space::JointPart;
use crate::space::Score;
use crate::store::{Answer, ConfigLedger, WishState};
use crate::telemetry::Telemetry;
use crate::time::{Span, Timeline};
use crate::windows::Presence as WindowPresence;

const NOW: MonoTime = MonoTime::from_nanos(0);

fn id(name: &str) -> SensorId {
    SensorId::new(name).unwrap()
}

fn parts(replay: bool) -> PublishParts {
    PublishParts {
        timeline: Timeline { boot_id: "boot".into(), unix_nanos_at_zero: 1_000_000_000_000 },
        telemetry: Telemetry::default(),
        space: "space-1".into(),
        dim: 3,
        sensors: vec![(id("front"), Modality::Image), (id("mic"), Modality::Audio)],
        started_at: MonoTime::from_nanos(7_000_000),
        replay,
    }
}

fn publisher() -> (Publisher, Telemetry) {
    let parts = parts(true);
    let telemetry = parts.telemetry.clone();
    (
        Publisher::new(Topics::new("fleet", "robot").unwrap(), parts, Outbox::new(OutboxLimits::default()), None),
        telemetry,
    )
}

fn say_embedding(publisher: &Publisher, sensor: &str, window_index: u64) {
    let embedding =
        Embedding { space: "space-1".into(), modality: Modality::Audio, vector: Arc::from([0.6, 0.8, 0.0]) };
    publisher.embedding(&EmbeddingReading {
        sensor: &id(sensor),
        window_index,
        span: Span { start: MonoTime::from_nanos(10), end: MonoTime::from_nanos(30) },
        presence: WindowPresence { count: 5, expected: 6, longest_gap_secs: 0.1, ..WindowPresence::default() },
        embedding: &embedding,
    });
}

fn event(revision: u32, phase: Phase) -> Event {
    let score = Score { raw: 0.1, calibrated: 0.9, threshold: 0.5, bank_revision: 3 };
    Event {
        id: uuid::Uuid::from_u128(7),
        revision,
        phase,
        prompt: "dog".into(),
        sensor: id("front"),
        modality: Modality::Image,
        onset: MonoTime::from_nanos(40),
        last_support: MonoTime::from_nanos(60),
        score,
        best: Score { calibrated: 0.95, ..score },
        boxes: vec![(PixelBox { x0: 1.0, y0: 2.0, x1: 3.0, y1: 4.0 }, 0.9)],
        frame_size_px: Some((640, 480)),
    }
}

/// Everything the desk hands out, decoded, acknowledging each.
fn drain(publisher: &Publisher) -> Vec<(String, Heard)> {
    let mut heard = Vec::new();
    while let Some((ticket, message)) = publisher_next(publisher) {
        publisher.desk().settle(&ticket, Outcome::Delivered, NOW);
        let decoded = wire::hear(message.class, &message.payload).unwrap();
        heard.push((message.topic.rsplit_once("robot/").unwrap().1.to_owned(), decoded));
    }
    heard
}

fn publisher_next(publisher: &Publisher) -> Option<(Ticket, Message)> {
    publisher.desk().next(64, NOW)
}

#[test]
fn the_newest_vector_of_a_sensor_waits_alone_and_gaps_show() {
    let (publisher, telemetry) = publisher();
    for index in 0..3 {
        say_embedding(&publisher, "mic", index);
        say_embedding(&publisher, "front", index);
    }
    let heard = drain(&publisher);
    let seen: Vec<_> = heard
        .iter()
        .map(|(topic, heard)| match heard {
            Heard::Embedding(e) => (topic.as_str(), e.seq, e.window_index, e.end_unix_nanos),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, [("embedding/front", 3, 2, 1_000_000_000_030), ("embedding/mic", 3, 2, 1_000_000_000_030)]);
    assert_eq!(telemetry.sensor(&id("mic")).read().drops[&DropReason::EmbeddingReplaced], 2);
}

#[test]
fn one_vector_at_a_time_is_with_the_client() {
    let (publisher, _) = publisher();
    say_embedding(&publisher, "mic", 0);
    let (ticket, _) = publisher_next(&publisher).unwrap();
    say_embedding(&publisher, "mic", 1);
    assert!(publisher_next(&publisher).is_none());
    publisher.desk().settle(&ticket, Outcome::Undone, NOW);
    assert!(publisher_next(&publisher).is_some());
}

#[test]
fn birth_comes_first_and_state_is_said_again_on_every_connect() {
    let (publisher, _) = publisher();
    publisher.active(&[event(1, Phase::New)]);
    publisher.event(&event(1, Phase::New)).unwrap();
    for session in [5, 6] {
        publisher.desk().connected(session, MqttVersion::V5, NOW);
        let heard = drain(&publisher);
        let Heard::Status(status) = &heard[0].1 else { panic!("{heard:?}") };
        assert_eq!((status.state.as_str(), status.session_number, status.dim), ("running", session, 3));
        assert!(matches!(heard[1].1, Heard::Active(_)), "{heard:?}");
        // The broker may have died with the event that it had just acknowledged.
        assert!(matches!(&heard[2..], [(_, Heard::Event(_))]), "{heard:?}");
    }
    assert!(publisher.desk().is_state_said());
}

#[test]
fn state_on_topics_of_their_own_is_said_again_until_it_is_cleared() {
    let (publisher, _) = publisher();
    let topics = ["fleet/robot/a", "fleet/robot/b"];
    for topic in topics {
        publisher.state(Class::Health, topic.to_owned(), vec![1]);
    }
    let said = |publisher: &Publisher| {
        let mut said = Vec::new();
        while let Some((ticket, message)) = publisher_next(publisher) {
            publisher.desk().settle(&ticket, Outcome::Delivered, NOW);
            said.push((message.topic, message.payload));
        }
        said
    };
    assert_eq!(said(&publisher).iter().map(|(topic, _)| topic.as_str()).collect::<Vec<_>>(), topics);
    publisher.state(Class::Health, topics[0].to_owned(), Vec::new());
    assert_eq!(said(&publisher), [(topics[0].to_owned(), Vec::new())]);
    publisher.desk().connected(1, MqttVersion::V5, NOW);
    let again: Vec<String> = said(&publisher).into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(again, ["perceptd/v1/fleet/robot/status", topics[1]]);
}

#[test]
fn replies_wait_for_the_broker_and_the_oldest_gives_way() {
    let (publisher, _) = publisher();
    for n in 0..70u8 {
        publisher.reply("r".to_owned(), Some(vec![n]), vec![n]);
    }
    assert_eq!(publisher.replies_dropped(), 6);
    let (ticket, message) = publisher_next(&publisher).unwrap();
    assert_eq!((message.class, message.correlation_data), (Class::Reply, Some(vec![6])));
    publisher.desk().settle(&ticket, Outcome::Undone, NOW);
    let (ticket, again) = publisher_next(&publisher).unwrap();
    assert_eq!(again.payload, [6]);
    publisher.desk().settle(&ticket, Outcome::Unclaimed, NOW);
    assert_eq!(publisher_next(&publisher).unwrap().1.payload, [7]);
}

#[test]
fn state_that_changes_while_it_is_said_is_said_again() {
    let (publisher, _) = publisher();
    publisher.active(&[event(1, Phase::New)]);
    let (ticket, _) = publisher_next(&publisher).unwrap();
    publisher.active(&[]);
    assert!(publisher_next(&publisher).is_none(), "one at a time");
    publisher.desk().settle(&ticket, Outcome::Delivered, NOW);
    let heard = drain(&publisher);
    assert!(matches!(&heard[..], [(_, Heard::Active(active))] if active.events.is_empty()), "{heard:?}");
}

#[test]
fn every_answer_to_a_wish_is_said_in_its_turn() {
    let (publisher, _) = publisher();
    let topic = "f/robot/prompt/dog/reported";
    let say = |payload: u8| publisher.state(Class::PromptReported, topic.to_owned(), vec![payload]);
    let settle = |outcome| {
        let (ticket, message) = publisher_next(&publisher).unwrap();
        assert!(publisher_next(&publisher).is_none(), "one at a time");
        publisher.desk().settle(&ticket, outcome, NOW);
        message.payload[0]
    };
    say(0);
    let (ticket, _) = publisher_next(&publisher).unwrap();
    say(1);
    say(2);
    publisher.desk().settle(&ticket, Outcome::Undone, NOW);
    assert_eq!([Outcome::Undone, Outcome::Delivered, Outcome::Refused, Outcome::Delivered].map(settle), [0, 0, 1, 2]);
    assert!(publisher_next(&publisher).is_none() && publisher.desk().is_state_said());
    // A flood costs the oldest, and never the one that is with the client.
    (0..100).for_each(say);
    let (ticket, first) = publisher_next(&publisher).unwrap();
    say(100);
    publisher.desk().settle(&ticket, Outcome::Delivered, NOW);
    let mut said = vec![first.payload[0]];
    said.extend((37..=100).map(|_| settle(Outcome::Delivered)));
    assert_eq!(said, [&[35][..], &(37..=100).collect::<Vec<u8>>()].concat());
    assert!(publisher.desk().is_state_said());
    assert_eq!(publisher.replies_dropped(), 36, "those that went are counted");
    // Long answers have less room.
    (0..9).for_each(|n| publisher.state(Class::PromptReported, topic.to_owned(), vec![n; 300 << 10]));
    let said: Vec<u8> = (0..4).map(|_| settle(Outcome::Delivered)).collect();
    assert_eq!((said, publisher.replies_dropped()), (vec![5, 6, 7, 8], 36 + 5));
    assert!(publisher.desk().is_state_said());
}

#[test]
fn the_answer_that_stands_takes_no_place_from_those_before_it() {
    let (publisher, _) = publisher();
    let answer = |digest: &str, state| Answer { generation: 1, digest: digest.to_owned(), state, faults: Vec::new() };
    let say = |answer| {
        let ledger = ConfigLedger { answer: Some(answer), ..ConfigLedger::default() };
        publisher.config_reported(&ConfigReport { at: NOW, ledger: &ledger, faults: &[], in_force_json: "", file: "" });
    };
    for state in [WishState::Pending, WishState::Applied] {
        say(answer("stands", state));
    }
    for n in 0..40 {
        say(answer(&n.to_string(), WishState::Rejected));
        say(answer("stands", WishState::Applied));
    }
    let said: Vec<(String, String)> = drain(&publisher)
        .into_iter()
        .filter_map(|(_, heard)| match heard {
            Heard::ConfigReported(reported) => Some((reported.digest, reported.state)),
            _ => None,
        })
        .collect();
    let rejected = (0..40).map(|n| (n.to_string(), "rejected".to_owned()));
    let stands = |state: &str| ("stands".to_owned(), state.to_owned());
    let expected: Vec<_> = [stands("pending")].into_iter().chain(rejected).chain([stands("applied")]).collect();
    assert_eq!((said, publisher.replies_dropped()), (expected, 0));
}

#[test]
fn an_event_arrives_whole() {
    let (publisher, _) = publisher();
    publisher.event(&event(4, Phase::End(EndReason::SourceLost))).unwrap();
    let heard = drain(&publisher);
    let Heard::Event(heard) = &heard[0].1 else { panic!("{heard:?}") };
    assert_eq!((heard.phase.as_str(), heard.end_reason.as_str(), heard.revision), ("end", "source_lost", 4));
    assert_eq!((heard.onset_unix_nanos, heard.last_support_mono_nanos), (1_000_000_000_040, 60));
    assert_eq!((heard.boxes[0].corners_px, heard.frame_size_px), ([1.0, 2.0, 3.0, 4.0], [640, 480]));
    assert_eq!((heard.raw, heard.calibrated, heard.threshold, heard.bank_revision), (0.1, 0.9, 0.5, 3));
    assert_eq!((heard.prompt.as_str(), heard.modality.as_str(), heard.boot_id.as_str()), ("dog", "image", "boot"));
}

#[test]
fn a_prompt_that_breaks_a_topic_is_refused() {
    let (publisher, _) = publisher();
    let bad = Event { prompt: "a/b".into(), ..event(1, Phase::New) };
    assert!(publisher.event(&bad).is_err());
}

#[test]
fn the_joint_vector_says_who_took_part() {
    let (publisher, _) = publisher();
    let share =
        |name: &str, modality, used| JointPart { sensor: id(name), modality, weight: 0.5, age_secs: 0.25, used };
    let shares = [
        share("front", Modality::Image, true),
        share("mic", Modality::Audio, false),
        share("imu", Modality::Imu, true),
    ];
    let space: crate::encoders::SpaceId = "space-1".into();
    publisher.joint(&JointReading {
        index: 9,
        at: MonoTime::from_nanos(50),
        space: &space,
        vector: &[1.0, 0.0, 0.0],
        parts: &shares,
    });
    let heard = drain(&publisher);
    let Heard::Joint(joint) = &heard[0].1 else { panic!("{heard:?}") };
    assert_eq!((joint.mask, joint.members.len(), joint.index), (0b1_0001, 3, 9));
}

#[test]
fn health_gives_rates_over_its_own_period() {
    let (publisher, telemetry) = publisher();
    let reading = |secs: i64| HealthReading {
        at: MonoTime::from_nanos(7_000_000 + secs * 1_000_000_000),
        queues: vec![QueueReading { queue: "windows".to_owned(), depth: 1, capacity: 4 }],
        memory_bytes: 1 << 20,
        cpu_nanos: secs * 500_000_000,
    };
    let mic = telemetry.sensor(&id("mic"));
    (0..20).for_each(|_| mic.count_embedding(2_000_000));
    publisher.health(&reading(10));
    drain(&publisher);
    (0..5).for_each(|_| mic.count_embedding(4_000_000));
    publisher.health(&reading(20));
    let heard = drain(&publisher);
    let Heard::Health(health) = &heard[0].1 else { panic!("{heard:?}") };
    let mic = health.sensors.iter().find(|sensor| sensor.sensor == "mic").unwrap();
    assert_eq!((health.period_secs, health.cpu_cores, health.uptime_secs), (10.0, 0.5, 20.0));
    assert_eq!((mic.embeddings_per_sec, mic.encode_millis, mic.embeddings), (0.5, 4.0, 25));
    assert_eq!((mic.state.as_str(), health.queues["windows"]), ("starting", (1, 4)));
}

#[test]
fn numbers_start_at_one_in_a_replay_and_at_the_start_time_live() {
    for (replay, first) in [(true, 1), (false, 7_000)] {
        let publisher = Publisher::new(
            Topics::new("f", "robot").unwrap(),
            parts(replay),
            Outbox::new(OutboxLimits::default()),
            None,
        );
        publisher.desk().connected(1, MqttVersion::V5, NOW);
        let heard = drain(&publisher);
        let Heard::Status(status) = &heard[0].1 else { panic!("{heard:?}") };
        assert_eq!((status.seq, status.first_seq), (first, first));
    }
}

#[test]
fn what_is_said_about_perceptd_bears_this_machines_clocks_and_says_what_it_can_do() {
    for (replay, records, wanted) in [
        (true, false, &["cmd/snapshot", "cmd/resend"][..]),
        (false, true, &["cmd/snapshot", "cmd/resend", "cmd/restart-sensor", "cmd/record"]),
    ] {
        let topics = Topics::new("f", "robot").unwrap();
        let publisher = Publisher::new(topics, parts(replay), Outbox::new(OutboxLimits::default()), None);
        publisher.listens(records);
        publisher.desk().connected(1, MqttVersion::V5, NOW);
        let (now, unix) = (crate::time::now(), crate::time::unix_now_nanos());
        publisher.health(&HealthReading { at: now, queues: Vec::new(), memory_bytes: 1, cpu_nanos: 1 });
        let heard = drain(&publisher);
        let [(_, Heard::Status(status)), (_, Heard::Health(health))] = &heard[..] else { panic!("{heard:?}") };
        let commands: Vec<&str> =
            status.capabilities.iter().filter(|name| name.starts_with("cmd/")).map(String::as_str).collect();
        assert_eq!(commands, wanted);
        // The live timeline of these tests is a made-up one.
        let told = if replay { unix } else { 1_000_000_000_000 + now.nanos() };
        assert!(health.at_unix_nanos.abs_diff(told) < 60_000_000_000, "{health:?}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let bytes = || {
        let (publisher, _) = publisher();
        say_embedding(&publisher, "mic", 0);
        publisher.event(&event(1, Phase::New)).unwrap();
        std::iter::from_fn(|| publisher_next(&publisher).map(|(_, message)| message)).collect::<Vec<_>>()
    };
    assert_eq!(bytes(), bytes());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for rule in &crate::publish::TABLE {
            drop(wire::hear(rule.class, &bytes));
        }
    }
}
