//! Commands: done at once, or begun and answered in a later turn; at most so many at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::perception::{Latest, PerceptionChange};
use super::pipes::SAMPLES_WAITING;
use super::sources::Sources;
use super::threads::WindowChange;
use crate::media::{CameraFrame, MediaError};
use crate::modality::SensorId;
use crate::pipe::{Sender, WhenFull, bounded};
use crate::publish::{
    Command, CommandBody, CommandReply, CommandResult, CommandState, Publisher, RefusalReason, ReplyTo, SensorSnapshot,
};
use crate::recording::{self, RecordLimit, Recorded, RecordingError, RecordingWriter};
use crate::sensors::Sample;
use crate::store::RemoteStore;
use crate::time::{MonoTime, NANOS_PER_SEC, Timeline, now, unix_now_nanos};

/// The inference thread looks at what it is told before every turn, and once a second when there is none: one that has not answered within
/// this time is overloaded.
const SNAPSHOT_WITHIN_NANOS: i64 = 5 * NANOS_PER_SEC;
/// Widest thumbnail.
const THUMBNAIL_WIDTH_PX: u32 = 320;
/// JPEG quality of a thumbnail.
const THUMBNAIL_QUALITY: u8 = 75;
/// A recording ends when its samples have so many bytes, before the disk is full.
const MOST_RECORDED_BYTES: u64 = 1 << 30;

/// A snapshot that was asked for.
struct Snapshot {
    to: ReplyTo,
    without_thumbnails: bool,
    answer: Receiver<BTreeMap<SensorId, Latest>>,
    give_up_at: MonoTime,
}

/// A recording that is being made.
struct Recording {
    to: ReplyTo,
    path: PathBuf,
    /// Samples for which the disk was too slow.
    lost: Arc<AtomicU64>,
    thread: JoinHandle<Result<Recorded, RecordingError>>,
}

/// What commands act on.
pub(super) struct Reach<'a> {
    pub(super) publisher: &'a Publisher,
    pub(super) perception: &'a Sender<PerceptionChange>,
    pub(super) windows: &'a Sender<WindowChange>,
    pub(super) sources: &'a mut Sources,
    pub(super) store: &'a RemoteStore,
    pub(super) timeline: &'a Timeline,
}

/// The commands that are being worked on.
pub(super) struct Commands {
    most: usize,
    snapshots: Vec<Snapshot>,
    recording: Option<Recording>,
}

impl Commands {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, snapshots: Vec::new(), recording: None }
    }

    /// How many may be worked on at once from now on.
    pub(super) const fn allow(&mut self, most: usize) {
        self.most = most;
    }

    /// Does a command, or begins it.
    pub(super) fn take(&mut self, command: Command, reach: Reach<'_>) {
        let Command { body, reply_to, valid_until_unix_nanos } = command;
        reach.store.take_command(&reply_to.id, valid_until_unix_nanos, unix_now_nanos());
        let publisher = reach.publisher;
        if self.snapshots.len() + usize::from(self.recording.is_some()) >= self.most {
            publisher.count_refusal(RefusalReason::Busy);
            let what = format!("{} commands are being worked on, the most at once: try again", self.most);
            return Self::refuse(reply_to, what, publisher);
        }
        tracing::info!(id = %reply_to.id, ?body, "command");
        match body {
            CommandBody::Snapshot { without_thumbnails } => {
                let (asked, answer) = sync_channel(1);
                // If the inference thread is gone, so is the answer, and that is seen in the next turn.
                drop(reach.perception.send(PerceptionChange::Snapshot(asked)));
                let give_up_at = now().shifted(SNAPSHOT_WITHIN_NANOS);
                self.snapshots.push(Snapshot { to: reply_to, without_thumbnails, answer, give_up_at });
            }
            CommandBody::RestartSensor(sensor) => {
                let (state, what) = match reach.sources.restart(&sensor) {
                    Ok(true) => (CommandState::Done, format!("sensor {sensor} is opened again")),
                    Ok(false) if reach.sources.are_recorded() => {
                        (CommandState::Refused, "this is a replay: no sensor runs here".to_owned())
                    }
                    Ok(false) => (CommandState::Refused, format!("no sensor `{sensor}` runs here")),
                    Err(error) => (CommandState::Failed, format!("{error:#}")),
                };
                reply(publisher, reply_to, state, what, CommandResult::Nothing);
            }
            CommandBody::Record { duration_secs } => self.record(reply_to, duration_secs, &reach),
            CommandBody::Resend { from_seq, prompt } => match publisher.resend(from_seq, prompt.as_deref()) {
                Ok(resent) => {
                    let what = match (resent.messages, resent.waited) {
                        (messages, 0) => format!("{messages} messages are offered again"),
                        (messages, waited) => format!("{messages} messages come, {waited} of which waited already"),
                    };
                    let oldest_seq = resent.oldest_seq.unwrap_or(0);
                    let result = CommandResult::Resend { messages: resent.messages, oldest_seq };
                    reply(publisher, reply_to, CommandState::Done, what, result);
                }
                Err(error) => {
                    reply(publisher, reply_to, CommandState::Failed, error.to_string(), CommandResult::Nothing);
                }
            },
        }
    }

    fn record(&mut self, to: ReplyTo, duration_secs: f64, reach: &Reach<'_>) {
        if self.recording.is_some() {
            return Self::refuse(to, "a recording is being made: wait for its end".to_owned(), reach.publisher);
        }
        let path = match reach.store.next_recording(unix_now_nanos()) {
            Ok(path) => path,
            Err(what) => return Self::refuse(to, what, reach.publisher),
        };
        let (lost, duration) = (Arc::new(AtomicU64::new(0)), Duration::from_secs_f64(duration_secs));
        match start_recording(&path, duration, &lost, reach) {
            Ok(thread) => self.recording = Some(Recording { to, path, lost, thread }),
            Err(error) => {
                reply(reach.publisher, to, CommandState::Failed, format!("{error:#}"), CommandResult::Nothing);
            }
        }
    }

    fn end_recording(&mut self, publisher: &Publisher) {
        let Some(Recording { to, path, lost, thread }) = self.recording.take_if(|r| r.thread.is_finished()) else {
            return;
        };
        let file = path.display().to_string();
        let failed = match thread.join() {
            Ok(Ok(recorded)) => {
                let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
                let samples = recorded.samples.values().sum();
                let what = match lost.load(Ordering::Relaxed) {
                    0 => format!("{samples} samples in {file}"),
                    lost => format!("{lost} more were lost, for the disk is too slow: {samples} samples in {file}"),
                };
                let result = CommandResult::Record { file, samples, bytes };
                return reply(publisher, to, CommandState::Done, what, result);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_panic) => format!("the recording {file} ended by a panic"),
        };
        tracing::error!("{failed}");
        reply(publisher, to, CommandState::Failed, failed, CommandResult::Nothing);
    }

    /// Answers what has been worked on.
    pub(super) fn turn(&mut self, publisher: &Publisher) {
        self.end_recording(publisher);
        let time = now();
        self.snapshots.retain(|snapshot| match snapshot.answer.try_recv() {
            Ok(latest) => {
                let sensors = latest.into_values().map(|latest| sensor_snapshot(latest, snapshot.without_thumbnails));
                let sensors: Vec<SensorSnapshot> = sensors.collect();
                let what = format!("{} sensors have spoken", sensors.len());
                reply(publisher, snapshot.to.clone(), CommandState::Done, what, CommandResult::Snapshot(sensors));
                false
            }
            Err(TryRecvError::Empty) if time < snapshot.give_up_at => true,
            Err(_) => {
                let what = "the inference thread did not answer in time: it is overloaded or stopping".to_owned();
                reply(publisher, snapshot.to.clone(), CommandState::Failed, what, CommandResult::Nothing);
                false
            }
        });
    }

    /// Answers a command that is not taken.
    pub(super) fn refuse(to: ReplyTo, what: String, publisher: &Publisher) {
        reply(publisher, to, CommandState::Refused, what, CommandResult::Nothing);
    }
}

/// The thread that records what the windows' thread is given; a disk that is too slow costs the oldest samples, which are counted.
fn start_recording(
    path: &Path,
    duration: Duration,
    lost: &Arc<AtomicU64>,
    reach: &Reach<'_>,
) -> anyhow::Result<JoinHandle<Result<Recorded, RecordingError>>> {
    let writer = RecordingWriter::create_new(path, reach.timeline)?;
    let lost = Arc::clone(lost);
    let count = Box::new(move |_: &Sample| {
        lost.fetch_add(1, Ordering::Relaxed);
    });
    let (samples, input) = bounded(SAMPLES_WAITING, WhenFull::DropOldest, count);
    drop(reach.windows.send(WindowChange::Tap(samples)));
    let limit = RecordLimit { duration, bytes: MOST_RECORDED_BYTES };
    let record = move || recording::record(writer, &input, Some(limit));
    Ok(std::thread::Builder::new().name("record".to_owned()).spawn(record)?)
}

fn reply(publisher: &Publisher, to: ReplyTo, state: CommandState, what: String, result: CommandResult) {
    publisher.command_reply(&CommandReply { to, state, what, result }, now());
}

fn sensor_snapshot(latest: Latest, without_thumbnails: bool) -> SensorSnapshot {
    let Latest { embedded, scores, frame } = latest;
    let frame = frame.filter(|_| !without_thumbnails);
    let thumbnail = frame.map(|frame| thumbnail(&frame)).transpose().unwrap_or_else(|error| {
        tracing::debug!(sensor = %embedded.sensor, %error, "no thumbnail");
        None
    });
    SensorSnapshot {
        sensor: embedded.sensor,
        window_index: embedded.window_index,
        span: embedded.span,
        presence: embedded.presence,
        embedding: embedded.embedding,
        scores,
        thumbnail_jpeg: thumbnail.unwrap_or_default(),
    }
}

fn thumbnail(frame: &CameraFrame) -> Result<Vec<u8>, MediaError> {
    frame.to_picture()?.shrunk(THUMBNAIL_WIDTH_PX).to_jpeg(THUMBNAIL_QUALITY)
}
