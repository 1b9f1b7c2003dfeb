//! What Home Assistant is told: seen by a subscriber, and judged by Home Assistant's own schemas.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use perceptd::modality::Modality;
use perceptd::time::now;

use super::robot::{RawEar, Robot, event, sensor, soon};
use super::{Mosquitto, python};

/// Hears everything until `is_enough` of what each topic said last.
async fn hears(ear: &mut RawEar, is_enough: impl Fn(&BTreeMap<String, String>) -> bool) -> BTreeMap<String, String> {
    let mut heard = BTreeMap::new();
    while !is_enough(&heard) {
        let packet = ear.next().await;
        heard.insert(packet.topic, String::from_utf8_lossy(&packet.payload).into_owned());
    }
    heard
}

/// Hears everything until each of these topics says what is wanted.
async fn hears_all(ear: &mut RawEar, wanted: &[(&str, &str)]) -> BTreeMap<String, String> {
    let says = |heard: &BTreeMap<String, String>, topic, payload| {
        heard.get(topic).is_some_and(|said: &String| said == payload)
    };
    hears(ear, |heard| wanted.iter().all(|(topic, payload)| says(heard, *topic, *payload))).await
}

fn state(entity: &str) -> String {
    format!("perceptd/v1/fleet/robot/ha/{entity}")
}

#[tokio::test]
async fn prompts_and_sensors_are_entities_that_home_assistant_accepts() {
    let mosquitto = Mosquitto::start();
    let mut ear = RawEar::hearing(mosquitto.address(), "#").await;
    let robot =
        Robot::start(mosquitto.address(), |settings| settings.home_assistant = Some("homeassistant".to_owned()));
    robot.publisher.prompts(["dog", "fire-alarm"]);
    robot.say_health();
    let (available, dog, front) = (state("available"), state("prompt/dog"), state("sensor/front"));
    let configs = |heard: &BTreeMap<String, String>| heard.keys().filter(|topic| topic.ends_with("/config")).count();
    let states = [(&*available, "online"), (&*dog, "OFF"), (&*front, "starting")];
    let heard = hears(&mut ear, |heard| {
        configs(heard) == 4
            && states.iter().all(|(topic, payload)| heard.get(*topic).is_some_and(|said| said == payload))
    })
    .await;
    let config = "homeassistant/binary_sensor/perceptd-fleet-R-robot/prompt-dog/config";
    assert!(heard.contains_key(config), "{heard:?}");
    home_assistant_accepts(&heard);

    robot.publisher.active(&[event(1, 1, "dog")]);
    hears_all(&mut ear, &[(&dog, "ON")]).await;
    robot.publisher.active(&[]);
    hears_all(&mut ear, &[(&dog, "OFF")]).await;

    // A prompt that goes takes its entity along; Home Assistant forgets what is retained empty.
    robot.publisher.prompts(["fire-alarm"]);
    hears_all(&mut ear, &[(config, ""), (&dog, "")]).await;

    // It goes, which asks for nothing; it comes back, and wants to hear it all.
    ear.publish("homeassistant/status", false, b"offline").await;
    robot.publisher.active(&[event(1, 1, "fire-alarm")]);
    let alarm = state("prompt/fire-alarm");
    let heard = hears_all(&mut ear, &[(&alarm, "ON")]).await;
    assert_eq!(configs(&heard), 0, "{heard:?}");
    ear.publish("homeassistant/status", false, b"online").await;
    let heard = hears(&mut ear, |heard| configs(heard) == 3 && heard.contains_key(&available)).await;
    home_assistant_accepts(&heard);

    // So does a sensor; it is made known again when it comes back.
    let (mic, config) = (state("sensor/mic"), "homeassistant/sensor/perceptd-fleet-R-robot/sensor-mic/config");
    let (eye, ear_of_robot) = ((sensor("front"), Modality::Image), (sensor("mic"), Modality::Audio));
    robot.publisher.sensors(vec![eye.clone()], now());
    robot.say_health();
    hears_all(&mut ear, &[(config, ""), (&mic, "")]).await;
    robot.publisher.sensors(vec![eye, ear_of_robot], now());
    robot.say_health();
    let is_known = |heard: &BTreeMap<String, String>| heard.get(config).is_some_and(|said| said.contains("mic state"));
    hears(&mut ear, |heard| is_known(heard) && heard.get(&mic).is_some_and(|said| said == "starting")).await;

    robot.stop().await;
    hears_all(&mut ear, &[(&available, "offline")]).await;
}

fn home_assistant_accepts(heard: &BTreeMap<String, String>) {
    let mut command = python::script("tests/home_assistant.py");
    let configs: Vec<String> = heard
        .iter()
        .filter(|(topic, _)| topic.ends_with("/config"))
        .map(|(topic, payload)| serde_json::json!({ "topic": topic, "payload": payload }).to_string())
        .collect();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(configs.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), configs.len().to_string());
}

#[tokio::test]
async fn without_the_setting_nothing_is_said() {
    let mosquitto = Mosquitto::start();
    let mut ear = RawEar::hearing(mosquitto.address(), "#").await;
    let robot = Robot::start(mosquitto.address(), |_| {});
    robot.publisher.prompts(["dog"]);
    robot.say_health();
    robot.publisher.active(&[event(1, 1, "dog")]);
    let topics = [ear.next().await.topic, ear.next().await.topic, ear.next().await.topic];
    robot.stop().await;
    let last = soon(ear.next()).await.topic;
    for topic in topics.iter().chain([&last]) {
        assert!(topic.starts_with("perceptd/") && !topic.contains("/ha/"), "{topic}");
    }
}
