//! The repository's Python: `tests/subscriber.py`, a subscriber that shares no code with perceptd, and others.

use std::path::Path;
use std::process::{Command, Stdio};

use perceptd::publish::BrokerAddress;
use tokio::task::JoinHandle;

/// The Python of the tests' virtual environment, which `tests/run` makes.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python");

/// A script of the repository, to be run by that Python, or by the one that `PERCEPTD_TEST_PYTHON` names. A test that cannot run it fails:
/// what was not looked at is not well.
pub(crate) fn script(path: &str) -> Command {
    let named = std::env::var("PERCEPTD_TEST_PYTHON").ok();
    let is_there = named.is_some() || Path::new(PYTHON).exists();
    assert!(is_there, "no .venv with tests/requirements.txt (tests/run makes it)");
    let mut command = Command::new(named.unwrap_or_else(|| PYTHON.to_owned()));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    command
}

/// Starts the subscriber; the lines that it printed come when it has heard each of these topics, or has waited for long.
pub(crate) fn listen(broker: &BrokerAddress, topics: &[String]) -> JoinHandle<std::process::Output> {
    let mut command = script("tests/subscriber.py");
    command
        .args(["--port", &broker.port.to_string(), "--for", "30", "--until"])
        .args(topics)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    tokio::task::spawn_blocking(move || command.output().unwrap())
}
