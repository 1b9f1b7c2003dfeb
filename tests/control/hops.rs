//! A hop that is changed by topic, and what is heard of events meanwhile.

use std::sync::Arc;
use std::time::Duration;

use perceptd::publish::{Heard, HeardEvent, Subscriber};
use perceptd::time::now;

use super::{Rover, ear};
use crate::mqtt::Mosquitto;

/// The next message of an event at the sensor.
async fn next_of(ear: &mut Subscriber, sensor: &str) -> HeardEvent {
    let heard = async {
        loop {
            if let Heard::Event(event) = ear.next().await
                && event.sensor == sensor
            {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), heard).await.expect("no event within a minute")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_goes_on_when_a_hop_grows() {
    // What motion often is like, and an event that hardly fades.
    let more = "[[prompts]]\nid = 'walk'\ntext = 'walking'\nin = ['imu']\np_false = 0.5\n\
                [events]\nmedian_windows = 1\nmin_on_secs = 0.0\nexit_odds_ratio = 1000.0\nupdate_secs = 0.1\n";
    let rover = Rover::beside("rover", Arc::new(Mosquitto::start()), more);
    let mut ear = ear(rover.broker.address());
    let before = next_of(&mut ear, "b").await;
    assert_eq!(before.phase, "new");
    rover.expect(&["config", "set", "sensors.b.hop_secs=2.0"], 0, &["applied as generation 1"]);
    let applied_at = now().nanos();
    // Those of the shorter hop still wait to be heard.
    let mut last = next_of(&mut ear, "b").await;
    while last.last_support_mono_nanos <= applied_at {
        assert_eq!((&last.id, &*last.end_reason), (&before.id, ""), "{last:?}");
        last = next_of(&mut ear, "b").await;
    }
    assert_eq!((&last.id, &*last.phase), (&before.id, "update"), "{last:?}");
}
