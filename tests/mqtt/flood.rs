//! More that the broker keeps than can wait at once.

use std::collections::BTreeSet;
use std::time::Duration;

use perceptd::pipe::Received;
use perceptd::publish::{MqttVersion, RetainHandling, Subscription};
use perceptd::time::now;

use super::Mosquitto;
use super::robot::{RawEar, Robot, holds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_fit_comes_again_when_there_is_room() {
    const KEPT: usize = 400;
    const ROOT: &str = "perceptd/v1/fleet/robot/";
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let mosquitto = Mosquitto::start();
        let mut stranger = RawEar::hearing(mosquitto.address(), "none/of/it").await;
        for n in 0..KEPT {
            stranger.publish(&format!("{ROOT}prompt/p{n}/desired"), true, b"a wish").await;
        }
        stranger.publish(&format!("{ROOT}cmd/snapshot"), true, b"a command").await;
        let wanted = [("prompt/+/desired", RetainHandling::EveryConnect), ("cmd/+", RetainHandling::Never)];
        let wanted =
            wanted.map(|(filter, retain_handling)| Subscription { filter: format!("{ROOT}{filter}"), retain_handling });
        let (robot, arrivals) = Robot::start_listening_as(mosquitto.address(), version, wanted.to_vec());
        // Nobody listens until all have come; of 3.1.1 no broker is told that retained commands are not wanted.
        let too_many = 80 + u64::from(version == MqttVersion::V311);
        holds(|| robot.publisher.arrivals_dropped() == too_many).await;
        let (mut heard, mut commands) = (BTreeSet::new(), 0);
        let limit = now() + Duration::from_secs(20);
        while heard.len() < KEPT {
            assert!(now() < limit, "{version:?}: {} of {KEPT} were heard", heard.len());
            match arrivals.recv(Duration::from_millis(20)) {
                Received::Item(arrived) if arrived.topic.contains("/cmd/") => commands += 1,
                Received::Item(arrived) => drop(heard.insert(arrived.topic)),
                _ => robot.say_health(),
            }
        }
        assert_eq!(commands, 0, "commands are not asked for again");
        robot.stop().await;
    }
}
