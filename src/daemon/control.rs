//! What topics ask for, done: the driver of [`Transaction`] and [`PromptBook`], turned by the supervisor.
//!
//! A turn waits for nothing but messages: what takes time is made ready on a thread of its own, and what runs is told through pipes.

mod prompts;
mod refusals;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::boot::{Boot, faults};
use super::commands::{Commands, Reach};
use super::perception::PerceptionChange;
use super::plan::{Ground, Plan, sensors_of};
use super::prepare::{Job, Ready};
use super::prompt_book::{PromptBook, PromptStep};
use super::sources::Sources;
use super::threads::WindowChange;
use super::transaction::{Step, Transaction};
use crate::config::{ConfigFile, LogLevel, Overlay, Settings, prompt_problems};
use crate::encoders::Encoders;
use crate::modality::{Modality, SensorId};
use crate::pipe::{Received, Receiver, Sender};
use crate::publish::{About, Arrivals, Asked, ConfigReport, Inbox, Publisher, RefusalReason, Refused, subscriptions};
use crate::store::{Fault, RemoteError, RemoteStore};
use crate::telemetry::{SensorState, Telemetry};
use crate::time::{MonoTime, NANOS_PER_SEC, now, unix_now_nanos};
use crate::windows::Windower;
use refusals::Refusals;

/// Messages that one turn takes: the supervisor has other work too.
const MESSAGES_PER_TURN: usize = 64;
/// A start that lasted so long went well.
const GOOD_START_NANOS: i64 = 60 * NANOS_PER_SEC;

/// What lets perceptd be told by topic.
pub struct Remote {
    /// The config file that it was started with.
    pub file: ConfigFile,
    /// Changes how much is logged.
    pub set_log: Box<dyn Fn(LogLevel) + Send>,
    /// perceptd itself, which embeds prompts as `perceptd embedder`.
    pub program: PathBuf,
}

/// Ends of the pipes that the control holds.
pub(super) struct ControlPipes {
    pub(super) arrivals: Arrivals,
    pub(super) jobs: Sender<Job>,
    pub(super) ready: Receiver<Ready>,
    pub(super) windows: Sender<WindowChange>,
    pub(super) perception: Sender<PerceptionChange>,
}

/// A config that is made ready.
struct Candidate {
    settings: Settings,
    plan: Plan,
    encoders: Option<Box<Encoders>>,
}

/// A change that is in force and may yet go.
struct Trying {
    before: Settings,
    /// Sensors that must deliver, or the change goes.
    must_deliver: Vec<SensorId>,
}

/// Does what topics ask for.
pub(super) struct Control {
    remote: Remote,
    store: RemoteStore,
    settings: Settings,
    ground: Ground,
    loaded: BTreeSet<Modality>,
    transaction: Transaction,
    book: PromptBook,
    inbox: Inbox,
    commands: Commands,
    pipes: ControlPipes,
    publisher: Publisher,
    telemetry: Telemetry,
    candidate: Option<Candidate>,
    trying: Option<Trying>,
    started_at: MonoTime,
    start_was_good: bool,
    /// Whether the ledger is one to which perceptd fell back, which is not saved yet.
    is_fallback: bool,
    refusals: Refusals,
}

impl Control {
    pub(super) fn new(
        remote: Remote,
        store: RemoteStore,
        boot: Boot,
        ground: Ground,
        pipes: ControlPipes,
        publisher: Publisher,
        telemetry: Telemetry,
    ) -> Self {
        let watch_nanos = watch_nanos(&boot.settings);
        let loaded = sensors_of(&boot.settings, &ground.recorded).into_iter().map(|(_, sense)| sense).collect();
        let mut control = Self {
            inbox: Inbox::new(&publisher.root()),
            commands: Commands::new(boot.settings.remote.max_commands),
            transaction: Transaction::new(boot.ledger, watch_nanos),
            remote,
            store,
            settings: boot.settings,
            ground,
            loaded,
            book: boot.book,
            pipes,
            publisher,
            telemetry,
            candidate: None,
            trying: None,
            started_at: now(),
            start_was_good: false,
            is_fallback: boot.is_fallback,
            refusals: Refusals::default(),
        };
        control.publisher.listens();
        control.report_config();
        let reports: Vec<_> = control.book.reports().cloned().collect();
        control.prompt_steps(reports.into_iter().map(PromptStep::Report).collect());
        control
    }

    /// What arrived, at the latest after `wait`, what was made ready, and how what is tried gets on.
    pub(super) fn turn(&mut self, sources: &mut Sources, wait: Duration) {
        for taken in 0..MESSAGES_PER_TURN {
            let wait = if taken == 0 { wait } else { Duration::ZERO };
            let arrived = match self.pipes.arrivals.recv(wait) {
                Received::Item(arrived) => arrived,
                Received::TimedOut => break,
                // Nothing will ever come: waiting is all that is left to do.
                Received::Closed => {
                    std::thread::park_timeout(wait);
                    break;
                }
            };
            match self.inbox.push(arrived, unix_now_nanos()) {
                Ok(Some(asked)) => self.take(asked, sources),
                Ok(None) => {}
                Err(refused) => self.refuse(refused),
            }
        }
        while let Received::Item(ready) = self.pipes.ready.recv(Duration::ZERO) {
            self.take_ready(ready, sources);
        }
        if self.transaction.is_watching() {
            let steps = self.transaction.looked(now(), self.troubles());
            self.config_steps(steps, sources);
        }
        if let Some(wish) = self.transaction.next_waiting() {
            self.take(Asked::Config(wish), sources);
        }
        self.commands.turn(&self.publisher);
        self.refusals.tell(now());
        if !self.start_was_good && now().nanos_since(self.started_at) > GOOD_START_NANOS {
            self.end_well();
        }
    }

    /// perceptd stops because it was told to, or has run for long: it did not die of its config.
    pub(super) fn end_well(&mut self) {
        if std::mem::replace(&mut self.start_was_good, true) {
            return;
        }
        if self.is_fallback
            && let Err(error) = self.save_config()
        {
            tracing::warn!("{error}");
        }
        self.store.forget_starts();
    }

    /// Saves the ledger. Once one to which perceptd fell back is saved, starts are counted anew, with it.
    fn save_config(&mut self) -> Result<(), RemoteError> {
        self.store.save_config(self.transaction.ledger())?;
        if std::mem::take(&mut self.is_fallback) {
            self.store.forget_starts();
        }
        Ok(())
    }

    fn take(&mut self, asked: Asked, sources: &mut Sources) {
        match asked {
            Asked::Config(wish) => {
                let (file, winner) = (&self.remote.file, self.settings.remote.winner);
                let (ground, now) = (&self.ground, &self.settings);
                let candidate = &mut self.candidate;
                let steps = self.transaction.wish(wish, |changes| {
                    let settings = file.settings_with(changes, winner).map_err(faults)?;
                    let plan = ground.plan(now, &settings)?;
                    *candidate = Some(Candidate { settings, plan, encoders: None });
                    Ok(())
                });
                self.config_steps(steps, sources);
            }
            Asked::Prompt(wish) => {
                let settings = &self.settings;
                let steps = self.book.wish(wish, |prompt| faults(prompt_problems(prompt, settings)));
                self.prompt_steps(steps);
            }
            Asked::Command(command) => {
                let reach = Reach {
                    publisher: &self.publisher,
                    perception: &self.pipes.perception,
                    windows: &self.pipes.windows,
                    sources,
                    store: &self.store,
                    timeline: &self.ground.timeline,
                };
                self.commands.take(command, reach);
            }
        }
    }

    fn refuse(&mut self, refused: Refused) {
        self.publisher.count_refusal(refused.reason);
        if self.refusals.is_new(&refused) {
            tracing::warn!(reason = refused.reason.name(), "a message is refused: {}", refused.what);
        }
        match refused.about {
            About::Config if refused.reason != RefusalReason::Poison => {
                drop(self.transaction.unreadable(refused.what));
                self.report_config();
            }
            About::Prompt(id) => {
                let steps = self.book.unreadable(&id, refused.what);
                self.prompt_steps(steps);
            }
            About::Command(Some(to)) => Commands::refuse(to, refused.what, &self.publisher),
            About::Config | About::Command(None) | About::Nothing => {}
        }
    }

    fn take_ready(&mut self, ready: Ready, sources: &mut Sources) {
        match ready {
            Ready::Encoders(outcome) => {
                let outcome = outcome.map_err(|what| vec![Fault::whole(what)]).map(|encoders| {
                    if let Some(candidate) = &mut self.candidate {
                        candidate.encoders = Some(encoders);
                    }
                });
                let steps = self.transaction.prepared(outcome);
                self.config_steps(steps, sources);
            }
            Ready::Prompt(settings, digest, outcome) => self.prompt_ready(&settings.id, &digest, outcome),
        }
    }

    fn config_steps(&mut self, steps: Vec<Step>, sources: &mut Sources) {
        for step in steps {
            let next = match step {
                Step::Prepare(_) => self.prepare(),
                Step::Swap => {
                    let outcome = self.swap(sources).map_err(|error| vec![Fault::whole(format!("{error:#}"))]);
                    self.transaction.swapped(now(), outcome)
                }
                Step::Undo => self.undo(sources),
                Step::Commit => {
                    let saved = self.save_config().map_err(|error| error.to_string());
                    if saved.is_ok() {
                        self.trying = None;
                    }
                    self.transaction.committed(saved)
                }
                Step::Remember => {
                    if let Err(error) = self.save_config() {
                        tracing::warn!("{error}");
                    }
                    Vec::new()
                }
                Step::Report => {
                    self.report_config();
                    Vec::new()
                }
            };
            self.config_steps(next, sources);
        }
    }

    /// Encoders that nobody needed until now are loaded beside; everything else is ready at once.
    fn prepare(&mut self) -> Vec<Step> {
        let Some(candidate) = &self.candidate else { return Vec::new() };
        let missing: BTreeSet<Modality> =
            candidate.plan.start.iter().map(|s| s.driver.modality()).filter(|m| !self.loaded.contains(m)).collect();
        if missing.is_empty() {
            return self.transaction.prepared(Ok(()));
        }
        match self.pipes.jobs.send(Job::Encoders(missing.into_iter().collect())) {
            Ok(()) => Vec::new(),
            Err(_closed) => self.transaction.prepared(Err(vec![Fault::whole("perceptd is stopping")])),
        }
    }

    fn swap(&mut self, sources: &mut Sources) -> anyhow::Result<()> {
        let Some(candidate) = self.candidate.take() else { return Ok(()) };
        let before = std::mem::replace(&mut self.settings, candidate.settings);
        let had = sensors_of(&before, &self.ground.recorded);
        let delivered = |id: &SensorId| self.telemetry.sensor(id).read().state == SensorState::Ok;
        let must_deliver = candidate.plan.start.iter().map(|sensor| sensor.id.clone());
        // What was not there before need not be there now; what is turned on must work.
        let must_deliver =
            must_deliver.filter(|id| delivered(id) || !had.iter().any(|(known, _)| known == id)).collect();
        self.trying = Some(Trying { before, must_deliver });
        if let Some(encoders) = candidate.encoders {
            self.tell_perception(PerceptionChange::Adopt(encoders));
            self.loaded.extend(candidate.plan.start.iter().map(|sensor| sensor.driver.modality()));
        }
        self.apply(candidate.plan, sources)
    }

    fn undo(&mut self, sources: &mut Sources) -> Vec<Step> {
        let Some(Trying { before, .. }) = self.trying.take() else { return Vec::new() };
        let back = self.ground.plan(&self.settings, &before);
        self.settings = before;
        let undone = match back {
            Ok(plan) => self.apply(plan, sources),
            Err(faults) => Err(anyhow::anyhow!("{faults:?}")),
        };
        if let Err(error) = undone {
            tracing::error!("a config could not be rolled back whole: {error:#}");
        }
        Vec::new()
    }

    /// Tells each part what changes for it, and no other.
    fn apply(&mut self, plan: Plan, sources: &mut Sources) -> anyhow::Result<()> {
        for sensor in plan.stop {
            sources.stop(&sensor);
            self.tell_windows(WindowChange::Remove(sensor.clone()));
            self.tell_perception(PerceptionChange::ForgetSensor(sensor));
        }
        for cut in plan.cut {
            let sensor = cut.sensor.clone();
            self.tell_windows(WindowChange::Put(sensor, Windower::new(cut)?));
        }
        if let Some(tuning) = plan.tuning {
            self.tell_windows(WindowChange::Tick(tuning.joint_hop_nanos));
            self.tell_perception(PerceptionChange::Tune(Box::new(tuning)));
        }
        for sensor in plan.start {
            sources.start(sensor)?;
        }
        if let Some(level) = plan.log {
            (self.remote.set_log)(level);
        }
        self.transaction.watch_for(watch_nanos(&self.settings));
        self.commands.allow(self.settings.remote.max_commands);
        self.publisher.sensors(sensors_of(&self.settings, &self.ground.recorded), now());
        Ok(())
    }

    /// What is wrong with the config that is being tried.
    fn troubles(&self) -> Vec<Fault> {
        let must_deliver = self.trying.iter().flat_map(|trying| &trying.must_deliver);
        let silent = must_deliver.filter_map(|id| {
            let state = self.telemetry.sensor(id).read().state;
            let what = match &state {
                SensorState::Ok => return None,
                SensorState::Starting => "it has not given any data",
                other => other.reason(),
            };
            Some(Fault { key: format!("sensors.{id}"), what: what.to_owned() })
        });
        silent.collect()
    }

    fn report_config(&self) {
        let ledger = self.transaction.ledger();
        let changes = Overlay::parse(&ledger.changes).unwrap_or_default();
        self.publisher.config_reported(&ConfigReport {
            at: now(),
            ledger,
            faults: &self.transaction.faults(),
            in_force_json: &self.remote.file.json_with(&changes),
            file: &self.remote.file.path().display().to_string(),
        });
    }

    // A pipe whose other end is gone belongs to a pipeline that ends.
    fn tell_windows(&self, change: WindowChange) {
        drop(self.pipes.windows.send(change));
    }

    fn tell_perception(&self, change: PerceptionChange) {
        drop(self.pipes.perception.send(change));
    }
}

fn watch_nanos(settings: &Settings) -> i64 {
    (settings.remote.watch_secs * NANOS_PER_SEC as f64) as i64
}

/// What perceptd listens to.
pub(super) fn listened(publisher: &Publisher) -> Vec<crate::publish::Subscription> {
    subscriptions(&publisher.root())
}
