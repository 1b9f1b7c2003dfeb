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
}

impl PrepareLoop {
    pub(super) fn run(self, input: &Receiver<Job>, output: &Sender<Ready>) {
        let mut embedder = None;
        loop {
            let ready = match input.recv(IDLE) {
                Received::Item(Job::Encoders(senses)) => Ready::Encoders(self.encoders(&senses)),
                Received::Item(Job::Prompt(settings, digest)) => {
                    let prompt = self.prompt(&settings, &mut embedder);
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
