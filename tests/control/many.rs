//! As many prompts by topic as a robot may have, and some more, that the broker kept while perceptd was away.

use super::Rover;
use crate::mqtt::{RawEar, holds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_prompts_that_the_broker_kept_are_looked_for_and_those_beyond_the_most_refused() {
    const MOST: usize = 64;
    const KEPT: usize = 70;
    const REFUSED: &str = ": not looked for; last wish rejected: there are 64 prompts by topic, the most";
    let mut rover = Rover::start();
    rover.connected(1).await;
    rover.expect(&["prompt", "add", "p0", "audio:tests/golden/bell.wav", "--in", "imu"], 0, &["looks for p0"]);
    let prompts = rover.folder.path().join("state/remote/prompts");
    let payload = std::fs::read(prompts.join("p0.pb")).unwrap();
    rover.stop("-TERM");
    // A state folder that knows nothing of it: a robot's first start.
    std::fs::remove_dir_all(rover.folder.path().join("state")).unwrap();
    let mut broker = RawEar::hearing(rover.broker.address(), "none/of/it").await;
    for n in 0..KEPT {
        broker.publish(&format!("perceptd/v1/default/rover/prompt/p{n}/desired"), true, &payload).await;
    }
    rover.run();
    rover.connected(2).await;
    let kept = || {
        let files = std::fs::read_dir(&prompts).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|extension| extension == "pb")).count()
    };
    holds(|| kept() >= MOST).await;
    let count = |told: &str, words: &str| told.matches(words).count();
    let mut told = String::new();
    holds(|| {
        told = rover.perceptd(&["prompt", "list"]).1;
        count(&told, "; from topic\n") == MOST
    })
    .await;
    assert_eq!(count(&told, REFUSED), KEPT - MOST, "{told}");

    // And they stay over a restart.
    rover.stop("-TERM");
    rover.run();
    rover.connected(3).await;
    rover.expect(&["prompt", "add", "knock", "--p-false", "0.2"], 1, &["the most: remove one first"]);
    holds(|| {
        let told = rover.expect(&["prompt", "list"], 0, &[]);
        (count(&told, "; from topic\n"), count(&told, REFUSED)) == (MOST, KEPT - MOST)
    })
    .await;
}
