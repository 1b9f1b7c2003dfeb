//! A program whose standard output is read: started in a process group of its own, told to the log, ended with all its children.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::children;
use crate::modality::SensorId;
use crate::sensors::{SensorError, pause_until};
use crate::time::{MonoTime, NANOS_PER_SEC, now};

/// One read of its output at most.
const READ_BYTES: usize = 64 * 1024;

/// Reads that wait; then the pipe fills and the program waits.
const WAITING: usize = 16;

/// How long a program may take to end when asked to, before it is killed.
const END_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Lines of its standard error that are logged in ten seconds, and the longest.
const LINES_PER_PERIOD: u32 = 10;
const PERIOD_NANOS: i64 = 10 * NANOS_PER_SEC;
const MOST_LINE_BYTES: usize = 300;

pub(super) struct Program {
    name: String,
    child: Child,
    is_reaped: bool,
    /// None once nobody reads.
    output: Option<Receiver<(MonoTime, Vec<u8>)>>,
    last_words: Arc<Mutex<String>>,
    /// Reads its standard error.
    log: Option<JoinHandle<()>>,
}

impl Program {
    /// Starts `command`, a program and its arguments.
    pub(super) fn start(sensor: &SensorId, command: &[String]) -> Result<Self, SensorError> {
        let name = command.first().cloned().unwrap_or_default();
        let lost = |why: String| SensorError::Lost { device: name.clone(), why };
        let mut start = Command::new(&name);
        start
            .args(command.iter().skip(1))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: a signal at the terminal is not for it, and its children end with it.
            .process_group(0);
        let mut child = children::spawn(&mut start).map_err(|error| lost(format!("cannot be started: {error}")))?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let (sender, output) = sync_channel(WAITING);
        let last_words = Arc::new(Mutex::new(String::new()));
        let words = Arc::clone(&last_words);
        let output = Some(output);
        let mut program = Self { name: name.clone(), child, is_reaped: false, output, last_words: words, log: None };
        let (Some(stdout), Some(stderr)) = pipes else { return Err(lost("it has no output".to_owned())) };
        let thread = |what: &str, work: Box<dyn FnOnce() + Send>| {
            let name = format!("{sensor}-{what}");
            std::thread::Builder::new().name(name).spawn(work).map_err(|error| lost(error.to_string()))
        };
        thread("out", Box::new(move || pass_on(stdout, &sender)))?;
        let (sensor, said_by) = (sensor.clone(), name.clone());
        program.log = Some(thread("err", Box::new(move || log_lines(stderr, &sensor, &said_by, &last_words)))?);
        Ok(program)
    }

    /// What it wrote, and when that arrived; none when nothing came within `timeout`.
    pub(super) fn read(&mut self, timeout: Duration) -> Result<Option<(MonoTime, Vec<u8>)>, SensorError> {
        let got = self.output.as_ref().map(|output| output.recv_timeout(timeout));
        match got {
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(RecvTimeoutError::Timeout)) => Ok(None),
            Some(Err(RecvTimeoutError::Disconnected)) | None => Err(self.ended()),
        }
    }

    /// It is of no more use, for this reason.
    pub(super) fn lost(&self, why: String) -> SensorError {
        SensorError::Lost { device: self.name.clone(), why }
    }

    /// Why there is no more output.
    fn ended(&mut self) -> SensorError {
        self.output = None;
        let mut why = "it closed its output".to_owned();
        if self.wait_until_ended(END_WITHIN) {
            self.signal_group(Signal::KILL);
            if let Ok(Some(status)) = self.child.try_wait() {
                self.is_reaped = true;
                why = ended_in_words(status);
            }
        }
        // All it said is read, unless a child that left the group goes on speaking.
        let is_read = || self.log.as_ref().is_none_or(JoinHandle::is_finished);
        wait_until(is_read, END_WITHIN);
        let said = self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !said.is_empty() {
            why = format!("{why}; it said: {said}");
        }
        self.lost(why)
    }

    /// Signals the program and its children. Once it was reaped its number may be another's.
    fn signal_group(&self, signal: Signal) {
        let sent = (!self.is_reaped).then(|| kill_process_group(Pid::from_child(&self.child), signal));
        if let Some(Err(error)) = sent {
            tracing::debug!(program = %self.name, %error, "it could not be signalled");
        }
    }

    /// Whether the program has ended, its children perhaps not; it is not reaped, so that its group's number stays its own.
    fn wait_until_ended(&self, within: Duration) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that there is no such child any more.
        let has_ended = || !matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), options), Ok(None));
        wait_until(has_ended, within)
    }
}

/// Whether it is so before the time is over.
fn wait_until(is_so: impl Fn() -> bool, within: Duration) -> bool {
    let (deadline, never) = (now() + within, AtomicBool::new(false));
    loop {
        if is_so() {
            return true;
        }
        if now() >= deadline {
            return false;
        }
        pause_until(now() + LOOK_EVERY, &never);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The reader of its output sees that nobody listens, and ends.
        self.output = None;
        if self.is_reaped {
            return;
        }
        self.signal_group(Signal::TERM);
        self.wait_until_ended(END_WITHIN);
        self.signal_group(Signal::KILL);
        if !self.wait_until_ended(END_WITHIN) {
            tracing::warn!(program = %self.name, "it cannot be killed: it hangs in the kernel");
        } else if let Err(error) = self.child.wait() {
            tracing::debug!(program = %self.name, %error, "its end could not be read");
        }
    }
}

fn ended_in_words(status: ExitStatus) -> String {
    match status.code() {
        Some(0) => "it ended".to_owned(),
        Some(code) => format!("it ended with exit code {code}"),
        None => format!("it ended: {status}"),
    }
}

fn pass_on(mut from: impl Read, to: &SyncSender<(MonoTime, Vec<u8>)>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                if to.send((now(), bytes)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn log_lines(mut from: impl Read, sensor: &SensorId, program: &str, last_words: &Mutex<String>) {
    let (mut lines, mut buffer) = (Lines::default(), vec![0; 4096]);
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            return;
        }
        lines.push(buffer.get(..count).unwrap_or_default(), now());
        if let Some(line) = &lines.said {
            last_words.lock().unwrap_or_else(PoisonError::into_inner).clone_from(line);
        }
        for line in lines.to_log.drain(..) {
            tracing::info!(%sensor, program, "{line}");
        }
    }
}

/// Lines of an endless text, of which few are let through.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    /// The last line that was whole.
    said: Option<String>,
    to_log: Vec<String>,
    period_began: MonoTime,
    in_period: u32,
    left_out: u64,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], at: MonoTime) {
        for byte in bytes {
            match byte {
                // ffmpeg ends its progress with a return alone.
                b'\n' | b'\r' => self.end_line(at),
                _ if self.line.len() < MOST_LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self, at: MonoTime) {
        let line = String::from_utf8_lossy(&self.line).replace(char::is_control, " ").trim().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        self.said = Some(line.clone());
        if at.nanos_since(self.period_began) >= PERIOD_NANOS {
            (self.period_began, self.in_period) = (at, 0);
            if self.left_out > 0 {
                self.to_log.push(format!("({} lines were left out)", self.left_out));
                self.left_out = 0;
            }
        }
        if self.in_period < LINES_PER_PERIOD {
            self.in_period += 1;
            self.to_log.push(line);
        } else {
            self.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Program {
        let command = ["sh", "-c", script].map(str::to_owned);
        Program::start(&SensorId::new("s").unwrap(), &command).unwrap()
    }

    /// Reads to the end.
    fn end(program: &mut Program) -> (Vec<u8>, String) {
        let (deadline, mut read) = (now() + Duration::from_secs(20), Vec::new());
        loop {
            match program.read(Duration::from_millis(100)) {
                Ok(bytes) => read.extend(bytes.map(|(_, bytes)| bytes).unwrap_or_default()),
                Err(error) => return (read, error.to_string()),
            }
            assert!(now() < deadline, "{} bytes and no end", read.len());
        }
    }

    fn is_running(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn wait_for_end(pid: i32) {
        let deadline = now() + Duration::from_secs(10);
        while is_running(pid) {
            assert!(now() < deadline, "process {pid} is still there");
            pause_until(now() + LOOK_EVERY, &AtomicBool::new(false));
        }
    }

    #[test]
    fn the_end_is_told_with_the_last_words() {
        let mut program = start("echo out; echo 'no such camera' >&2; exit 3");
        let (read, why) = end(&mut program);
        assert_eq!(read, b"out\n");
        assert_eq!(why, "sh: it ended with exit code 3; it said: no such camera");
        assert!(end(&mut start("kill -9 $$")).1.contains("signal: 9"));
        let absent = Program::start(&SensorId::new("s").unwrap(), &["/no/such/program".to_owned()]).err().unwrap();
        assert!(absent.to_string().starts_with("/no/such/program: cannot be started: No such file"), "{absent}");
    }

    #[test]
    fn children_end_with_it_and_a_deaf_one_is_killed() {
        let mut program = start("trap '' TERM; sleep 60 & echo $!; wait; sleep 60");
        let (_, bytes) = loop {
            if let Some(read) = program.read(Duration::from_secs(10)).unwrap() {
                break read;
            }
        };
        let grandchild: i32 = String::from_utf8(bytes).unwrap().trim().parse().unwrap();
        let child = program.child.id() as i32;
        assert!(is_running(grandchild) && is_running(child));
        drop(program);
        wait_for_end(child);
        wait_for_end(grandchild);
    }

    #[test]
    fn a_flood_on_standard_error_is_passed_over() {
        let mut program =
            start("yes flood | head -c 3000000 >&2; head -c 3000000 /dev/zero >&2; echo done; echo last >&2");
        let (read, _) = end(&mut program);
        assert_eq!(read, b"done\n");
    }

    #[test]
    fn few_lines_are_let_through() {
        let mut lines = Lines::default();
        let secs = |secs: i64| MonoTime::from_nanos(secs * NANOS_PER_SEC);
        lines.push(&[b'x'; 10_000], secs(100));
        for n in 0..1000 {
            lines.push(format!("\r\nline {n}").as_bytes(), secs(100));
        }
        assert_eq!((lines.to_log.len(), lines.to_log[0].len()), (10, MOST_LINE_BYTES));
        lines.push(b"\n\x1b[31mlater\n", secs(111));
        assert_eq!(lines.to_log[10..], ["(990 lines were left out)", "line 999", "[31mlater"]);
        assert_eq!(lines.said.as_deref(), Some("[31mlater"));
    }
}
