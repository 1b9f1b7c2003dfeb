//! A start that ends for a reason of its own takes nothing away of what topics changed.

use std::process::{Command, Stdio};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::Rover;
use crate::mqtt::{Mosquitto, holds};

/// Starts perceptd, which ends by itself and says why.
fn expect_no_start(rover: &Rover, why: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perceptd"));
    let output = command.args(["run", "--config"]).arg(rover.config()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains(why), "{told}");
}

/// What is kept of topics, and of starts.
fn kept(rover: &Rover) -> [String; 2] {
    ["config.json", "starts"].map(|name| {
        let path = rover.folder.path().join("state/remote").join(name);
        std::fs::read_to_string(&path).unwrap()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_fail_for_other_reasons_leave_changes_alone() {
    let mut rover = Rover::start();
    rover.connected(1).await;
    rover.expect(&["config", "set", "events.min_on_secs=0.2"], 0, &["applied as generation 1"]);
    let before = kept(&rover);
    for _ in 0..7 {
        expect_no_start(&rover, "is in use by another perceptd");
    }
    assert_eq!(kept(&rover), before, "a second perceptd beside a running one");

    rover.stop("-KILL");
    let login = "[mqtt]\nusername = 'me'\npassword_file = 'nothing-there'\n";
    rover.edit("[mqtt]\n", login);
    for _ in 0..7 {
        expect_no_start(&rover, "nothing-there");
    }
    rover.edit(login, "[mqtt]\n");
    let pack = rover.folder.path().join("pack");
    std::fs::create_dir(&pack).unwrap();
    std::fs::write(pack.join("pack.toml"), "no pack").unwrap();
    let (good, bad) = (format!("{}/models/tiny", super::ROOT), pack.display().to_string());
    rover.edit(&good, &bad);
    for _ in 0..7 {
        expect_no_start(&rover, "pack.toml");
    }
    assert_eq!(kept(&rover), before, "a login and a pack that cannot be had");

    rover.edit(&bad, &good);
    rover.run();
    rover.connected(2).await;
    rover.expect(&["config", "get"], 0, &["generation 1", "events.min_on_secs = 0.2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_an_ordered_stop_cut_short_is_tried_by_the_next_start() {
    let mut rover = Rover::at_rest("rover", Arc::new(Mosquitto::start()), "[remote]\nwatch_secs = 60\n");
    rover.run();
    rover.connected(1).await;
    let mut wish = Command::new(env!("CARGO_BIN_EXE_perceptd"));
    wish.args(["config", "set", "events.min_on_secs=0.2", "--timeout", "60s", "--config"]).arg(rover.config());
    let wish = wish.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ledger = rover.folder.path().join("state/remote/config.json");
    holds(|| std::fs::read_to_string(&ledger).is_ok_and(|text| text.contains("\"trial\":{"))).await;
    rover.stop("-TERM");
    rover.edit("watch_secs = 60", "watch_secs = 1");
    rover.run();
    let output = wish.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("applied as generation 1"), "{told}\n{}", rover.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_perceptd_did_not_survive_is_not_tried_again() {
    const ENDED: &str = "last wish rolled back: perceptd ended while it tried this prompt";
    let mut rover = Rover::start();
    rover.connected(1).await;
    let prompts = rover.folder.path().join("state/remote/prompts");
    let kept = || {
        let mut files = std::fs::read_dir(&prompts).unwrap().map(|file| file.unwrap().path());
        let path = files.next().unwrap();
        (path.clone(), std::fs::read(path).unwrap())
    };
    rover.expect(&["prompt", "add", "knock", "--p-false", "0.2"], 0, &["p_false 0.2; from topic"]);
    let (path, before) = kept();
    rover.expect(&["prompt", "add", "knock", "--p-false", "0.3"], 0, &["p_false 0.3; from topic"]);
    let wish: String = Sha256::digest(kept().1).iter().map(|byte| format!("{byte:02x}")).collect();

    // As if it had ended of the last wish, which the broker still has; what was there before is a topic's, and then the file's.
    for (starts, in_force) in [(2, "p_false 0.2; from topic"), (3, "p_false 0.05; from file")] {
        rover.stop("-KILL");
        match starts {
            2 => std::fs::write(&path, &before).unwrap(),
            _ => std::fs::remove_file(&path).unwrap(),
        }
        std::fs::write(prompts.join("knock.trying"), &wish).unwrap();
        rover.run();
        rover.connected(starts).await;
        // What comes after the wish has been heard, so the wish has.
        rover.expect(&["prompt", "add", "thud", "audio:tests/golden/bell.wav", "--in", "imu"], 0, &["thud"]);
        rover.expect(&["prompt", "list"], 0, &[&format!("{in_force}; {ENDED}")]);
    }
}
