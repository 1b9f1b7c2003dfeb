//! Who wins after a restart, for keys and prompts that the config file names: topics, or the file.

use std::sync::Arc;

use super::Rover;
use crate::mqtt::{Mosquitto, RawEar};

/// A rover whose file names one of the keys that are changed, and says who wins.
async fn rover(winner: &str) -> Rover {
    let more = format!("[events]\nmin_on_secs = 0.5\n[remote]\nwinner = '{winner}'\n");
    let rover = Rover::beside("rover", Arc::new(Mosquitto::start()), &more);
    rover.connected(1).await;
    rover
}

/// Starts it for the `starts`th time, edited, at a broker that keeps no wish: what it knows it knows from its state folder.
async fn restart(rover: &mut Rover, starts: usize, edit: Option<(&str, &str)>) {
    rover.stop("-TERM");
    let mut broker = RawEar::connected(rover.broker.address()).await;
    for topic in ["config/desired", "prompt/knock/desired"] {
        broker.publish(&format!("perceptd/v1/default/rover/{topic}"), true, b"").await;
    }
    if let Some((from, to)) = edit {
        rover.edit(from, to);
    }
    rover.run();
    rover.connected(starts).await;
}

/// What is in force of the key that the file names, of one that it does not, and of its prompt.
fn expect(rover: &Rover, min_on_secs: &str, min_off_secs: &str, prompt: &str) {
    let of_file = format!("events.min_on_secs = {min_on_secs}\n");
    rover.expect(&["config", "get"], 0, &[&of_file, &format!("events.min_off_secs = {min_off_secs}")]);
    rover.expect(&["prompt", "list"], 0, &[prompt]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_win_over_the_file_also_after_a_restart() {
    let mut rover = rover("topic").await;
    rover.expect(&["config", "set", "events.min_on_secs=0.25", "events.min_off_secs=0.7"], 0, &["applied"]);
    rover.expect(&["prompt", "add", "knock", "--p-false", "0.2"], 0, &["p_false 0.2; from topic"]);
    restart(&mut rover, 2, None).await;
    expect(&rover, "0.25", "0.7", "p_false 0.2; from topic");

    // From now on the file wins: what it does not name stays as topics changed it, and can be changed on.
    restart(&mut rover, 3, Some(("winner = 'topic'", "winner = 'file'"))).await;
    expect(&rover, "0.5", "0.7", "p_false 0.05; from file");
    rover.expect(&["config", "diff"], 0, &["rover\n  events.min_off_secs = 0.7\n"]);
    rover.expect(&["config", "set", "events.min_off_secs=0.8"], 0, &["applied as generation 2"]);
    rover.expect(&["config", "rollback"], 0, &["applied as generation 3"]);
    expect(&rover, "0.5", "0.7", "from file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_wins_where_it_is_told_to() {
    let mut rover = rover("file").await;
    let kept = ["rejected:\n  events.min_on_secs: stands in the config file, which wins ([remote] winner)"];
    rover.expect(&["config", "set", "events.min_on_secs=0.25"], 1, &kept);
    let kept = ["rejected knock:", "stands in the config file, which wins ([remote] winner)"];
    rover.expect(&["prompt", "add", "knock", "--p-false", "0.2"], 1, &kept);
    rover.expect(&["config", "set", "events.min_off_secs=0.7"], 0, &["applied as generation 2"]);
    restart(&mut rover, 2, None).await;
    expect(&rover, "0.5", "0.7", "p_false 0.05; from file");

    // A key that the file names from now on is the file's.
    restart(&mut rover, 3, Some(("min_on_secs = 0.5", "min_on_secs = 0.6\nmin_off_secs = 0.9"))).await;
    expect(&rover, "0.6", "0.9", "from file");
    rover.expect(&["config", "set", "log.level=debug"], 0, &["applied as generation 3"]);
}
