//! The thread that makes things ready beside the pipeline: encoders for a sensor that is turned on, prompts.
//!
//! The inference thread never waits for a model to load. Prompts are embedded by a process of its own, which ends when nothing has been
//! asked of it for a while.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::embedder::Embedder;
use super::prompt_book::MOST_PROMPTS;
use crate::encoders::{Encoders, SpaceId};
use crate::modality::Modality;
use crate::pipe::{OnDrop, Received, Receiver, Sender, WhenFull, bounded};
use crate::prompts::{PartError, PartSource, Prompt, PromptSettings, enrol};
use crate::space::Bank;
use crate::store::RemoteStore;

/// A process that nothing was asked of for so long is ended.
const IDLE: Duration = Duration::from_secs(2);
/// Room for every prompt that topics may add, and for one config.
const WAITING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2 * MOST_PROMPTS);

/// What is to be made ready.
pub(super) enum Job {
    /// Encoders for these senses.
    Encoders(Vec<Modality>),
    /// A prompt, with its wish's digest.
    Prompt(PromptSettings, String),
}

/// What was made ready, or why it cannot be had.
pub(super) enum Ready {
    Encoders(Result<Box<Encoders>, String>),
    Prompt(PromptSettings, String, Result<Box<Prompt>, String>),
}

/// Both ends of a pipe.
type Ends<T> = (Sender<T>, Receiver<T>);

/// The pipes to and from the thread. A newer wish for a prompt takes the place of one that still waits.
pub(super) fn pipes() -> (Ends<Job>, Ends<Ready>) {
    let nothing: OnDrop<Job> = Box::new(|_| {});
    (bounded(WAITING, WhenFull::Latest(is_newer), nothing), bounded(WAITING, WhenFull::Block, Box::new(|_| {})))
}

fn is_newer(waiting: &Job, new: &Job) -> bool {
    match (waiting, new) {
        (Job::Prompt(old, _), Job::Prompt(new, _)) => old.id == new.id,
        (Job::Encoders(_), Job::Encoders(_)) => true,
        _ => false,
    }
}

/// Works until its input closes.
pub(super) struct PrepareLoop {
    pub(super) pack: PathBuf,
    pub(super) space: SpaceId,
    pub(super) bank: Arc<Bank>,
    /// perceptd itself, which embeds as `perceptd embedder`.
    pub(super) program: PathBuf,
    /// Where it is written down which wish is being tried.
    pub(super) trials: RemoteStore,
}

impl PrepareLoop {
    pub(super) fn run(self, input: &Receiver<Job>, output: &Sender<Ready>) {
        let mut embedder = None;
        loop {
            let ready = match input.recv(IDLE) {
                Received::Item(Job::Encoders(senses)) => Ready::Encoders(self.encoders(&senses)),
                Received::Item(Job::Prompt(settings, digest)) => {
                    self.begin_trial(&settings.id, &digest);
                    // Whoever closed it has ended trials, perhaps before this one began.
                    let prompt = (!output.is_closed()).then(|| self.prompt(&settings, &mut embedder));
                    self.trials.end_prompt_trial(&settings.id);
                    let Some(prompt) = prompt else { return };
                    Ready::Prompt(settings, digest, prompt)
                }
                Received::TimedOut => {
                    embedder = None;
                    continue;
                }
                Received::Closed => return,
            };
            if output.send(ready).is_err() {
                return;
            }
        }
    }

    /// From here on perceptd may end of this prompt, and of no other that waits.
    fn begin_trial(&self, id: &str, digest: &str) {
        // The file's own prompt is no wish: there is none to hold back.
        if !digest.is_empty()
            && let Err(error) = self.trials.begin_prompt_trial(id, digest)
        {
            tracing::warn!("{error}");
        }
    }

    fn encoders(&self, senses: &[Modality]) -> Result<Box<Encoders>, String> {
        open_again(&self.pack, &self.space, senses).map(Box::new)
    }

    fn prompt(&self, settings: &PromptSettings, embedder: &mut Option<Embedder>) -> Result<Box<Prompt>, String> {
        let prompt = enrol(settings, &self.bank, |part| self.embed(part, embedder));
        prompt.map(Box::new).map_err(|error| error.to_string())
    }

    fn embed(&self, part: &PartSource, embedder: &mut Option<Embedder>) -> Result<Vec<f32>, PartError> {
        // One that has ended since, for what it did before or by somebody's hand, is replaced.
        let running = match embedder.take().and_then(Embedder::if_running) {
            Some(running) => running,
            None => Embedder::start(&self.program, &self.pack, &self.space).map_err(|error| {
                PartError::Elsewhere(format!("{} cannot be started to embed it: {error}", self.program.display()))
            })?,
        };
        embedder.insert(running).embed(part)
    }
}

/// The pack once more, which may have been replaced since perceptd started: vectors of another space must not meet those that there are.
pub(super) fn open_again(pack: &Path, space: &str, senses: &[Modality]) -> Result<Encoders, String> {
    let encoders = Encoders::open(pack, senses).map_err(|error| error.to_string())?;
    if **encoders.space() == *space {
        return Ok(encoders);
    }
    Err(format!("the model pack {} is not the one any more that perceptd has loaded: restart perceptd", pack.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::prompts::Part;
    use crate::time::now;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny");

    fn wish(id: &str) -> Job {
        let part = Part { source: PartSource::Text("a dog".to_owned()), weight: 1.0 };
        let settings = PromptSettings {
            id: id.into(),
            parts: vec![part],
            negatives: Vec::new(),
            modalities: vec![Modality::Image],
            p_false: 0.01,
        };
        Job::Prompt(settings, format!("digest of {id}"))
    }

    fn until(condition: impl Fn() -> bool) {
        let limit = now() + Duration::from_secs(20);
        while !condition() {
            assert!(now() < limit, "it took too long");
            std::thread::yield_now();
        }
    }

    #[test]
    fn of_many_wishes_the_one_that_is_being_tried_is_written_down() {
        let folder = tempfile::tempdir().unwrap();
        // Embeds nothing, and ends once it may.
        let (program, go) = (folder.path().join("embedder"), folder.path().join("go"));
        let script = format!("#!/bin/sh\nwhile [ ! -e '{}' ]; do sleep 0.02; done\nexit 1\n", go.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let encoders = Encoders::open(Path::new(TINY), &[]).unwrap();
        let (space, bank) = (encoders.space().clone(), Arc::new(Bank::new(encoders.bank().unwrap())));
        let store = RemoteStore::open(Some(folder.path())).unwrap();
        let prepare = PrepareLoop { pack: TINY.into(), space, bank, program, trials: store.clone() };
        let ((jobs, asked), (made, ready)) = pipes();
        let running = std::thread::spawn(move || prepare.run(&asked, &made));
        for id in ["a", "b", "c", "d"] {
            assert!(jobs.send(wish(id)).is_ok());
        }
        let tried = || store.unfinished_prompt_trials();
        until(|| !tried().is_empty());
        assert_eq!(tried(), [("a".to_owned(), "digest of a".to_owned())]);
        std::fs::write(&go, "").unwrap();
        for id in ["a", "b"] {
            let Received::Item(Ready::Prompt(settings, _, outcome)) = ready.recv(Duration::from_secs(20)) else {
                panic!("nothing was made ready")
            };
            assert_eq!((&*settings.id, outcome.is_err()), (id, true));
        }
        // Who asked stops: what still waits is not to blame, whenever the thread notices.
        drop((jobs, ready));
        running.join().unwrap();
        assert_eq!(tried(), []);
    }
}
