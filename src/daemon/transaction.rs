//! The way of a config that came by topic: checked, prepared beside the running one, swapped in, watched, kept; or back.
//!
//! Pure: what happened goes in, what to do next comes out. The daemon's control does it and says how it went.

use crate::config::Overlay;
use crate::publish::{ConfigWish, MAX_GENERATION};
use crate::store::{Answer, ConfigLedger, Fault, Trial, WishState};
use crate::time::MonoTime;

/// Said of a wish that another one replaced.
pub(super) const REPLACED: &str = "a later wish came before this one was tried, and takes its place";

/// What to do next, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make ready, beside what runs, all that the checked config needs; then say [`Transaction::prepared`].
    Prepare,
    /// Save the ledger: a trial begins or has ended. What cannot be saved here only costs memory of it.
    Remember,
    /// Put what was prepared in the place of what runs; then say [`Transaction::swapped`].
    Swap,
    /// Put back what ran before.
    Undo,
    /// Save the ledger for good; then say [`Transaction::committed`].
    Commit,
    /// Tell what became of the last wish, and what is in force.
    Report,
}

/// How far the current wish is.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Idle,
    Preparing(Change),
    Swapping(Change),
    Watching(Change, MonoTime),
    Committing(Change, Box<ConfigLedger>),
}

/// What the wish makes of the ledger, if it works.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    generation: u64,
    digest: String,
    changes: Overlay,
    /// What was told of the wish before.
    answer_before: Option<Answer>,
}

/// One wish at a time; a newer one waits, in the place of any other that waits.
pub(super) struct Transaction {
    ledger: ConfigLedger,
    stage: Stage,
    waiting: Option<ConfigWish>,
    watch_nanos: i64,
    /// What is wrong with a wish that has no place among the generations; told until the next one comes.
    beside: Option<Fault>,
    /// Answers to such wishes, and to those that another one replaced, which are still to be told.
    asides: Vec<Answer>,
}

impl Transaction {
    /// Starts with what is in force.
    pub(super) const fn new(ledger: ConfigLedger, watch_nanos: i64) -> Self {
        Self { ledger, stage: Stage::Idle, waiting: None, watch_nanos, beside: None, asides: Vec::new() }
    }

    /// What is in force, and the last answer.
    pub(super) const fn ledger(&self) -> &ConfigLedger {
        &self.ledger
    }

    /// Everything that is wrong with the last wish.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let answered = self.ledger.answer.iter().flat_map(|answer| answer.faults.clone());
        answered.chain(self.beside.clone()).collect()
    }

    /// Answers to wishes that leave the last answer as it is, each to be told once and before it.
    pub(super) fn asides(&self) -> &[Answer] {
        &self.asides
    }

    /// The same, for they are told now.
    pub(super) fn take_asides(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.asides)
    }

    /// Whether a change is in force that may yet go.
    pub(super) const fn is_watching(&self) -> bool {
        matches!(self.stage, Stage::Watching(..))
    }

    /// How long the next change is watched.
    pub(super) const fn watch_for(&mut self, nanos: i64) {
        self.watch_nanos = nanos;
    }

    /// A wish came. `check` resolves the config with its changes and says what is wrong with it.
    pub(super) fn wish(
        &mut self,
        wish: ConfigWish,
        check: impl FnOnce(&Overlay) -> Result<(), Vec<Fault>>,
    ) -> Vec<Step> {
        if wish.generation > MAX_GENERATION {
            let what = format!(
                "generation {} is higher than {MAX_GENERATION}, the highest: count them up by one",
                wish.generation
            );
            return self.refuse(wish.generation, wish.digest, what);
        }
        if self.stage != Stage::Idle {
            return self.wait(wish);
        }
        self.beside = None;
        if let Some(answer) = &self.ledger.answer {
            if wish.digest == answer.digest {
                return vec![Step::Report];
            }
            let (generation, last) = (wish.generation, answer.generation);
            if generation < last {
                let what =
                    format!("generation {generation} is lower than {last}, the last one: wish again with a higher one");
                return self.aside(generation, wish.digest, what);
            }
            if generation == last {
                let what =
                    format!("generation {generation} has been used with other content: wish again with a higher one");
                // The answer that stands is the truth about this generation; it is told with what is wrong now.
                return self.refuse(generation, wish.digest, what);
            }
        }
        match self.candidate(&wish).and_then(|changes| check(&changes).map(|()| changes)) {
            Err(faults) => self.answer(wish.generation, wish.digest, WishState::Rejected, faults),
            Ok(changes) => {
                let answer_before = self.ledger.answer.clone();
                let change = Change { generation: wish.generation, digest: wish.digest, changes, answer_before };
                self.set_answer(change.generation, change.digest.clone(), WishState::Pending, Vec::new());
                self.ledger.trial = Some(Trial { generation: change.generation, digest: change.digest.clone() });
                self.stage = Stage::Preparing(change);
                vec![Step::Remember, Step::Report, Step::Prepare]
            }
        }
    }

    /// A wish that could not be read, or that has no place among the generations.
    pub(super) fn refuse(&mut self, generation: u64, digest: String, what: String) -> Vec<Step> {
        self.beside = Some(Fault::whole(what.clone()));
        self.aside(generation, digest, what)
    }

    fn aside(&mut self, generation: u64, digest: String, what: String) -> Vec<Step> {
        let faults = vec![Fault::whole(what)];
        self.asides.push(Answer { generation, digest, state: WishState::Rejected, faults });
        vec![Step::Report]
    }

    /// Another one is being tried: this one waits, in the place of any other.
    fn wait(&mut self, wish: ConfigWish) -> Vec<Step> {
        // A retained wish may come again while it is being tried.
        if matches!(self.current(), Some(change) if change.digest == wish.digest) {
            return Vec::new();
        }
        match self.waiting.replace(wish) {
            Some(before) if self.waiting.as_ref().is_some_and(|wish| wish.digest != before.digest) => {
                self.replaced(before)
            }
            _ => Vec::new(),
        }
    }

    /// A wish whose place another one takes before it was tried. One that came again has its answer already, or will have it.
    pub(super) fn replaced(&mut self, wish: ConfigWish) -> Vec<Step> {
        let answered = self.ledger.answer.as_ref().map(|answer| &answer.digest);
        let tried = self.current().map(|change| &change.digest);
        let waiting = self.waiting.as_ref().map(|waiting| &waiting.digest);
        if [answered, tried, waiting].contains(&Some(&wish.digest)) {
            return Vec::new();
        }
        self.aside(wish.generation, wish.digest, REPLACED.to_owned())
    }

    /// Everything is ready, or cannot be had.
    pub(super) fn prepared(&mut self, outcome: Result<(), Vec<Fault>>) -> Vec<Step> {
        match (std::mem::replace(&mut self.stage, Stage::Idle), outcome) {
            (Stage::Preparing(change), Ok(())) => {
                self.stage = Stage::Swapping(change);
                vec![Step::Swap]
            }
            (Stage::Preparing(change), Err(faults)) => self.rolled_back(change, faults, Vec::new()),
            (other, _) => self.stay(other),
        }
    }

    /// What was prepared runs since `at`, or cannot.
    pub(super) fn swapped(&mut self, at: MonoTime, outcome: Result<(), Vec<Fault>>) -> Vec<Step> {
        match (std::mem::replace(&mut self.stage, Stage::Idle), outcome) {
            (Stage::Swapping(change), Ok(())) => {
                self.stage = Stage::Watching(change, at);
                Vec::new()
            }
            (Stage::Swapping(change), Err(faults)) => self.rolled_back(change, faults, vec![Step::Undo]),
            (other, _) => self.stay(other),
        }
    }

    /// What is wrong with the running config at `now`; counts once it has been watched for long enough.
    pub(super) fn looked(&mut self, now: MonoTime, faults: Vec<Fault>) -> Vec<Step> {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Watching(change, since) if now.nanos_since(since) < self.watch_nanos => {
                self.stay(Stage::Watching(change, since))
            }
            Stage::Watching(change, _) if !faults.is_empty() => self.rolled_back(change, faults, vec![Step::Undo]),
            Stage::Watching(change, _) => {
                let before = Box::new(self.ledger.clone());
                self.ledger.generation_before = before.generation;
                self.ledger.changes_before.clone_from(&before.changes);
                self.ledger.generation = change.generation;
                self.ledger.changes = change.changes.to_json();
                self.ledger.trial = None;
                self.set_answer(change.generation, change.digest.clone(), WishState::Applied, Vec::new());
                self.stage = Stage::Committing(change, before);
                vec![Step::Commit]
            }
            other => self.stay(other),
        }
    }

    /// The ledger is on disk, or cannot be put there.
    pub(super) fn committed(&mut self, outcome: Result<(), String>) -> Vec<Step> {
        match (std::mem::replace(&mut self.stage, Stage::Idle), outcome) {
            (Stage::Committing(..), Ok(())) => vec![Step::Report],
            (Stage::Committing(change, before), Err(why)) => {
                self.ledger = *before;
                self.rolled_back(change, vec![Fault::whole(why)], vec![Step::Undo])
            }
            (other, _) => self.stay(other),
        }
    }

    /// perceptd stops in order: what is being tried is not to blame, and the next start hears of it as if it had never come.
    pub(super) fn stopped(&mut self) -> Vec<Step> {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Preparing(change) | Stage::Swapping(change) | Stage::Watching(change, _) => {
                self.ledger.trial = None;
                self.ledger.answer = change.answer_before;
                vec![Step::Remember]
            }
            other => self.stay(other),
        }
    }

    /// The wish that waited, once nothing is being tried any more.
    pub(super) fn next_waiting(&mut self) -> Option<ConfigWish> {
        if self.stage == Stage::Idle { self.waiting.take() } else { None }
    }

    const fn current(&self) -> Option<&Change> {
        match &self.stage {
            Stage::Idle => None,
            Stage::Preparing(change)
            | Stage::Swapping(change)
            | Stage::Watching(change, _)
            | Stage::Committing(change, _) => Some(change),
        }
    }

    /// The changes that the wish would have in force.
    fn candidate(&self, wish: &ConfigWish) -> Result<Overlay, Vec<Fault>> {
        if wish.generation == 0 {
            return Err(vec![Fault::whole("the generation is 0: they count from 1")]);
        }
        if wish.base != 0 && wish.base != self.ledger.generation {
            let (base, in_force) = (wish.base, self.ledger.generation);
            let what = format!("made against generation {base}, but {in_force} is in force: look at it and wish again");
            return Err(vec![Fault::whole(what)]);
        }
        if wish.json.trim().is_empty() {
            return Err(vec![Fault::whole("the JSON is empty: `{}` stands for no change")]);
        }
        let parse = |text: &str| Overlay::parse(text).map_err(|problem| vec![Fault::whole(problem.what)]);
        let asked = parse(&wish.json)?;
        if wish.is_whole { Ok(asked) } else { Ok(parse(&self.ledger.changes)?.then(&asked)) }
    }

    fn stay(&mut self, stage: Stage) -> Vec<Step> {
        self.stage = stage;
        Vec::new()
    }

    fn rolled_back(&mut self, change: Change, faults: Vec<Fault>, mut steps: Vec<Step>) -> Vec<Step> {
        steps.extend(self.answer(change.generation, change.digest, WishState::RolledBack, faults));
        steps
    }

    fn answer(&mut self, generation: u64, digest: String, state: WishState, faults: Vec<Fault>) -> Vec<Step> {
        self.ledger.trial = None;
        self.set_answer(generation, digest, state, faults);
        // What is refused before anything was tried is refused again after a restart: a flood of it must not wear out the disk.
        if state == WishState::Rejected { vec![Step::Report] } else { vec![Step::Remember, Step::Report] }
    }

    fn set_answer(&mut self, generation: u64, digest: String, state: WishState, faults: Vec<Fault>) {
        self.ledger.answer = Some(Answer { generation, digest, state, faults });
    }
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
