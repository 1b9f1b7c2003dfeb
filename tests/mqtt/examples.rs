//! The subscribers of `deploy/examples`, against a real broker.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use perceptd::events::{EndReason, Phase};
use tokio::sync::mpsc::{Receiver, channel};

use super::robot::{Robot, event, holds, soon};
use super::{Mosquitto, python};

/// A program whose lines are heard as they come.
struct Example {
    child: Child,
    lines: Receiver<String>,
}

impl Example {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel(1000);
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for pipe in pipes {
            let sender = sender.clone();
            std::thread::spawn(move || {
                BufReader::new(pipe).lines().map_while(Result::ok).all(|line| sender.blocking_send(line).is_ok())
            });
        }
        Self { child, lines }
    }

    async fn next(&mut self) -> String {
        soon(self.lines.recv()).await.expect("the example ended")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Its children too: it is the head of a group of its own.
        let group = format!("-{}", self.child.id());
        drop(Command::new("kill").args(["--", &group]).status());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn the_python_example_tells_events_in_words() {
    let mosquitto = Mosquitto::start();
    let mut command = python::script("deploy/examples/events.py");
    let robot = Robot::start(mosquitto.address(), |_| {});
    let port = mosquitto.address().port.to_string();
    let mut example = Example::start(own_group(command.args(["--port", &port])));
    assert_eq!(example.next().await, "fleet/robot: running");
    for message in [event(1, 1, "dog"), event(1, 1, "dog"), event(1, 2, "dog")] {
        robot.publisher.event(&message).unwrap();
    }
    let mut end = event(1, 3, "dog");
    end.phase = Phase::End(EndReason::Quiet);
    robot.publisher.event(&end).unwrap();
    assert_eq!(example.next().await, "fleet/robot: dog on front, new, score 0.90 of 0.50");
    // The repeat of revision 1 is silent.
    assert_eq!(example.next().await, "fleet/robot: dog on front, update, score 0.90 of 0.50");
    assert_eq!(example.next().await, "fleet/robot: dog on front, end, score 0.90 of 0.50, quiet after 0.0 s");
    robot.stop().await;
    assert_eq!(example.next().await, "fleet/robot: stopped");
}

#[test]
fn the_python_example_takes_only_what_is_missing_for_a_gap() {
    let output = python::script("tests/gaps.py").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_shell_example_prints_protobuf_as_text() {
    let mosquitto = Mosquitto::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/events.sh");
    let port = mosquitto.address().port.to_string();
    let mut example = Example::start(own_group(Command::new(script).args(["127.0.0.1", &port])));
    let robot = Robot::start(mosquitto.address(), |_| {});
    // mosquitto_sub does not say when it listens; until then there is nobody and the broker says so (0x10), which perceptd tries again.
    robot.publisher.event(&event(1, 1, "dog")).unwrap();
    assert_eq!(example.next().await, "# perceptd/v1/fleet/robot/event/dog");
    let mut text = String::new();
    while !text.contains("prompt: \"dog\"") {
        text += &(example.next().await + "\n");
    }
    assert!(text.contains("boot_id: \"boot-1\"") && text.contains("phase: PHASE_NEW"), "{text}");
    holds(|| robot.publisher.outbox_len() == 0).await;
    robot.stop().await;
}

fn own_group(command: &mut Command) -> &mut Command {
    std::os::unix::process::CommandExt::process_group(command, 0)
}
