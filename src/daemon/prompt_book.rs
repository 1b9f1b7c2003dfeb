//! The prompts of the file and of topics, and what became of each wish.
//!
//! Pure: it decides; the control acts, enrols beside the inference thread, and says how it went.

use std::collections::{BTreeMap, BTreeSet};

use super::transaction::REPLACED;
use crate::config::{USUAL_P_FALSE, USUAL_SENSES, Winner};
use crate::prompts::{PromptId, PromptSettings};
use crate::publish::{PromptContent, PromptOrigin, PromptReport, PromptWish};
use crate::store::{Fault, WishState};

/// Prompts that topics may add.
pub(super) const MOST_PROMPTS: usize = 64;
/// Bytes of all prompts that topics added, on disk and in memory.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// Names that reports are kept for; a stranger who wishes for ever new ones must not fill the memory.
const MOST_REPORTS: usize = 256;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PromptStep {
    /// Make it ready to be looked for; then say [`PromptBook::settled`].
    Enrol(PromptSettings, String),
    /// Keep the payload; a failure goes to [`PromptBook::settled`].
    Keep(PromptId, Vec<u8>),
    /// Forget the payload.
    Forget(PromptId),
    /// Stop looking for it.
    Drop(PromptId),
    /// Tell what became of it.
    Report(PromptReport),
    /// Tell that there is no such prompt any more.
    Gone(PromptId),
}

/// A prompt that came by topic.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    /// None: it is not to be looked for.
    settings: Option<PromptSettings>,
    digest: String,
    payload: Vec<u8>,
}

/// All prompts.
pub(super) struct PromptBook {
    winner: Winner,
    file: BTreeMap<PromptId, PromptSettings>,
    /// Why prompts of the file cannot be looked for.
    unusable: BTreeMap<PromptId, Fault>,
    topic: BTreeMap<PromptId, Held>,
    trying: BTreeMap<PromptId, Held>,
    reports: BTreeMap<PromptId, PromptReport>,
    /// Names that were taken away without being known.
    gone: BTreeSet<PromptId>,
}

impl PromptBook {
    /// The prompts of the config file.
    pub(super) fn new(file: &[PromptSettings], winner: Winner) -> Self {
        let mut book = Self {
            winner,
            file: file.iter().map(|prompt| (prompt.id.clone(), prompt.clone())).collect(),
            unusable: BTreeMap::new(),
            topic: BTreeMap::new(),
            trying: BTreeMap::new(),
            reports: BTreeMap::new(),
            gone: BTreeSet::new(),
        };
        for prompt in file {
            let report = book.report(&prompt.id, WishState::Applied, Vec::new(), String::new());
            book.reports.insert(prompt.id.clone(), report);
        }
        book
    }

    /// What is to be looked for, and the wish's digest for what came by topic.
    pub(super) fn wanted(&self) -> Vec<(PromptSettings, Option<String>)> {
        let from_file = self.file.values().filter(|prompt| !self.topic.contains_key(&prompt.id));
        let from_topic =
            self.topic.values().filter_map(|held| Some((held.settings.clone()?, Some(held.digest.clone()))));
        from_file.map(|prompt| (prompt.clone(), None)).chain(from_topic).collect()
    }

    /// The last report of every prompt.
    pub(super) fn reports(&self) -> impl Iterator<Item = &PromptReport> {
        self.reports.values()
    }

    /// A wish came; `check` says what is wrong with a prompt, as with one of the file.
    pub(super) fn wish(&mut self, wish: PromptWish, check: impl Fn(&PromptSettings) -> Vec<Fault>) -> Vec<PromptStep> {
        // What was refused may be right now, for instance because there is room.
        if let Some(report) = self.told(&wish.id, &wish.digest).filter(|report| report.state != WishState::Rejected) {
            return vec![PromptStep::Report(report.clone())];
        }
        let PromptWish { id, content, digest, payload } = wish;
        let PromptContent::Made { parts, negatives, senses, p_false, is_disabled } = content else {
            return [self.replaced(&id, &digest), self.removed(&id)].concat();
        };
        let asked = PromptSettings {
            id: id.clone(),
            parts,
            negatives,
            modalities: senses,
            p_false: p_false.unwrap_or(USUAL_P_FALSE),
        };
        let settings = self.completed(asked, p_false);
        let faults = match self.refusal(&id, payload.len()) {
            Some(fault) => vec![fault],
            None if is_disabled => Vec::new(),
            None => check(&settings),
        };
        if !faults.is_empty() {
            return self.tell(&id, WishState::Rejected, faults, digest);
        }
        let mut steps = self.replaced(&id, &digest);
        let held = |settings| Held { settings, digest: digest.clone(), payload };
        if is_disabled {
            let held = held(None);
            let keep = PromptStep::Keep(id.clone(), held.payload.clone());
            self.trying.insert(id.clone(), held);
            steps.extend([keep, PromptStep::Drop(id)]);
            return steps;
        }
        self.trying.insert(id.clone(), held(Some(settings.clone())));
        steps.extend(self.tell(&id, WishState::Pending, Vec::new(), digest.clone()));
        steps.push(PromptStep::Enrol(settings, digest));
        steps
    }

    /// A wish that could not be read. One that comes again is answered as it was.
    pub(super) fn unreadable(&mut self, id: &PromptId, what: String, digest: String) -> Vec<PromptStep> {
        match self.told(id, &digest) {
            Some(report) => vec![PromptStep::Report(report.clone())],
            None => self.tell(id, WishState::Rejected, vec![Fault::whole(what)], digest),
        }
    }

    /// Another wish came before this one was looked at, and is told next. One that came again has its answer already, or will have it.
    pub(super) fn replaced_unseen(&self, wish: &PromptWish) -> Vec<PromptStep> {
        let is_tried = self.trying.get(&wish.id).is_some_and(|held| held.digest == wish.digest);
        if is_tried || self.told(&wish.id, &wish.digest).is_some() {
            return Vec::new();
        }
        let faults = vec![Fault::whole(REPLACED)];
        let report = self.report(&wish.id, WishState::Rejected, faults, wish.digest.clone());
        if self.has_room_for(&wish.id) { vec![PromptStep::Report(report)] } else { Vec::new() }
    }

    /// The last report, if it answers the wish with this digest.
    fn told(&self, id: &PromptId, digest: &str) -> Option<&PromptReport> {
        self.reports.get(id).filter(|report| report.digest == digest)
    }

    /// Who wished what is being tried under this name is told that another wish takes its place.
    fn replaced(&mut self, id: &PromptId, by: &str) -> Vec<PromptStep> {
        match self.trying.remove(id) {
            Some(held) if held.digest != by => {
                self.tell(id, WishState::Rejected, vec![Fault::whole(REPLACED)], held.digest)
            }
            _ => Vec::new(),
        }
    }

    /// The payload of a prompt that is being tried, for it is to be kept now.
    pub(super) fn payload(&self, id: &PromptId, digest: &str) -> Option<&[u8]> {
        self.trying.get(id).filter(|held| held.digest == digest).map(|held| held.payload.as_slice())
    }

    /// A wish that perceptd may have ended of is not tried again.
    pub(super) fn quarantine(&mut self, id: &PromptId, digest: String, what: String) {
        drop(self.tell(id, WishState::RolledBack, vec![Fault::whole(what)], digest));
    }

    /// Whether the prompt with this digest is still wanted; another wish may have come since.
    pub(super) fn is_wanted(&self, id: &PromptId, digest: &str) -> bool {
        if digest.is_empty() {
            return self.file.contains_key(id) && !self.topic.contains_key(id);
        }
        self.trying.get(id).is_some_and(|held| held.digest == digest)
    }

    /// A prompt that was tried is looked for now, or cannot be.
    pub(super) fn settled(&mut self, id: &PromptId, digest: &str, outcome: Result<(), Fault>) -> Vec<PromptStep> {
        if digest.is_empty() {
            self.note_file(id, outcome);
            return self.tell_of_file(id);
        }
        if !self.is_wanted(id, digest) {
            return Vec::new();
        }
        let Some(held) = self.trying.remove(id) else { return Vec::new() };
        match outcome {
            Ok(()) => {
                self.topic.insert(id.clone(), held);
                self.tell(id, WishState::Applied, Vec::new(), digest.to_owned())
            }
            Err(fault) => self.tell(id, WishState::RolledBack, vec![fault], digest.to_owned()),
        }
    }

    /// At the start a prompt of the file is looked for, or cannot be. What became of a wish of its name stays told: `wish` knows by it
    /// what is not to be tried again.
    pub(super) fn file_started(&mut self, id: &PromptId, outcome: Result<(), Fault>) {
        self.note_file(id, outcome);
        let of_wish = self.reports.get(id).filter(|report| !report.digest.is_empty() || !report.faults.is_empty());
        drop(match of_wish.cloned() {
            Some(report) => self.tell(id, report.state, report.faults, report.digest),
            None => self.tell_of_file(id),
        });
    }

    fn note_file(&mut self, id: &PromptId, outcome: Result<(), Fault>) {
        match outcome {
            Ok(()) => drop(self.unusable.remove(id)),
            Err(fault) => drop(self.unusable.insert(id.clone(), fault)),
        }
    }

    fn removed(&mut self, id: &PromptId) -> Vec<PromptStep> {
        let was_held = self.topic.remove(id).is_some();
        match self.file.get(id).cloned() {
            Some(settings) if was_held => {
                vec![PromptStep::Forget(id.clone()), PromptStep::Enrol(settings, String::new())]
            }
            Some(_) => self.tell_of_file(id),
            // Who takes away ever new names that never were must not fill the memory with their topics.
            None if self.reports.remove(id).is_none() && !self.note_gone(id) => Vec::new(),
            None => {
                vec![PromptStep::Forget(id.clone()), PromptStep::Drop(id.clone()), PromptStep::Gone(id.clone())]
            }
        }
    }

    fn note_gone(&mut self, id: &PromptId) -> bool {
        self.gone.contains(id) || (self.gone.len() < MOST_REPORTS && self.gone.insert(id.clone()))
    }

    /// What was asked for, with what the file's prompt of its name and the defaults add.
    fn completed(&self, mut asked: PromptSettings, p_false: Option<f64>) -> PromptSettings {
        if let Some(of_file) = self.file.get(&asked.id).filter(|_| asked.parts.is_empty()) {
            asked.parts.clone_from(&of_file.parts);
            if asked.negatives.is_empty() {
                asked.negatives.clone_from(&of_file.negatives);
            }
            if asked.modalities.is_empty() {
                asked.modalities.clone_from(&of_file.modalities);
            }
            asked.p_false = p_false.unwrap_or(of_file.p_false);
        }
        if asked.modalities.is_empty() {
            asked.modalities = USUAL_SENSES.to_vec();
        }
        asked
    }

    /// Why a prompt of this name, whose wish has so many bytes, is not taken whatever it says.
    fn refusal(&self, id: &PromptId, bytes: usize) -> Option<Fault> {
        if self.winner == Winner::File && self.file.contains_key(id) {
            let what = "a prompt of this name stands in the config file, which wins ([remote] winner)";
            return Some(Fault::whole(what));
        }
        let others = || self.topic.iter().chain(&self.trying).filter(|(other, _)| *other != id);
        if others().count() >= MOST_PROMPTS {
            let what = format!("there are {MOST_PROMPTS} prompts by topic, the most: remove one first");
            return Some(Fault::whole(what));
        }
        let bytes_of_others: usize = others().map(|(_, held)| held.payload.len()).sum();
        let what = || format!("all prompts by topic may have {MOST_BYTES} bytes: remove one first");
        (bytes_of_others + bytes > MOST_BYTES).then(|| Fault::whole(what()))
    }

    fn tell_of_file(&mut self, id: &PromptId) -> Vec<PromptStep> {
        match self.unusable.get(id).cloned() {
            None => self.tell(id, WishState::Applied, Vec::new(), String::new()),
            Some(fault) => self.tell(id, WishState::RolledBack, vec![fault], String::new()),
        }
    }

    fn tell(&mut self, id: &PromptId, state: WishState, faults: Vec<Fault>, digest: String) -> Vec<PromptStep> {
        let report = self.report(id, state, faults, digest);
        if !self.has_room_for(id) {
            return Vec::new();
        }
        self.reports.insert(id.clone(), report.clone());
        vec![PromptStep::Report(report)]
    }

    fn has_room_for(&self, id: &PromptId) -> bool {
        self.reports.len() < MOST_REPORTS || self.reports.contains_key(id)
    }

    /// A report of what is in force under this name now.
    fn report(&self, id: &PromptId, state: WishState, faults: Vec<Fault>, digest: String) -> PromptReport {
        let (origin, settings) = match (self.topic.get(id), self.file.get(id)) {
            (Some(held), _) => (PromptOrigin::Topic, held.settings.as_ref()),
            (None, Some(settings)) if !self.unusable.contains_key(id) => (PromptOrigin::File, Some(settings)),
            (None, _) => (PromptOrigin::Nowhere, None),
        };
        PromptReport {
            prompt: id.clone(),
            state,
            faults,
            digest,
            origin,
            senses: settings.map(|settings| settings.modalities.clone()).unwrap_or_default(),
            p_false: settings.map_or(0.0, |settings| settings.p_false),
            made_of: settings.map(made_of).unwrap_or_default(),
        }
    }
}

/// A prompt's parts for people.
fn made_of(settings: &PromptSettings) -> String {
    let parts = settings.parts.iter().map(|part| match part.weight {
        1.0 => part.source.in_short(),
        weight => format!("{weight}·{}", part.source.in_short()),
    });
    parts.collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
#[path = "prompt_book_tests.rs"]
mod tests;
