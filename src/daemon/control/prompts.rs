//! Wishes for prompts, done: enrolled beside, kept, looked for, told.

use super::Control;
use crate::daemon::perception::PerceptionChange;
use crate::daemon::prepare::Job;
use crate::daemon::prompt_book::PromptStep;
use crate::prompts::{Prompt, PromptId, PromptSettings};
use crate::publish::payload_digest;
use crate::store::Fault;
use crate::time::now;

impl Control {
    pub(super) fn prompt_steps(&mut self, steps: Vec<PromptStep>) {
        for step in steps {
            match step {
                PromptStep::Enrol(settings, digest) => self.enrol(settings, digest),
                PromptStep::Keep(id, payload) => {
                    let kept = self.store.save_prompt(&id, &payload).map_err(|error| Fault::whole(error.to_string()));
                    let settled = self.book.settled(&id, &payload_digest(&payload), kept);
                    self.prompt_steps(settled);
                }
                PromptStep::Forget(id) => {
                    if let Err(error) = self.store.remove_prompt(&id) {
                        tracing::error!("{error}");
                    }
                }
                PromptStep::Drop(id) => self.tell_perception(PerceptionChange::DropPrompt(id)),
                PromptStep::Report(report) => {
                    self.answers.prompt(&report);
                    self.publisher.prompt_reported(&report, now());
                }
                PromptStep::Gone(id) => {
                    self.answers.prompt_gone(&id);
                    self.publisher.prompt_gone(&id);
                }
            }
        }
    }

    fn enrol(&mut self, settings: PromptSettings, digest: String) {
        let id = settings.id.clone();
        if self.pipes.jobs.send(Job::Prompt(settings, digest.clone())).is_err() {
            let steps = self.book.settled(&id, &digest, Err(Fault::whole("perceptd is stopping")));
            self.prompt_steps(steps);
        }
    }

    pub(super) fn prompt_ready(&mut self, id: &PromptId, digest: &str, outcome: Result<Box<Prompt>, String>) {
        if !self.book.is_wanted(id, digest) {
            return;
        }
        let outcome = outcome.map_err(|what| Fault { key: "parts".to_owned(), what }).and_then(|prompt| {
            let kept = self.book.payload(id, digest).map_or(Ok(()), |payload| self.store.save_prompt(id, payload));
            kept.map_err(|error| Fault::whole(error.to_string())).map(|()| prompt)
        });
        let outcome = outcome.map(|prompt| self.tell_perception(PerceptionChange::PutPrompt(prompt)));
        let steps = self.book.settled(id, digest, outcome);
        self.prompt_steps(steps);
    }
}
