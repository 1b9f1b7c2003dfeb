//! From windows to what is published: embeddings, the joint vector, events. One value on one thread; it reads the clock only to
//! time the encoders and to keep its log short.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::detect::{DetectError, Detector, Frame};
use crate::encoders::{Embedding, Encoders, EncodersError};
use crate::events::{Episodes, Event, Evidence};
use crate::media::{CameraFrame, MediaError};
use crate::modality::{Modality, SensorId};
use crate::prompts::{Prompt, PromptId};
use crate::space::{Bank, Joint, JointVector, Score};
use crate::telemetry::{DropReason, LOG_PERIOD, LogLimit, Telemetry};
use crate::time::{MonoTime, Span, Timeline, now};
use crate::windows::{Presence, Window, WindowData};

use super::plan::Tuning;
use super::threads::Turn;

/// So many lines on windows of one sensor that cannot be embedded are logged in ten minutes.
const MOST_FAILURES_LOGGED: u32 = 10;

/// What goes to subscribers.
#[derive(Clone, Debug)]
pub(super) enum Finding {
    /// A window's embedding.
    Embedding(Embedded),
    /// The senses together, at a point of the tick's grid.
    Joint(MonoTime, JointVector),
    /// A step in an event's life.
    Event(Event),
}

/// A window that was embedded; its data is gone.
#[derive(Clone, Debug)]
pub(super) struct Embedded {
    pub(super) sensor: SensorId,
    pub(super) window_index: u64,
    pub(super) span: Span,
    pub(super) presence: Presence,
    pub(super) embedding: Embedding,
}

/// Why a window gave nothing. Counted and logged; the next window is tried as if nothing had been.
#[derive(Debug, thiserror::Error)]
enum WindowError {
    #[error(transparent)]
    Media(#[from] MediaError),
    #[error(transparent)]
    Encoders(#[from] EncodersError),
    #[error(transparent)]
    Detect(#[from] DetectError),
}

/// Encoders, prompts and the state of events.
pub(super) struct Perception {
    pub(super) encoders: Encoders,
    pub(super) bank: Arc<Bank>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) detector: Detector,
    pub(super) episodes: Episodes,
    pub(super) joint: Joint,
    pub(super) telemetry: Telemetry,
    pub(super) last_time: MonoTime,
    /// Sensors that are on. Windows of the others were on their way when these were turned off, and are passed over.
    pub(super) sensors: BTreeSet<SensorId>,
    /// What each sensor gave last, for whoever asks.
    pub(super) latest: BTreeMap<SensorId, Latest>,
    /// Sensors of which a window could not be embedded, and what the log was told of them.
    pub(super) failing: BTreeMap<SensorId, Failing>,
}

/// What the log was told of windows that cannot be embedded.
#[derive(Debug)]
pub(super) struct Failing {
    why: String,
    told_at: MonoTime,
    log: LogLimit,
}

/// What a sensor gave last.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) embedded: Embedded,
    pub(super) scores: Vec<(PromptId, Score)>,
    pub(super) frame: Option<CameraFrame>,
}

/// What a running perception may be told.
pub(super) enum PerceptionChange {
    /// Encoders that were loaded beside.
    Adopt(Box<Encoders>),
    /// How scores become boxes and events, and how the senses are summed.
    Tune(Box<Tuning>),
    /// Looks for this from now on, in the place of a prompt of the same name.
    PutPrompt(Box<Prompt>),
    /// Looks for it no longer.
    DropPrompt(PromptId),
    /// The wall clock was set.
    Timeline(Timeline),
    /// The sensor is turned on, or was on: its windows count.
    HearSensor(SensorId),
    /// The sensor is turned off.
    ForgetSensor(SensorId),
    /// Tells what every sensor gave last.
    Snapshot(SyncSender<BTreeMap<SensorId, Latest>>),
}

impl Perception {
    /// Works on one turn; gives what it found, in order.
    pub(super) fn turn(&mut self, turn: Turn) -> Vec<Finding> {
        match turn {
            Turn::Tick(at) => {
                self.last_time = self.last_time.max(at);
                let events = self.episodes.advance(at).into_iter().map(Finding::Event);
                let joint = self.joint.at(at).map(|vector| Finding::Joint(at, vector));
                events.chain(joint).collect()
            }
            Turn::Window(window) if self.sensors.contains(&window.sensor) => self.window(window),
            Turn::Window(_) => Vec::new(),
        }
    }

    /// Does what it is told; gives the events that end by it.
    pub(super) fn change(&mut self, change: PerceptionChange) -> Vec<Event> {
        match change {
            PerceptionChange::Adopt(encoders) => self.encoders.adopt(*encoders),
            PerceptionChange::Tune(tuning) => {
                self.detector = Detector::new(tuning.detect);
                self.episodes.tune(tuning.events);
                self.episodes.wait_for(tuning.slow);
                self.joint.tune(tuning.joint);
            }
            PerceptionChange::PutPrompt(prompt) => {
                let ended = self.drop_prompt(&prompt.id);
                self.prompts.push(*prompt);
                self.prompts.sort_by(|a, b| a.id.cmp(&b.id));
                return ended;
            }
            PerceptionChange::DropPrompt(id) => return self.drop_prompt(&id),
            PerceptionChange::Timeline(timeline) => self.episodes.timeline_is(timeline),
            PerceptionChange::HearSensor(sensor) => drop(self.sensors.insert(sensor)),
            PerceptionChange::ForgetSensor(sensor) => {
                self.sensors.remove(&sensor);
                self.latest.remove(&sensor);
                self.failing.remove(&sensor);
                self.joint.forget(&sensor);
                return self.episodes.source_lost(&sensor, self.last_time);
            }
            // Who asked may have given up.
            PerceptionChange::Snapshot(asked) => drop(asked.try_send(self.latest.clone())),
        }
        Vec::new()
    }

    fn drop_prompt(&mut self, id: &PromptId) -> Vec<Event> {
        self.prompts.retain(|prompt| prompt.id != *id);
        for latest in self.latest.values_mut() {
            latest.scores.retain(|(prompt, _)| prompt != id);
        }
        self.episodes.prompt_removed(id, self.last_time)
    }

    /// Ends what is open.
    pub(super) fn shutdown(&mut self) -> Vec<Event> {
        self.episodes.shutdown(self.last_time)
    }

    /// What is looked for now.
    pub(super) fn prompt_names(&self) -> impl Iterator<Item = &str> {
        self.prompts.iter().map(|prompt| &*prompt.id)
    }

    /// Events that are open now.
    pub(super) fn open_events(&self) -> Vec<Event> {
        self.episodes.open_events().cloned().collect()
    }

    fn window(&mut self, window: Window) -> Vec<Finding> {
        let counters = self.telemetry.sensor(&window.sensor);
        self.last_time = self.last_time.max(window.span.end);
        let started = now();
        let looked = self.look(&window);
        let nanos = now().nanos_since(started);
        match looked {
            Ok((embedding, evidence)) => {
                counters.count_embedding(u64::try_from(nanos).unwrap_or(0));
                tracing::debug!(sensor = %window.sensor, window = window.index, micros = nanos / 1_000, "embedded");
                self.joint.push(&window.sensor, window.span.end, &embedding);
                let embedded = Embedded {
                    sensor: window.sensor.clone(),
                    window_index: window.index,
                    span: window.span,
                    presence: window.presence,
                    embedding,
                };
                self.remember(&embedded, &evidence, window.data);
                let mut findings = vec![Finding::Embedding(embedded)];
                findings.extend(evidence.iter().flat_map(|seen| self.episodes.push(seen)).map(Finding::Event));
                findings
            }
            Err(error) => {
                counters.count_drop(DropReason::Undecodable);
                self.tell_failure(&window, &error);
                Vec::new()
            }
        }
    }

    /// Each trouble of a sensor once in ten minutes, and not more than a few: a camera that shows the sky fails five times a second, and
    /// between two good pictures there may be a bad one for ever. `health` counts all.
    fn tell_failure(&mut self, window: &Window, error: &WindowError) {
        let (sensor, why, at) = (&window.sensor, error.to_string(), now());
        let begin = || Failing { why: String::new(), told_at: at, log: LogLimit::new(MOST_FAILURES_LOGGED) };
        let failing = self.failing.entry(sensor.clone()).or_insert_with(begin);
        let is_known = failing.why == why && at < failing.told_at + LOG_PERIOD;
        if is_known || !failing.log.allows(at) {
            tracing::debug!(%sensor, window = window.index, %error, "a window could not be embedded");
            return;
        }
        tracing::warn!(%sensor, window = window.index, %error, "a window cannot be embedded; more of the same are only counted");
        (failing.why, failing.told_at) = (why, at);
    }

    fn remember(&mut self, embedded: &Embedded, evidence: &[Evidence], data: WindowData) {
        let scores = evidence.iter().map(|seen| (seen.prompt.clone(), seen.score)).collect();
        let frame = if let WindowData::Image(frame) = data { Some(frame) } else { None };
        self.latest.insert(embedded.sensor.clone(), Latest { embedded: embedded.clone(), scores, frame });
    }

    fn look(&self, window: &Window) -> Result<(Embedding, Vec<Evidence>), WindowError> {
        let embedding = match &window.data {
            WindowData::Image(frame) => return self.look_at_frame(window, frame),
            WindowData::Audio(samples) => self.encoders.audio(samples)?,
            WindowData::Thermal(celsius) => self.encoders.thermal(celsius)?,
            WindowData::Depth(metres) => self.encoders.depth(metres)?,
            WindowData::Imu(rows) => self.encoders.imu(rows)?,
        };
        let evidence = self.compare(window, &embedding);
        Ok((embedding, evidence))
    }

    /// Every sense but sight: the window's own vector against every prompt that is looked for in this sense.
    fn compare(&self, window: &Window, embedding: &Embedding) -> Vec<Evidence> {
        let modality = window.data.modality();
        let wanted = self.wanted_in(modality);
        if wanted.is_empty() {
            return Vec::new();
        }
        let cohort = self.bank.cohort_scores(&embedding.vector, &made_of(&wanted));
        wanted
            .into_iter()
            .filter_map(|prompt| {
                let score = prompt.calibrations.get(&modality)?.score_beside(&cohort, &embedding.vector);
                Some(evidence(window, prompt, score))
            })
            .collect()
    }

    fn look_at_frame(&self, window: &Window, frame: &CameraFrame) -> Result<(Embedding, Vec<Evidence>), WindowError> {
        let picture = frame.to_picture()?;
        let embedding = self.encoders.image(&picture)?;
        let wanted = self.wanted_in(Modality::Image);
        if wanted.is_empty() {
            return Ok((embedding, Vec::new()));
        }
        let size_px = (picture.width, picture.height);
        let map = self.encoders.map(&picture)?;
        let frame = Frame::new(&self.bank, size_px, &map, &made_of(&wanted));
        let seen = wanted.into_iter().map(|prompt| {
            let found = self.detector.detect(&frame, prompt)?;
            let boxes =
                found.candidates.iter().filter(|b| b.score.fires()).map(|b| (b.box_in_image, b.score.calibrated));
            let boxes = boxes.collect();
            Ok(Evidence { boxes, frame_size_px: Some(size_px), ..evidence(window, prompt, found.frame) })
        });
        let seen = seen.collect::<Result<Vec<_>, WindowError>>()?;
        Ok((embedding, seen))
    }

    fn wanted_in(&self, modality: Modality) -> Vec<&Prompt> {
        self.prompts.iter().filter(|prompt| prompt.calibrations.contains_key(&modality)).collect()
    }
}

fn made_of(prompts: &[&Prompt]) -> Vec<Modality> {
    prompts.iter().map(|prompt| prompt.made_of).collect()
}

fn evidence(window: &Window, prompt: &Prompt, score: Score) -> Evidence {
    Evidence {
        prompt: prompt.id.clone(),
        sensor: window.sensor.clone(),
        modality: window.data.modality(),
        span: window.span,
        score,
        boxes: Vec::new(),
        frame_size_px: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::detect;
    use crate::events::{self, IdSource};
    use crate::space::JointSettings;

    const WINDOW_SECS: f64 = 2.0;

    /// One that hears a microphone, and looks for nothing.
    fn perception() -> Perception {
        let tiny = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny"));
        let encoders = Encoders::open(tiny, &[Modality::Audio]).unwrap();
        let timeline = Timeline { boot_id: "boot".into(), unix_nanos_at_zero: 0 };
        Perception {
            bank: Arc::new(Bank::new(encoders.bank().unwrap())),
            encoders,
            prompts: Vec::new(),
            detector: Detector::new(detect::Settings::default()),
            episodes: Episodes::new(events::Settings::default(), IdSource::replay(timeline, "x")),
            joint: Joint::new([(Modality::Audio, JointSettings { weight: 1.0, horizon_secs: 9.0 })]),
            telemetry: Telemetry::default(),
            last_time: MonoTime::default(),
            sensors: [mic()].into(),
            latest: BTreeMap::new(),
            failing: BTreeMap::new(),
        }
    }

    fn mic() -> SensorId {
        SensorId::new("mic").unwrap()
    }

    fn window(index: u64) -> Turn {
        let start = MonoTime::from_secs_f64(index as f64);
        let span = Span { start, end: MonoTime::from_secs_f64(index as f64 + WINDOW_SECS) };
        let data = WindowData::Audio((0..32_000).map(|n| (n % 50) as f32 / 50.0 - 0.5).collect());
        Turn::Window(Window { sensor: mic(), index, span, presence: Presence::default(), data })
    }

    /// Whether the joint vector and a snapshot have the sensor.
    fn knows(perception: &mut Perception, at_secs: f64) -> [bool; 2] {
        let found = perception.turn(Turn::Tick(MonoTime::from_secs_f64(at_secs)));
        let is_part = |finding: &Finding| matches!(finding, Finding::Joint(_, joint) if joint.parts[0].sensor == mic());
        let (asked, answer) = sync_channel(1);
        perception.change(PerceptionChange::Snapshot(asked));
        [found.iter().any(is_part), answer.recv().unwrap().contains_key(&mic())]
    }

    #[test]
    fn a_window_that_comes_after_its_sensor_was_turned_off_is_passed_over() {
        let mut perception = perception();
        assert_eq!((perception.turn(window(0)).len(), knows(&mut perception, 2.0)), (1, [true; 2]));
        perception.change(PerceptionChange::ForgetSensor(mic()));
        assert_eq!(knows(&mut perception, 2.5), [false; 2]);
        assert_eq!((perception.turn(window(1)).len(), knows(&mut perception, 3.0)), (0, [false; 2]));
        perception.change(PerceptionChange::HearSensor(mic()));
        assert_eq!((perception.turn(window(2)).len(), knows(&mut perception, 4.0)), (1, [true; 2]));
    }
}
