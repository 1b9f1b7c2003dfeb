//! A state topic: what is said on it, and how far it is.

use std::collections::VecDeque;
use std::mem;

use super::Message;
use crate::publish::outbox::Outcome;
use crate::publish::topics::Class;

/// Answers to wishes that may wait on one topic behind each other, besides the newest; beyond that the oldest goes.
const MOST_EARLIER: usize = 16;

/// The newest message of a topic. Of answers to wishes those before it are said too, for somebody waits for each.
pub(super) struct State {
    pub(super) message: Message,
    pub(super) is_said: bool,
    in_client: bool,
    /// Answers before `message` that the broker has not taken yet, oldest first. Where there are any, one that is with the client is
    /// the first of them.
    earlier: VecDeque<Message>,
}

impl State {
    pub(super) const fn new(message: Message) -> Self {
        Self { message, is_said: false, in_client: false, earlier: VecDeque::new() }
    }

    /// What is to be handed to the client now, if anything is: one at a time.
    pub(super) fn next(&mut self) -> Option<Message> {
        if self.in_client || self.is_said && self.earlier.is_empty() {
            return None;
        }
        self.in_client = true;
        self.is_said = self.earlier.is_empty();
        Some(self.earlier.front().unwrap_or(&self.message).clone())
    }

    /// What became of what was handed out last.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        self.in_client = false;
        // A broker keeps retained state whether or not somebody listens; what it refused it would refuse again.
        let is_taken = outcome != Outcome::Undone;
        if self.earlier.is_empty() {
            self.is_said &= is_taken;
        } else if is_taken {
            self.earlier.pop_front();
        }
    }

    /// There is something newer to say.
    pub(super) fn replace(&mut self, message: Message) {
        let is_taken = self.is_said && !self.in_client;
        let before = mem::replace(&mut self.message, message);
        self.is_said = false;
        if is_taken || !matches!(before.class, Class::ConfigReported | Class::PromptReported) {
            return;
        }
        self.earlier.push_back(before);
        if self.earlier.len() > MOST_EARLIER {
            self.earlier.remove(usize::from(self.in_client));
        }
    }

    /// Whether all is said and acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        self.is_said && !self.in_client && self.earlier.is_empty()
    }
}
