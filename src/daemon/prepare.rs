//! The thread that makes things ready beside the pipeline: encoders for a sensor that is turned on, prompts.
//!
//! It has encoders of its own, which it drops when nothing has been asked of it for a while, so the inference thread never waits for a
//! model to load.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::prompt_book::MOST_PROMPTS;
use crate::encoders::Encoders;
use crate::modality::Modality;
use crate::pipe::{OnDrop, Received, Receiver, Sender, WhenFull, bounded};
use crate::prompts::{Prompt, PromptSettings, enrol};
use crate::space::Bank;

/// Encoders that nothing was asked of for so long are dropped.
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
    pub(super) bank: Arc<Bank>,
}

impl PrepareLoop {
    pub(super) fn run(self, input: &Receiver<Job>, output: &Sender<Ready>) {
        let mut encoders = None;
        loop {
            let ready = match input.recv(IDLE) {
                Received::Item(Job::Encoders(senses)) => Ready::Encoders(self.encoders(&senses)),
                Received::Item(Job::Prompt(settings, digest)) => {
                    let prompt = self.prompt(&settings, &mut encoders);
                    Ready::Prompt(settings, digest, prompt)
                }
                Received::TimedOut => {
                    encoders = None;
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
        Encoders::open(&self.pack, senses).map(Box::new).map_err(|error| error.to_string())
    }

    fn prompt(&self, settings: &PromptSettings, encoders: &mut Option<Encoders>) -> Result<Box<Prompt>, String> {
        if encoders.is_none() {
            *encoders = Some(Encoders::open(&self.pack, &[]).map_err(|error| error.to_string())?);
        }
        let Some(encoders) = encoders else { return Err("the encoders cannot be opened".to_owned()) };
        enrol(settings, encoders, &self.bank).map(Box::new).map_err(|error| error.to_string())
    }
}
