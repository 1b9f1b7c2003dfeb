//! A replay without a broker: the daemon's own windows, encoders and events on a recording's time, into a file.
//!
//! Every pipe blocks and time is the recording's, so that the same recording, pack and prompts give the same bytes at any speed.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, bail};

use super::boot::Boot;
use super::build::Senses;
use super::inference::joint_reading;
use super::perception::Finding;
use super::{Named, StopSignals, pipes, spawn};
use crate::config::{Settings, SourceSettings};
use crate::encoders::SpaceId;
use crate::events::{Event, Phase};
use crate::files::create_new_or_open_pipe;
use crate::modality::SensorId;
use crate::pipe::{Received, Sender};
use crate::publish::{Said, Transcript};
use crate::recording::{self, AnnotatedWriter, LabelledBox, Recording, RecordingError, Speed, Tally};
use crate::sensors::Sample;
use crate::stdout::Stdout;
use crate::telemetry::SensorReading;
use crate::time::{MonoTime, NANOS_PER_SEC};

/// Where findings go.
pub enum Output {
    /// JSON lines, as a subscriber would hear them.
    Lines {
        /// The file, made when the replay begins; it must not be there, or be a pipe. Stdout without one.
        to: Option<PathBuf>,
        /// Leaves out vectors.
        events_only: bool,
    },
    /// A copy of the recording with annotations, vectors and events beside.
    Mcap(PathBuf),
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// From the first arrival to the last instant that was worked on, in seconds.
    pub secs: f64,
    /// Events that began.
    pub events: usize,
    /// Counters of every sensor.
    pub sensors: Vec<(SensorId, SensorReading)>,
    /// Whether it was stopped before the end.
    pub is_stopped: bool,
    /// Where the recording is damaged; what came before was worked on.
    pub damage: Option<String>,
    /// What came of the messages of every sensor of the recording.
    pub tallies: BTreeMap<SensorId, Tally>,
}

/// Replays the recording of `settings` once, until its end or until `stop` is set or a signal comes.
///
/// # Errors
/// What kept it from starting, or `output` cannot be written.
pub fn replay(settings: &Settings, output: Output, stop: &Arc<AtomicBool>) -> anyhow::Result<Replayed> {
    let SourceSettings::Replay(source) = &settings.source else { bail!("there is no recording to replay") };
    let mut senses = Senses::build(&mut Boot::for_answer(settings))?;
    // Until here nothing is written or begun, and a signal ends the process at once: reading a long recording through takes its time.
    let _signals = StopSignals::in_background(stop)?;
    let recording = Arc::new(senses.recording.take().context("there is no recording to replay")?);
    let arrivals = recording.arrivals();
    let sink = Sink::open(output, &recording, settings)?;
    let mut notes = Notes { transcript: Transcript::new(recording.timeline()), sink, events: 0 };
    let (sample_in, sample_out) = pipes::samples(true, &senses.telemetry);
    let (turn_in, turn_out) = pipes::turns(true, &senses.telemetry);
    let windows = senses.windows;
    // Nobody changes anything on the way.
    let (_, changes) = pipes::changes();
    let windows = spawn("windows", move || windows.run(&sample_out, &turn_in, &changes))?;
    let player = Player::start(recording, source.speed, sample_in, stop)?;
    let mut perception = senses.perception;
    let space = perception.encoders.space().clone();
    loop {
        match turn_out.recv(super::SUPERVISE_EVERY) {
            Received::Item(turn) => {
                let findings = perception.turn(turn);
                notes.take(findings, &space, senses.joint_hop_nanos)?;
            }
            Received::TimedOut => {}
            Received::Closed => break,
        }
    }
    let last = perception.shutdown().into_iter().map(Finding::Event).collect();
    notes.take(last, &space, senses.joint_hop_nanos)?;
    windows.join()?;
    let (tallies, ended) = player.end()?;
    notes.sink.finish()?;
    Ok(Replayed {
        secs: perception.last_time.min(arrivals.end).nanos_since(arrivals.start).max(0) as f64 / NANOS_PER_SEC as f64,
        events: notes.events,
        sensors: senses.telemetry.read(),
        is_stopped: matches!(ended, Ok(recording::Replayed::Stopped)),
        damage: ended.err().map(|error| error.to_string()),
        tallies,
    })
}

/// What came of every sensor's messages, and how the replay ended.
type Played = (BTreeMap<SensorId, Tally>, Result<recording::Replayed, RecordingError>);

/// The thread that sends the samples.
struct Player {
    thread: Named,
    ended: std::sync::mpsc::Receiver<Played>,
}

impl Player {
    fn start(
        recording: Arc<Recording>,
        speed: Speed,
        output: Sender<Sample>,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let (tell, ended) = std::sync::mpsc::sync_channel(1);
        let stop = Arc::clone(stop);
        let play = move || {
            let result = recording::replay_once(&recording, speed, &output, &stop);
            // Whoever asked is gone only when it failed itself.
            drop(tell.send(result));
        };
        Ok(Self { thread: spawn("replay", play)?, ended })
    }

    fn end(self) -> anyhow::Result<Played> {
        self.thread.join()?;
        self.ended.recv().context("the replay ended without a word")
    }
}

/// Findings as a subscriber would hear them, and what is counted of them.
struct Notes {
    transcript: Transcript,
    sink: Sink,
    events: usize,
}

impl Notes {
    fn take(&mut self, findings: Vec<Finding>, space: &SpaceId, joint_hop_nanos: i64) -> anyhow::Result<()> {
        for finding in findings {
            match finding {
                Finding::Embedding(embedded) => {
                    let said = self.transcript.embedding(&embedded.reading());
                    self.sink.vector(&said, embedded.span.end)?;
                }
                Finding::Joint(at, joint) => {
                    let said = self.transcript.joint(&joint_reading(at, &joint, space, joint_hop_nanos));
                    self.sink.vector(&said, at)?;
                }
                Finding::Event(event) => {
                    self.events += usize::from(event.phase == Phase::New);
                    let said = self.transcript.event(&event);
                    self.sink.event(&said, event)?;
                }
            }
        }
        Ok(())
    }
}

enum Sink {
    Lines { to: Box<dyn Write>, events_only: bool },
    Mcap(Box<Annotations>),
}

impl Sink {
    fn open(output: Output, recording: &Recording, settings: &Settings) -> anyhow::Result<Self> {
        Ok(match output {
            Output::Lines { to, events_only } => Self::Lines { to: lines(to)?, events_only },
            Output::Mcap(path) => Self::Mcap(Box::new(Annotations {
                file: AnnotatedWriter::copy_of(recording, &path)?,
                colours: settings.prompts.iter().map(|prompt| prompt.id.to_string()).collect(),
                open: BTreeMap::new(),
            })),
        })
    }

    fn vector(&mut self, said: &Said, at: MonoTime) -> anyhow::Result<()> {
        match self {
            Self::Lines { events_only: true, .. } => Ok(()),
            Self::Lines { to, .. } => write_line(to, said),
            Self::Mcap(annotations) => annotations.message(said, at),
        }
    }

    fn event(&mut self, said: &Said, event: Event) -> anyhow::Result<()> {
        match self {
            Self::Lines { to, .. } => write_line(to, said),
            Self::Mcap(annotations) => annotations.event(said, event),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Lines { mut to, .. } => to.flush().context("cannot write"),
            Self::Mcap(annotations) => Ok(annotations.file.finish()?),
        }
    }
}

fn lines(to: Option<PathBuf>) -> anyhow::Result<Box<dyn Write>> {
    let Some(path) = to else { return Ok(Box::new(BufWriter::new(Stdout::of_this_process()))) };
    let file = create_new_or_open_pipe(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

fn write_line(to: &mut impl Write, said: &Said) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *to, &said.heard()).map_err(io::Error::from).context("cannot write")?;
    to.write_all(b"\n").context("cannot write")
}

/// What is drawn: the boxes of all open events, anew with every message of one.
struct Annotations {
    file: AnnotatedWriter,
    colours: Vec<String>,
    open: BTreeMap<(SensorId, String), Event>,
}

impl Annotations {
    fn message(&mut self, said: &Said, at: MonoTime) -> anyhow::Result<()> {
        Ok(self.file.message(&format!("/perceptd/{}", said.topic), said.message(), at, &said.payload)?)
    }

    fn event(&mut self, said: &Said, event: Event) -> anyhow::Result<()> {
        let (sensor, at, has_places) = (event.sensor.clone(), event.last_support, event.frame_size_px.is_some());
        self.message(said, at)?;
        let key = (sensor.clone(), event.id.to_string());
        match event.phase {
            Phase::End(_) => drop(self.open.remove(&key)),
            Phase::New | Phase::Update => drop(self.open.insert(key, event)),
        }
        if !has_places {
            return Ok(());
        }
        let boxes: Vec<LabelledBox> =
            self.open.values().filter(|open| open.sensor == sensor).flat_map(|open| self.boxes(open)).collect();
        Ok(self.file.annotate(&sensor, at, &boxes)?)
    }

    fn boxes(&self, event: &Event) -> impl Iterator<Item = LabelledBox> {
        let colour = self.colours.iter().position(|id| **id == *event.prompt).unwrap_or(0);
        event.boxes.iter().map(move |(box_in_image, score)| LabelledBox {
            box_in_image: *box_in_image,
            label: format!("{} {score:.2}", event.prompt),
            colour,
        })
    }
}
