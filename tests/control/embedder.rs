//! Prompts that come by topic are embedded in a process of its own: perceptd keeps its memory, and outlives it.

use std::process::Command;
use std::sync::Arc;

use super::{ROOT, Rover, assert_whole, count, places, until};
use crate::mqtt::{Mosquitto, holds};

/// A rover with the reference pack, whose text encoder is large.
async fn rover() -> Rover {
    let mut rover = Rover::at_rest("rover", Arc::new(Mosquitto::start()), "");
    rover.edit("models/tiny", "models/reference");
    // The reference pack refuses this clip: part of its background sounds just like it.
    rover.edit(&format!("[[prompts]]\nid = 'knock'\naudio = '{ROOT}/tests/golden/bell.wav'\nin = ['imu']\n"), "");
    rover.run();
    rover.connected(1).await;
    rover
}

/// The most memory that was resident so far, in MB.
fn peak_mb(rover: &Rover) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rover.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// The processes that this one has started.
fn children(of: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name, in brackets, may hold anything; the state and the parent come after it.
        let parent: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (parent == of).then_some(pid)
    });
    processes.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_by_what_words_need() {
    let rover = rover().await;
    let places = places(rover.broker.address());
    until(&places, "both deliver", |places| places.len() == 2).await;
    let before = peak_mb(&rover);
    rover.expect(&["prompt", "add", "dog", "text:a dog", "--in", "imu"], 0, &["looks for dog: text:a dog"]);
    let after = peak_mb(&rover);
    // The encoder of words alone takes more than 60 MB of whoever loads it.
    assert!(after < before + 25, "{before} MB before, {after} MB at most");
    holds(|| children(rover.pid()).is_empty()).await;
    let seen = count(&places, "a");
    until(&places, "a goes on", |places| places["a"].len() >= seen + 5).await;
    assert_whole(&places.lock().unwrap()["a"]);
}

/// Whether the process has a handler for SIGTERM (proc(5), `SigCgt`).
fn listens(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> 14 & 1 == 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_manager_tells_all_processes_costs_no_prompt() {
    let rover = rover().await;
    let pid = rover.pid();
    let teller = tokio::task::spawn_blocking(move || {
        let listening = || children(pid).into_iter().find(|child| listens(*child));
        let child = std::iter::repeat_with(listening).find_map(|child| child).unwrap();
        for signal in ["-TERM", "-HUP", "-INT"] {
            assert!(Command::new("kill").args([signal, &child.to_string()]).status().unwrap().success());
        }
    });
    rover.expect(&["prompt", "add", "dog", "text:a dog", "--in", "imu"], 0, &["looks for dog: text:a dog"]);
    teller.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_costs_its_prompt_alone() {
    let rover = rover().await;
    let pid = rover.pid();
    let killer = tokio::task::spawn_blocking(move || {
        while children(pid).is_empty() {
            std::thread::yield_now();
        }
        for child in children(pid) {
            assert!(Command::new("kill").args(["-KILL", &child.to_string()]).status().unwrap().success());
        }
    });
    let told = ["cannot look for dog:", "text:a dog", "the process that embeds prompts failed", "signal: 9"];
    rover.expect(&["prompt", "add", "dog", "text:a dog", "--in", "imu"], 1, &told);
    killer.await.unwrap();
    rover.expect(&["prompt", "add", "dog", "text:a big dog", "--in", "imu"], 0, &["looks for dog: text:a big dog"]);
    assert_eq!(rover.pid(), pid);
    assert_eq!(rover.log().matches("connected to the broker").count(), 1, "perceptd noticed nothing");
}
