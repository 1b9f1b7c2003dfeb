//! The life of every event: idle → candidate → active → ended.

use std::collections::{BTreeMap, VecDeque};

use super::{EndReason, Event, Evidence, IdSource, Phase, Settings};
use crate::geometry::PixelBox;
use crate::modality::SensorId;
use crate::prompts::PromptId;
use crate::time::{MonoTime, NANOS_PER_SEC, Timeline};

/// Turns evidence, window by window, into events, one at a time for each prompt and sensor.
#[derive(Debug)]
pub struct Episodes {
    settings: Settings,
    /// After how long these sensors count as lost, in seconds; the others after the settings' `stale_secs`.
    slow: BTreeMap<SensorId, f64>,
    ids: IdSource,
    /// Ordered, so that a replay ends events in the same order.
    tracks: BTreeMap<(PromptId, SensorId), Track>,
}

/// What one prompt did at one sensor.
#[derive(Debug)]
struct Track {
    /// Calibrated scores of the last windows, oldest first.
    recent: VecDeque<f32>,
    last_end: MonoTime,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle { not_before: MonoTime },
    Candidate(Box<Episode>),
    Active(Box<Episode>),
}

/// What may become an event, and then is one. A candidate gathers what `new` will say.
#[derive(Debug)]
struct Episode {
    event: Event,
    /// End of the first firing window.
    since: MonoTime,
    quiet_since: Option<MonoTime>,
    told_at: MonoTime,
    told_box: Option<PixelBox>,
}

const FOREVER_AGO: MonoTime = MonoTime::from_nanos(i64::MIN);

impl Episodes {
    /// Nothing is going on yet.
    #[must_use]
    pub const fn new(settings: Settings, ids: IdSource) -> Self {
        Self { settings, slow: BTreeMap::new(), ids, tracks: BTreeMap::new() }
    }

    /// These sensors alone give windows too seldom for `stale_secs` ([`Settings::stale_secs_at`]): without any for so many seconds each
    /// counts as lost.
    pub fn wait_for(&mut self, slow: BTreeMap<SensorId, f64>) {
        self.slow = slow;
    }

    /// The wall clock was set: the ids of later events go by it.
    pub fn timeline_is(&mut self, timeline: Timeline) {
        self.ids.timeline_is(timeline);
    }

    /// Goes by other settings from now on; what is open stays open.
    pub const fn tune(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes what one window said about one prompt. Windows that come again or out of order are passed over: by their end, for a window's
    /// place on its sensor's grid means another time as soon as the hop is another.
    pub fn push(&mut self, evidence: &Evidence) -> Vec<Event> {
        let stale_secs = self.slow.get(&evidence.sensor).copied().unwrap_or(self.settings.stale_secs);
        let key = (evidence.prompt.clone(), evidence.sensor.clone());
        let track = self.tracks.entry(key).or_insert_with(|| Track {
            recent: VecDeque::new(),
            last_end: FOREVER_AGO,
            state: State::Idle { not_before: FOREVER_AGO },
        });
        if evidence.span.end <= track.last_end {
            return Vec::new();
        }
        track.remember(evidence, stale_secs, self.settings.median_windows);
        track.step(evidence, &self.settings, &mut self.ids).into_iter().collect()
    }

    /// Lets time pass: ends what lasted too long, and what no window has spoken of for so long that its sensor counts as lost.
    pub fn advance(&mut self, now: MonoTime) -> Vec<Event> {
        let Settings { stale_secs, max_len_secs, .. } = self.settings;
        let mut ended = Vec::new();
        for ((_, sensor), track) in &mut self.tracks {
            if secs_between(track.last_end, now) >= self.slow.get(sensor).copied().unwrap_or(stale_secs) {
                ended.extend(track.close(EndReason::SourceLost, FOREVER_AGO));
            } else if matches!(&track.state, State::Active(active) if secs_between(active.since, now) >= max_len_secs) {
                ended.extend(track.close(EndReason::Timeout, FOREVER_AGO));
            }
        }
        ended
    }

    /// The sensor stopped: its events end.
    pub fn source_lost(&mut self, sensor: &SensorId, _at: MonoTime) -> Vec<Event> {
        self.end_where(EndReason::SourceLost, |_, of| of == sensor)
    }

    /// The prompt was taken away or changed: its events end.
    pub fn prompt_removed(&mut self, prompt: &str, _at: MonoTime) -> Vec<Event> {
        self.end_where(EndReason::PromptRemoved, |of, _| &**of == prompt)
    }

    /// perceptd stops: every event ends.
    pub fn shutdown(&mut self, _at: MonoTime) -> Vec<Event> {
        self.end_where(EndReason::Shutdown, |_, _| true)
    }

    /// Events that are going on, in order of prompt and sensor.
    pub fn open_events(&self) -> impl Iterator<Item = &Event> {
        self.tracks.values().filter_map(|track| match &track.state {
            State::Active(active) => Some(&active.event),
            _ => None,
        })
    }

    fn end_where(&mut self, reason: EndReason, which: impl Fn(&PromptId, &SensorId) -> bool) -> Vec<Event> {
        let gone = self.tracks.extract_if(.., |(prompt, sensor), _| which(prompt, sensor));
        gone.filter_map(|(_, mut track)| track.close(reason, FOREVER_AGO)).collect()
    }
}

impl Track {
    fn remember(&mut self, evidence: &Evidence, stale_secs: f64, median_windows: usize) {
        if secs_between(self.last_end, evidence.span.end) >= stale_secs {
            self.recent.clear();
        }
        self.last_end = evidence.span.end;
        self.recent.push_back(evidence.score.calibrated);
        while self.recent.len() > median_windows.max(1) {
            self.recent.pop_front();
        }
    }

    fn step(&mut self, evidence: &Evidence, settings: &Settings, ids: &mut IdSource) -> Option<Event> {
        let (enter, at) = (evidence.score.threshold, evidence.span.end);
        let median = self.median(settings.median_windows);
        let is_over = self.recent.iter().all(|score| *score < enter);
        match &mut self.state {
            State::Active(_) => return self.step_active(evidence, median, settings),
            State::Candidate(_) if is_over => self.state = State::Idle { not_before: FOREVER_AGO },
            State::Candidate(candidate) => candidate.take(evidence, settings.exit_threshold(enter)),
            State::Idle { not_before } if evidence.score.fires() && at >= *not_before => {
                self.state = State::Candidate(Box::new(Episode::begin(evidence)));
            }
            State::Idle { .. } => {}
        }
        match std::mem::replace(&mut self.state, State::Idle { not_before: FOREVER_AGO }) {
            State::Candidate(mut episode)
                if median >= enter && secs_between(episode.since, at) >= settings.min_on_secs =>
            {
                let id = ids.id(&evidence.prompt, &evidence.sensor, episode.event.onset);
                let event = episode.open(id, at);
                self.state = State::Active(episode);
                Some(event)
            }
            goes_on => {
                self.state = goes_on;
                None
            }
        }
    }

    fn step_active(&mut self, evidence: &Evidence, median: f32, settings: &Settings) -> Option<Event> {
        let State::Active(active) = &mut self.state else { return None };
        let at = evidence.span.end;
        let exit = settings.exit_threshold(evidence.score.threshold);
        active.take(evidence, exit);
        if median >= exit {
            active.quiet_since = None;
        } else if secs_between(*active.quiet_since.get_or_insert(at), at) >= settings.min_off_secs {
            return self.close(EndReason::Quiet, at.shifted(nanos(settings.cooldown_secs)));
        }
        if secs_between(active.since, at) >= settings.max_len_secs {
            return self.close(EndReason::Timeout, FOREVER_AGO);
        }
        active.update_due(at, settings).then(|| active.tell(Phase::Update, at))
    }

    /// Ends what is going on; a candidate is forgotten. After a timeout what goes on may open the next event at once.
    fn close(&mut self, reason: EndReason, not_before: MonoTime) -> Option<Event> {
        let state = std::mem::replace(&mut self.state, State::Idle { not_before });
        match state {
            State::Active(mut active) => Some(active.tell(Phase::End(reason), self.last_end)),
            State::Idle { not_before } => {
                self.state = State::Idle { not_before };
                None
            }
            State::Candidate(_) => None,
        }
    }

    /// Median of the last `windows` scores; windows that are not there yet count as silent.
    fn median(&self, windows: usize) -> f32 {
        let mut sorted: Vec<f32> = self.recent.iter().copied().collect();
        sorted.resize(windows.max(1), 0.0);
        sorted.sort_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
}

impl Episode {
    fn begin(evidence: &Evidence) -> Self {
        let event = Event {
            id: uuid::Uuid::nil(),
            revision: 0,
            phase: Phase::New,
            prompt: evidence.prompt.clone(),
            sensor: evidence.sensor.clone(),
            modality: evidence.modality,
            onset: evidence.span.start,
            last_support: evidence.span.end,
            score: evidence.score,
            best: evidence.score,
            boxes: evidence.boxes.clone(),
            frame_size_px: evidence.frame_size_px,
        };
        let since = evidence.span.end;
        Self { event, since, quiet_since: None, told_at: since, told_box: None }
    }

    fn open(&mut self, id: uuid::Uuid, at: MonoTime) -> Event {
        self.event.id = id;
        self.tell(Phase::New, at)
    }

    /// The window's evidence into the event's state.
    fn take(&mut self, evidence: &Evidence, exit: f32) {
        let event = &mut self.event;
        event.score = evidence.score;
        if evidence.score.worst_first(&event.best).is_gt() {
            event.best = evidence.score;
        }
        if evidence.score.calibrated >= exit {
            event.last_support = evidence.span.end;
        }
        if !evidence.boxes.is_empty() {
            event.boxes.clone_from(&evidence.boxes);
            event.frame_size_px = evidence.frame_size_px;
        }
    }

    fn update_due(&self, at: MonoTime, settings: &Settings) -> bool {
        let moved = match (self.told_box, first_box(&self.event)) {
            (Some(told), Some(now)) => told.iou(&now) < settings.moved_iou,
            (None, Some(_)) => true,
            _ => false,
        };
        moved || secs_between(self.told_at, at) >= settings.update_secs
    }

    fn tell(&mut self, phase: Phase, at: MonoTime) -> Event {
        self.event.revision += 1;
        self.event.phase = phase;
        self.told_at = at;
        self.told_box = first_box(&self.event);
        self.event.clone()
    }
}

fn first_box(event: &Event) -> Option<PixelBox> {
    event.boxes.first().map(|(place, _)| *place)
}

fn secs_between(earlier: MonoTime, later: MonoTime) -> f64 {
    later.nanos_since(earlier) as f64 / NANOS_PER_SEC as f64
}

fn nanos(secs: f64) -> i64 {
    (secs * NANOS_PER_SEC as f64) as i64
}
