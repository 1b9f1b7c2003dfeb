//! What a broker that has lost everything, or whose connection was cut, is told again without being asked.

use std::collections::BTreeMap;

use super::Mosquitto;
use super::gate::Gate;
use super::robot::{Ear, RawEar, RawPacket, Robot, event};

/// What is retained, below the robot's root.
const STATE: [&str; 5] = ["active", "config/reported", "health", "prompt/dog/reported", "status"];

/// A robot that has said all of [`STATE`].
fn robot_with_state(gate: &Gate) -> Robot {
    let robot = Robot::start(gate.address(), |_| {});
    robot.publisher.active(&[event(1, 1, "dog")]);
    robot.say_reports();
    robot.say_health();
    robot
}

/// Hears until all of [`STATE`] has come, retained; what each topic said last.
async fn hears_state(ear: &mut RawEar) -> BTreeMap<String, Vec<u8>> {
    let mut heard = BTreeMap::new();
    while heard.len() < STATE.len() {
        let RawPacket { topic, payload, retain, .. } = ear.next().await;
        if let Some(below) = topic.strip_prefix("perceptd/v1/fleet/robot/") {
            assert!(retain && STATE.contains(&below), "{topic}");
            heard.insert(below.to_owned(), payload);
        }
    }
    heard
}

/// The status is said anew, and so it differs; all else is what was said before.
fn assert_said_again(before: &BTreeMap<String, Vec<u8>>, again: &BTreeMap<String, Vec<u8>>) {
    for topic in STATE {
        assert_eq!(before[topic] == again[topic], topic != "status", "{topic}");
    }
}

#[tokio::test]
async fn a_broker_that_lost_everything_is_told_all_state_again() {
    let mut mosquitto = Mosquitto::start();
    let gate = Gate::open(mosquitto.address()).await;
    let robot = robot_with_state(&gate);
    let first = Ear::connected(mosquitto.address()).await.next_status().await;
    let before = hears_state(&mut RawEar::connected(mosquitto.address()).await).await;

    // The gate keeps the robot away until it is seen that the new broker knows nothing.
    gate.shut();
    mosquitto.kill();
    mosquitto.restart();
    let mut ear = RawEar::hearing(mosquitto.address(), "#").await;
    // By another: who waits for its own acknowledgement here would pass over the marker.
    RawEar::connected(mosquitto.address()).await.publish("marker", false, b"").await;
    assert_eq!(ear.next().await.topic, "marker", "what is retained would have come first");
    gate.reopen();
    assert_said_again(&before, &hears_state(&mut ear).await);
    let late = hears_state(&mut RawEar::connected(mosquitto.address()).await).await;
    assert_said_again(&before, &late);
    let birth = Ear::connected(mosquitto.address()).await.next_status().await;
    assert_eq!(birth.state, "running");
    assert!(birth.session_number > first.session_number && birth.seq > first.seq, "{birth:?} after {first:?}");
    robot.stop().await;
}

#[tokio::test]
async fn a_connection_that_was_cut_is_a_birth_and_then_all_state_again() {
    let mosquitto = Mosquitto::start();
    let gate = Gate::open(mosquitto.address()).await;
    let robot = robot_with_state(&gate);
    let mut ear = RawEar::connected(mosquitto.address()).await;
    let before = hears_state(&mut ear).await;
    for _ in 0..2 {
        gate.cut();
        let RawPacket { topic, payload, .. } = ear.next().await;
        // The cut may have come before the last acknowledgements: what they were for may come first, as it was.
        let mut first = (topic.replacen("perceptd/v1/fleet/robot/", "", 1), payload);
        while before.get(&first.0) == Some(&first.1) {
            let RawPacket { topic, payload, .. } = ear.next().await;
            first = (topic.replacen("perceptd/v1/fleet/robot/", "", 1), payload);
        }
        assert_eq!(first.0, "status", "the birth comes before the other state");
        assert_ne!(first.1, before["status"]);
        let mut again = BTreeMap::from([first]);
        while again.len() < STATE.len() {
            let RawPacket { topic, payload, retain, .. } = ear.next().await;
            assert!(retain, "{topic}");
            again.insert(topic.replacen("perceptd/v1/fleet/robot/", "", 1), payload);
        }
        assert_said_again(&before, &again);
    }
    robot.stop().await;
}
