//! The repository's Python: `tests/subscriber.py`, a subscriber that shares no code with perceptd, and others.

use std::path::Path;
use std::process::{Command, Stdio};

use perceptd::publish::BrokerAddress;
use tokio::task::JoinHandle;

/// The Python of the tests' virtual environment, which `tests/run` makes.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python");

/// A script of the repository, to be run. None without the virtual environment, unless `PERCEPTD_TEST_PYTHON` names a Python, which
/// then must be there.
pub(crate) fn script(path: &str) -> Option<Command> {
    let named = std::env::var("PERCEPTD_TEST_PYTHON").ok();
    if named.is_none() && !Path::new(PYTHON).exists() {
        return None;
    }
    let mut command = Command::new(named.unwrap_or_else(|| PYTHON.to_owned()));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    Some(command)
}

/// Starts it; the lines that it printed come when it ends after `secs`. None as [`script`].
pub(crate) fn listen(broker: &BrokerAddress, secs: u32) -> Option<JoinHandle<std::process::Output>> {
    let mut command = script("tests/subscriber.py")?;
    command
        .args(["--port", &broker.port.to_string(), "--for", &secs.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(tokio::task::spawn_blocking(move || command.output().unwrap()))
}
