//! What the log says of wishes: a line for each new answer, and of a flood of them so many and a sum.

use std::collections::BTreeMap;

use crate::config::Overlay;
use crate::prompts::PromptId;
use crate::publish::{PromptOrigin, PromptReport};
use crate::store::{Answer, ConfigLedger, Fault, WishState};
use crate::time::{MonoTime, NANOS_PER_SEC};

/// The log has at most [`MOST_LINES`] on answers in this time.
const LINES_IN_NANOS: i64 = 10 * NANOS_PER_SEC;
const MOST_LINES: usize = 16;
/// Keys and problems that a line names, and characters of each; who wishes may write what he likes.
const MOST_NAMED: usize = 8;
const MOST_CHARS: usize = 160;

/// Which answers were logged.
#[derive(Default)]
pub(super) struct Answers {
    config: Option<(u64, String, WishState)>,
    aside: Option<Answer>,
    /// No more names than there are reports.
    prompts: BTreeMap<PromptId, (String, WishState)>,
    lines: usize,
    untold: u64,
    since: MonoTime,
}

impl Answers {
    /// Answers of the run before have no line.
    pub(super) fn new<'a>(ledger: &ConfigLedger, prompts: impl Iterator<Item = &'a PromptReport>) -> Self {
        let mut answers = Self::default();
        answers.is_new_of_config(ledger);
        for report in prompts {
            answers.is_new_of_prompt(report);
        }
        answers
    }

    /// What was answered to the last wish for the config.
    pub(super) fn config(&mut self, ledger: &ConfigLedger) {
        if self.is_new_of_config(ledger)
            && let Some(answer) = ledger.answer.as_ref().filter(|answer| answer.state != WishState::Pending)
            && self.has_room()
        {
            let generation = answer.generation;
            if answer.state == WishState::Applied {
                tracing::info!(generation, keys = ?changed(ledger), "a config that came by topic is applied");
            } else {
                let problems = in_short(&answer.faults);
                tracing::warn!(generation, ?problems, "a config that came by topic is {}", outcome(answer.state));
            }
        }
    }

    /// What was answered to a wish for the config that leaves the last answer as it is.
    pub(super) fn aside(&mut self, answer: &Answer) {
        if self.aside.as_ref() == Some(answer) {
            return;
        }
        self.aside = Some(answer.clone());
        if self.has_room() {
            let (generation, problems) = (answer.generation, in_short(&answer.faults));
            tracing::warn!(generation, ?problems, "a config that came by topic is not taken");
        }
    }

    /// What became of a prompt.
    pub(super) fn prompt(&mut self, report: &PromptReport) {
        if !self.is_new_of_prompt(report) || report.state == WishState::Pending || !self.has_room() {
            return;
        }
        let prompt = &report.prompt;
        match (report.state, report.origin) {
            (WishState::Applied, PromptOrigin::File) => {
                tracing::info!(%prompt, "a prompt is as the config file says again")
            }
            (WishState::Applied, _) => tracing::info!(%prompt, "a prompt that came by topic is applied"),
            (state, _) => {
                let problems = in_short(&report.faults);
                tracing::warn!(%prompt, ?problems, "a prompt that came by topic is {}", outcome(state));
            }
        }
    }

    /// A prompt is taken away.
    pub(super) fn prompt_gone(&mut self, prompt: &PromptId) {
        if self.prompts.remove(prompt).is_some() && self.has_room() {
            tracing::info!(%prompt, "a prompt is taken away by topic");
        }
    }

    /// Says now and then how many have had no line.
    pub(super) fn tell(&mut self, now: MonoTime) {
        if now.nanos_since(self.since) < LINES_IN_NANOS {
            return;
        }
        if self.untold > 0 {
            tracing::warn!("{} more wishes were answered", self.untold);
        }
        (self.lines, self.untold, self.since) = (0, 0, now);
    }

    fn is_new_of_config(&mut self, ledger: &ConfigLedger) -> bool {
        let told = ledger.answer.as_ref().map(|answer| (answer.generation, answer.digest.clone(), answer.state));
        let is_new = self.config != told;
        self.config = told;
        is_new
    }

    fn is_new_of_prompt(&mut self, report: &PromptReport) -> bool {
        let told = (report.digest.clone(), report.state);
        self.prompts.insert(report.prompt.clone(), told.clone()) != Some(told)
    }

    const fn has_room(&mut self) -> bool {
        let has_room = self.lines < MOST_LINES;
        if has_room {
            self.lines += 1;
        } else {
            self.untold += 1;
        }
        has_room
    }
}

const fn outcome(state: WishState) -> &'static str {
    match state {
        WishState::RolledBack => "rolled back",
        _ => "rejected",
    }
}

/// The keys that the generation in force sets otherwise than the one before.
fn changed(ledger: &ConfigLedger) -> Vec<String> {
    let read = |json: &str| Overlay::parse(json).unwrap_or_default();
    let keys = read(&ledger.changes).keys_unlike(&read(&ledger.changes_before));
    keys.into_iter().take(MOST_NAMED).collect()
}

fn in_short(faults: &[Fault]) -> Vec<String> {
    let short = |fault: &Fault| format!("{}: {}", fault.key, fault.what).chars().take(MOST_CHARS).collect();
    faults.iter().take(MOST_NAMED).map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(generation: u64, state: WishState) -> ConfigLedger {
        let answer = Answer { generation, digest: generation.to_string(), state, faults: vec![Fault::whole("no")] };
        ConfigLedger { answer: Some(answer), ..ConfigLedger::default() }
    }

    #[test]
    fn an_answer_has_one_line_and_a_flood_of_them_a_few() {
        let mut answers = Answers::new(&ledger(1, WishState::Applied), std::iter::empty());
        let at = |secs: i64| MonoTime::from_nanos(secs * NANOS_PER_SEC);
        answers.tell(at(100));
        answers.config(&ledger(1, WishState::Applied));
        assert_eq!(answers.lines, 0, "that of the run before");
        for state in [WishState::Pending, WishState::Applied, WishState::Applied] {
            answers.config(&ledger(2, state));
        }
        assert_eq!(answers.lines, 1);
        let aside = ledger(9, WishState::Rejected).answer.unwrap();
        answers.aside(&aside);
        answers.aside(&aside);
        assert_eq!(answers.lines, 2);
        for generation in 3..1_000 {
            answers.config(&ledger(generation, WishState::Rejected));
        }
        assert_eq!((answers.lines, answers.untold), (MOST_LINES, 997 + 2 - 16));
        answers.tell(at(105));
        assert_eq!(answers.lines, MOST_LINES);
        answers.tell(at(111));
        assert_eq!((answers.lines, answers.untold), (0, 0));
    }

    #[test]
    fn prompts_have_lines_too() {
        let report = |digest: &str, state| PromptReport {
            prompt: "dog".into(),
            state,
            faults: Vec::new(),
            digest: digest.to_owned(),
            origin: PromptOrigin::Topic,
            senses: Vec::new(),
            p_false: 0.1,
            made_of: String::new(),
        };
        let mut answers = Answers::new(&ConfigLedger::default(), [report("a", WishState::Applied)].iter());
        let mut lines = |report: PromptReport| {
            answers.prompt(&report);
            answers.lines
        };
        let (applied, pending) = (WishState::Applied, WishState::Pending);
        let told = [("a", applied), ("b", pending), ("b", applied), ("b", applied), ("c", WishState::RolledBack)];
        assert_eq!(told.map(|(digest, state)| lines(report(digest, state))), [0, 0, 1, 1, 2]);
        for _ in 0..2 {
            answers.prompt_gone(&"dog".into());
            assert_eq!(answers.lines, 3);
        }
    }

    #[test]
    fn a_line_names_what_changed_and_is_short() {
        let (changes, changes_before) = (r#"{"a":{"b":1,"c":2}}"#.to_owned(), r#"{"a":{"b":1,"d":3}}"#.to_owned());
        assert_eq!(changed(&ConfigLedger { changes, changes_before, ..ConfigLedger::default() }), ["a.c", "a.d"]);
        let long = in_short(&vec![Fault { key: "k".repeat(9_999), what: String::new() }; 99]);
        assert_eq!((long.len(), long[0].chars().count()), (MOST_NAMED, MOST_CHARS));
    }
}
