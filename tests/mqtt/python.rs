//! `tests/subscriber.py`, a subscriber that shares no code with perceptd.

use std::process::Stdio;

use perceptd::publish::BrokerAddress;
use tokio::task::JoinHandle;

/// The Python of the tests' virtual environment, which `tests/run` makes.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python");

/// Starts it; the lines that it printed come when it ends after `secs`. None without the virtual
/// environment, unless `PERCEPTD_TEST_PYTHON` names a Python, which then must be there.
pub(crate) fn listen(broker: &BrokerAddress, secs: u32) -> Option<JoinHandle<std::process::Output>> {
    let named = std::env::var("PERCEPTD_TEST_PYTHON").ok();
    if named.is_none() && !std::path::Path::new(PYTHON).exists() {
        return None;
    }
    let python = named.unwrap_or_else(|| PYTHON.to_owned());
    let mut command = std::process::Command::new(python);
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/subscriber.py"))
        .args(["--port", &broker.port.to_string(), "--for", &secs.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(tokio::task::spawn_blocking(move || command.output().unwrap()))
}
