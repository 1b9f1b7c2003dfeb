//! What the broker brings again and again is done, or told, no more than once.

use std::sync::Arc;

use super::{Rover, assert_whole, count, places, until};
use crate::mqtt::{Gate, Mosquitto, RawEar, holds};

const ROOT: &str = "perceptd/v1/default/rover/";

/// The text of the next answer, as far as it is text.
async fn hears_answer(ear: &mut RawEar) -> String {
    String::from_utf8_lossy(&ear.next().await.payload).into_owned()
}

/// How many recordings were made.
fn recordings(rover: &Rover) -> usize {
    std::fs::read_dir(rover.folder.path().join("state/remote/recordings")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_3_1_1_a_retained_command_is_refused_at_every_connect() {
    const REFUSED: &str = "commands must not be retained";
    let mut rover = Rover::at_rest("rover", Arc::new(Mosquitto::start()), "");
    rover.edit("[mqtt]\n", "[mqtt]\nversion = '3.1.1'\n");
    let mut answers = RawEar::hearing(rover.broker.address(), &format!("{ROOT}reply/#")).await;
    rover.commands(&["--retain", "before"]);
    rover.run();
    let answer = hears_answer(&mut answers).await;
    assert!(answer.contains("before") && answer.contains(REFUSED), "{answer}");
    assert_eq!(recordings(&rover), 0, "it was not done");

    // Live, a broker of 3.1.1 hides that it keeps a command: it is one like any other, until it comes again.
    rover.commands(&["--retain", "live"]);
    let answer = hears_answer(&mut answers).await;
    assert!(answer.contains("live") && answer.contains(".mcap"), "{answer}");
    rover.stop("-TERM");
    rover.run();
    let answer = hears_answer(&mut answers).await;
    assert!(answer.contains("live") && answer.contains(REFUSED), "{answer}");
    assert_eq!(recordings(&rover), 1, "it was done once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_that_the_broker_keeps_is_told_once_and_hinders_nothing() {
    let broker = Arc::new(Mosquitto::start());
    let gate = Gate::open(broker.address()).await;
    let mut stranger = RawEar::connected(broker.address()).await;
    for topic in ["config/desired", "prompt/thud/desired"] {
        stranger.publish(&format!("{ROOT}{topic}"), true, b"\xff\xff").await;
    }
    let mut rover = Rover::at_rest("rover", broker, "");
    rover.edit(&format!("port = {}", rover.broker.address().port), &format!("port = {}", gate.address().port));
    rover.run();
    let places = places(rover.broker.address());
    until(&places, "both deliver", |places| places.len() == 2).await;
    let told = |words: &str| rover.log().matches(words).count();
    for connections in 2..5 {
        gate.cut();
        rover.connected(connections).await;
    }
    // One that came again is told once, too, until ten seconds later a line counts the rest.
    holds(|| told("reason=\"poison\"") > 0).await;
    // Refused at the same moment, the second may be in a line that counts the rest.
    assert!((1..=2).contains(&told("reason=\"malformed\"")), "{}", rover.log());
    // Ten seconds may have ended meanwhile.
    assert!(told("reason=\"poison\"") <= 2, "{}", rover.log());
    rover.expect(&["config", "get"], 0, &["rover: ", "alone\n# "]);
    rover.expect(&["prompt", "list"], 0, &["thud: not looked for; last wish rejected: "]);
    rover.expect(&["config", "set", "events.min_on_secs=0.3"], 0, &["applied as generation 1"]);
    let seen = count(&places, "a");
    until(&places, "a goes on", |places| places["a"].len() >= seen + 3).await;
    assert_whole(&places.lock().unwrap()["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_not_done_again_after_a_restart() {
    let mut rover = Rover::start();
    rover.connected(1).await;
    let ask = |rover: &Rover, id: &str| tokio::task::block_in_place(|| rover.commands(&["--ask", id]));
    let (done, refused) = ("\"state\": 1", "\"state\": 2");
    let answer = ask(&rover, "first");
    assert!(answer.contains(done), "{answer}");
    rover.stop("-KILL");
    rover.run();
    rover.connected(2).await;
    let answer = ask(&rover, "first");
    assert!(answer.contains(refused) && answer.contains("came before"), "{answer}");
    let answer = ask(&rover, "second");
    assert!(answer.contains(done), "{answer}");
}
