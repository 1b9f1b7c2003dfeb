//! What topics ask for, done: the driver of [`Transaction`] and [`PromptBook`], turned by the supervisor.
//!
//! A turn waits for nothing but messages: what takes time is made ready on a thread of its own, and what runs is told through pipes.

mod answers;
mod configs;
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
use super::transaction::Transaction;
use crate::config::{ConfigFile, LogLevel, Settings, prompt_problems};
use crate::encoders::Encoders;
use crate::modality::{Modality, SensorId};
use crate::pipe::{Received, Receiver, Sender};
use crate::publish::{About, Arrivals, Arrived, Asked, Inbox, Publisher, Refused, subscriptions};
use crate::store::{Fault, RemoteStore};
use crate::telemetry::Telemetry;
use crate::time::{MonoTime, NANOS_PER_SEC, Timeline, now, unix_now_nanos};
use answers::Answers;
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
    answers: Answers,
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
        let mut inbox = Inbox::new(&publisher.root());
        inbox.remember(store.commands_taken(unix_now_nanos()));
        let mut control = Self {
            inbox,
            answers: Answers::new(&boot.ledger, boot.book.reports()),
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
        control.publisher.listens(control.settings.state_folder().is_some());
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
            for before in self.pipes.arrivals.replaced(&arrived.topic) {
                if before.payload != arrived.payload {
                    self.tell_replaced(before, sources);
                }
            }
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
        self.answers.tell(now());
        if !self.start_was_good && now().nanos_since(self.started_at) > GOOD_START_NANOS {
            self.end_well();
        }
    }

    /// The wall clock was set: recordings are told by it from now on.
    pub(super) fn timeline_is(&mut self, timeline: Timeline) {
        self.ground.timeline = timeline;
    }

    /// perceptd stops in order: neither what it started with nor what it is trying is to blame. The next start tries the latter anew.
    pub(super) fn stopped(mut self) {
        self.end_well();
        if !self.transaction.stopped().is_empty()
            && let Err(error) = self.save_config()
        {
            tracing::warn!("{error}");
        }
        // First the pipes: what the preparing thread takes up from then on it gives up by itself.
        drop(self.pipes);
        for (id, _) in self.store.unfinished_prompt_trials() {
            self.store.end_prompt_trial(&id);
        }
    }

    /// perceptd has run for long, or stops because it was told to: it did not die of its config.
    fn end_well(&mut self) {
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

    fn take(&mut self, asked: Asked, sources: &mut Sources) {
        match asked {
            Asked::Config(wish) => {
                let (file, winner) = (&self.remote.file, self.settings.remote.winner);
                let (ground, in_force) = (&self.ground, &self.settings);
                let candidate = &mut self.candidate;
                let steps = self.transaction.wish(wish, |changes| {
                    let settings = file.settings_with(changes, winner).map_err(faults)?;
                    let plan = ground.plan(in_force, &settings)?;
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

    /// A wish to which another one came before it was looked at.
    fn tell_replaced(&mut self, arrived: Arrived, sources: &mut Sources) {
        match self.inbox.push(arrived, unix_now_nanos()) {
            Ok(Some(Asked::Config(wish))) => {
                let steps = self.transaction.replaced(wish);
                self.config_steps(steps, sources);
            }
            Ok(Some(Asked::Prompt(wish))) => {
                let steps = self.book.replaced_unseen(&wish);
                self.prompt_steps(steps);
            }
            // No command is kept, so none is replaced.
            Ok(_) => {}
            Err(refused) => self.refuse(refused),
        }
    }

    fn refuse(&mut self, refused: Refused) {
        self.publisher.count_refusal(refused.reason);
        if self.refusals.is_new(&refused) {
            tracing::warn!(reason = refused.reason.name(), "a message is refused: {}", refused.what);
        }
        match refused.about {
            About::Config => {
                // Which generation it is of cannot be read.
                drop(self.transaction.refuse(0, refused.digest.into(), refused.what));
                self.report_config();
            }
            About::Prompt(id) => {
                let steps = self.book.unreadable(&id, refused.what, refused.digest.into());
                self.prompt_steps(steps);
            }
            About::Command(Some(to)) => Commands::refuse(to, refused.what, &self.publisher),
            About::Command(None) | About::Nothing => {}
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
