//! What perceptd starts with: the config file, what topics changed in it, and neither of what it kept dying of.

use crate::config::{ConfigFile, Overlay, Settings, prompt_problems};
use crate::prompts::{PromptId, PromptSettings};
use crate::publish::{PromptWish, payload_digest, prompt_content};
use crate::store::{Answer, ConfigLedger, Fault, RemoteStore, WishState};

use super::prompt_book::{PromptBook, PromptStep};

/// After so many starts in a row that did not last, the changes before the last ones are tried, and after twice as many the file alone.
const STARTS_UNTIL_BACK: u32 = 3;

/// What perceptd starts with.
pub(super) struct Boot {
    /// The settings in force.
    pub(super) settings: Settings,
    /// What is known of wishes for the config.
    pub(super) ledger: ConfigLedger,
    /// Whether the ledger is one to which perceptd fell back; it is to be saved once that has gone well.
    pub(super) is_fallback: bool,
    /// The prompts.
    pub(super) book: PromptBook,
    /// Prompts of topics that are to be enrolled, with their wishes' digests.
    pub(super) pending: Vec<(PromptSettings, String)>,
    /// Wishes that are not tried again, with their digests and why: what is told of their names in the end.
    pub(super) quarantined: Vec<(PromptId, String, String)>,
    /// Whether one prompt that cannot be looked for is a failure: so it is to who asks only for these.
    pub(super) needs_all_prompts: bool,
}

impl Boot {
    /// The file alone, for who does not listen to topics.
    pub(super) fn of_file(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            ledger: ConfigLedger::default(),
            is_fallback: false,
            book: PromptBook::new(&settings.prompts, settings.remote.winner),
            pending: Vec::new(),
            quarantined: Vec::new(),
            needs_all_prompts: false,
        }
    }

    /// The settings for who waits for what their prompts find.
    pub(super) fn for_answer(settings: &Settings) -> Self {
        Self { needs_all_prompts: true, ..Self::of_file(settings) }
    }

    /// The file, whose settings alone are `settings`, and what is kept of topics.
    pub(super) fn with_kept(file: &ConfigFile, settings: &Settings, store: &RemoteStore) -> Self {
        let starts = store.count_start();
        let kept = store.config();
        let survived = without_trial(kept.clone());
        let fallback = fallback(&survived, starts);
        let is_fallback = fallback.is_some();
        let mut ledger = fallback.unwrap_or_else(|| survived.clone());
        let in_force = in_force(file, settings, &mut ledger);
        // A fallback is written once it has gone well: what keeps perceptd from lasting may be something else.
        let written = if is_fallback { &survived } else { &ledger };
        if *written != kept
            && let Err(error) = store.save_config(written)
        {
            tracing::warn!("{error}");
        }
        let mut boot = Self { settings: in_force, ledger, is_fallback, ..Self::of_file(settings) };
        for (id, digest) in store.unfinished_prompt_trials() {
            let what = "perceptd ended while it tried this prompt: it is not tried again; change it";
            tracing::warn!(prompt = id, "{what}");
            boot.quarantined.push((id.as_str().into(), digest, what.to_owned()));
            store.end_prompt_trial(&id);
        }
        for (id, payload) in store.prompts() {
            let id = PromptId::from(id.as_str());
            if starts > 2 * STARTS_UNTIL_BACK {
                let what = format!(
                    "perceptd ended {} times soon after its start: prompts by topic are not looked for until the next one",
                    starts - 1
                );
                tracing::warn!(prompt = %id, "{what}");
                boot.quarantined.push((id, payload_digest(&payload), what));
            } else {
                boot.restore(id, payload);
            }
        }
        boot
    }

    fn restore(&mut self, id: PromptId, payload: Vec<u8>) {
        let content = match prompt_content(&payload) {
            Ok(content) => content,
            Err(what) => {
                tracing::error!(prompt = %id, %what, "a prompt that came by topic cannot be read any more");
                drop(self.book.unreadable(&id, what, payload_digest(&payload)));
                return;
            }
        };
        let wish = PromptWish { id, content, digest: payload_digest(&payload), payload };
        let settings = &self.settings;
        for step in self.book.wish(wish, |prompt| faults(prompt_problems(prompt, settings))) {
            match step {
                PromptStep::Enrol(prompt, digest) => self.pending.push((prompt, digest)),
                PromptStep::Keep(id, payload) => {
                    // It is kept: it comes from there.
                    drop(self.book.settled(&id, &payload_digest(&payload), Ok(())));
                }
                _ => {}
            }
        }
    }
}

/// Problems of a config as faults of a wish.
pub(super) fn faults(problems: Vec<crate::config::Problem>) -> Vec<Fault> {
    problems.into_iter().map(|problem| Fault { key: problem.key, what: problem.what }).collect()
}

/// The ledger without the wish that perceptd did not survive.
fn without_trial(mut ledger: ConfigLedger) -> ConfigLedger {
    if let Some(trial) = ledger.trial.take() {
        let what = "perceptd ended while it tried this config: what was in force before is in force again";
        tracing::warn!(generation = trial.generation, "{what}");
        ledger.answer = Some(rolled_back(trial.generation, trial.digest, what.to_owned()));
    }
    ledger
}

/// What is in force in the place of changes with which perceptd keeps ending: those before the last ones, and after more starts the file
/// alone. What is given up takes the place of what was before, so that a wish can bring it back.
fn fallback(ledger: &ConfigLedger, starts: u32) -> Option<ConfigLedger> {
    let (generation, changes) = match starts {
        _ if starts > 2 * STARTS_UNTIL_BACK => (0, String::new()),
        _ if starts > STARTS_UNTIL_BACK => (ledger.generation_before, ledger.changes_before.clone()),
        _ => return None,
    };
    if ledger.changes == changes {
        return None;
    }
    let what =
        format!("perceptd ended {} times soon after its start with generation {}", starts - 1, ledger.generation);
    tracing::error!("{what}: generation {generation} is in force again");
    let answer = match ledger.answer.clone() {
        // A later wish that failed stays answered, or it would be tried again when the broker brings it again.
        Some(mut later) if later.generation > ledger.generation => {
            later.faults.push(Fault::whole(what));
            later
        }
        answer => {
            let of_this = answer.filter(|answer| answer.generation == ledger.generation);
            rolled_back(ledger.generation, of_this.map(|answer| answer.digest).unwrap_or_default(), what)
        }
    };
    Some(ConfigLedger {
        generation,
        changes,
        generation_before: ledger.generation,
        changes_before: ledger.changes.clone(),
        answer: Some(answer),
        trial: None,
    })
}

fn rolled_back(generation: u64, digest: String, what: String) -> Answer {
    Answer { generation, digest, state: WishState::RolledBack, faults: vec![Fault::whole(what)] }
}

/// The settings in force. Changes that the file, edited since, keeps for itself are forgotten: kept, they would have every later wish
/// refused. If it makes the others wrong, all are given up.
fn in_force(file: &ConfigFile, settings: &Settings, ledger: &mut ConfigLedger) -> Settings {
    let winner = settings.remote.winner;
    let before = Overlay::parse(&ledger.changes_before).unwrap_or_default();
    ledger.changes_before = file.still_allowed(&before, winner).to_json();
    if ledger.changes.is_empty() {
        return settings.clone();
    }
    let changed = Overlay::parse(&ledger.changes).map_err(|problem| vec![problem]).and_then(|changes| {
        let allowed = file.still_allowed(&changes, winner);
        let changed = file.settings_with(&allowed, winner)?;
        if allowed != changes {
            tracing::warn!("changes of keys that the config file keeps for itself now are forgotten");
            ledger.changes = allowed.to_json();
        }
        Ok(changed)
    });
    changed.unwrap_or_else(|problems| {
        let faults = faults(problems);
        tracing::error!(
            ?faults,
            "what topics changed does not go with the config file any more: the file alone is in force"
        );
        let digest = ledger.answer.take().map(|answer| answer.digest).unwrap_or_default();
        ledger.answer = Some(Answer { generation: ledger.generation, digest, state: WishState::RolledBack, faults });
        (ledger.generation, ledger.changes) = (0, String::new());
        settings.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Trial;

    fn ledger() -> ConfigLedger {
        ConfigLedger {
            generation: 5,
            changes: r#"{"log":{"level":"debug"}}"#.to_owned(),
            generation_before: 4,
            changes_before: r#"{"log":{"level":"warn"}}"#.to_owned(),
            answer: Some(Answer { generation: 5, digest: "d5".to_owned(), state: WishState::Applied, faults: vec![] }),
            trial: None,
        }
    }

    #[test]
    fn a_crash_loop_goes_back_one_and_then_to_the_file() {
        assert_eq!(fallback(&ledger(), 3), None);
        let before = ledger().changes_before;
        for (starts, generation, changes) in [(4, 4, &*before), (6, 4, &before), (7, 0, ""), (9, 0, "")] {
            let back = fallback(&ledger(), starts).unwrap();
            assert_eq!((back.generation, back.changes.as_str()), (generation, changes), "{starts}");
            assert_eq!((back.generation_before, back.changes_before), (5, ledger().changes), "it can be brought back");
            let answer = back.answer.unwrap();
            assert_eq!((answer.generation, answer.digest.as_str(), answer.state), (5, "d5", WishState::RolledBack));
        }
        assert_eq!(fallback(&ConfigLedger::default(), 9), None, "the file alone is nothing to fall back from");
    }

    #[test]
    fn a_wish_that_failed_stays_answered_when_what_was_before_it_fails_too() {
        let later = Answer { generation: 6, digest: "d6".to_owned(), state: WishState::RolledBack, faults: vec![] };
        let back = fallback(&ConfigLedger { answer: Some(later), ..ledger() }, 7).unwrap();
        let answer = back.answer.unwrap();
        assert_eq!((answer.generation, answer.digest.as_str(), answer.faults.len()), (6, "d6", 1));
    }

    #[test]
    fn a_config_that_perceptd_died_of_is_not_tried_again() {
        let trial = Some(Trial { generation: 6, digest: "d6".to_owned() });
        let after = without_trial(ConfigLedger { trial, ..ledger() });
        let answer = after.answer.unwrap();
        assert_eq!((answer.generation, answer.digest.as_str(), answer.state), (6, "d6", WishState::RolledBack));
        assert_eq!((after.generation, after.trial), (5, None));
    }

    #[test]
    fn what_perceptd_falls_back_from_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perceptd.toml");
        std::fs::write(&path, "[robot]\nname = 'a'\n[pack]\npath = '.'\n[sensors.mic]\ndriver = 'microphone'\n")
            .unwrap();
        std::fs::write(folder.path().join("pack.toml"), "").unwrap();
        let (file, settings) = ConfigFile::open(&path).unwrap();
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        store.save_config(&ledger()).unwrap();
        let levels: Vec<(String, bool)> = (1..=8)
            .map(|_| Boot::with_kept(&file, &settings, &store))
            .map(|boot| (boot.settings.log.name().to_owned(), boot.is_fallback))
            .collect();
        let (debug, warn, info) = ("debug".to_owned(), "warn".to_owned(), "info".to_owned());
        let expected = [(debug, false), (warn, true), (info, true)];
        let expected: Vec<_> =
            expected.iter().zip([3, 3, 2]).flat_map(|(one, times)| vec![one.clone(); times]).collect();
        assert_eq!(levels, expected);
        assert_eq!(store.config(), ledger());
    }

    #[test]
    fn changes_that_the_file_makes_wrong_are_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perceptd.toml");
        let text = "[robot]\nname = 'a'\n[pack]\npath = '.'\n[sensors.mic]\ndriver = 'microphone'\n";
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("pack.toml"), "").unwrap();
        let (file, settings) = ConfigFile::open(&path).unwrap();
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        let gone = r#"{"sensors":{"front":{"width_px":320}}}"#.to_owned();
        store.save_config(&ConfigLedger { changes: gone, ..ledger() }).unwrap();
        let boot = Boot::with_kept(&file, &settings, &store);
        assert_eq!(boot.settings, settings);
        assert_eq!(store.config().answer.unwrap().faults[0].key, "sensors.front");
        store.save_config(&ledger()).unwrap();
        assert_eq!(Boot::with_kept(&file, &settings, &store).settings.log.name(), "debug");
    }

    #[test]
    fn changes_of_keys_that_the_file_keeps_for_itself_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perceptd.toml");
        let text = "[robot]\nname = 'a'\n[pack]\npath = '.'\n[sensors.mic]\ndriver = 'microphone'\n\
                    [log]\nlevel = 'error'\n[remote]\nwinner = 'file'\n";
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("pack.toml"), "").unwrap();
        let (file, settings) = ConfigFile::open(&path).unwrap();
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        let changes = r#"{"events":{"min_on_secs":0.3},"log":{"level":"debug"}}"#.to_owned();
        store.save_config(&ConfigLedger { changes, ..ledger() }).unwrap();
        let boot = Boot::with_kept(&file, &settings, &store);
        assert_eq!((boot.settings.log.name(), boot.settings.events.min_on_secs), ("error", 0.3));
        let kept = store.config();
        assert_eq!((kept.generation, kept.answer), (5, ledger().answer), "what was answered stays answered");
        assert_eq!((kept.changes.as_str(), kept.changes_before.as_str()), (r#"{"events":{"min_on_secs":0.3}}"#, ""));
    }
}
