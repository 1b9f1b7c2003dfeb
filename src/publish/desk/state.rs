//! A state topic: what is said on it, and how far it is.

use std::collections::VecDeque;
use std::mem;

use super::Message;
use crate::publish::arrivals::MOST_REPLACED;
use crate::publish::outbox::Outcome;
use crate::publish::topics::Class;

/// Answers to wishes that may wait on one topic behind each other, besides the newest, and their bytes; beyond that the oldest goes.
const MOST_EARLIER: usize = 64;
const MOST_EARLIER_BYTES: usize = 1 << 20;
// All that gave way to one wish, and as many again that were refused, have room.
const _: () = assert!(MOST_EARLIER >= 2 * MOST_REPLACED);

/// The newest message of a topic. Of answers to wishes those before it are said too, for somebody waits for each.
pub(super) struct State {
    pub(super) message: Message,
    /// Names what it answers, and how; empty where no wish is answered.
    answer: String,
    pub(super) is_said: bool,
    in_client: bool,
    /// Answers before `message` that the broker has not taken yet, oldest first. Where there are any, one that is with the client is
    /// the first of them. Each with its name.
    earlier: VecDeque<(Message, String)>,
}

impl State {
    pub(super) const fn new(message: Message, answer: String) -> Self {
        Self { message, answer, is_said: false, in_client: false, earlier: VecDeque::new() }
    }

    /// What is to be handed to the client now, if anything is: one at a time.
    pub(super) fn next(&mut self) -> Option<Message> {
        if self.in_client || self.is_said && self.earlier.is_empty() {
            return None;
        }
        self.in_client = true;
        self.is_said = self.earlier.is_empty();
        Some(self.earlier.front().map_or(&self.message, |(message, _)| message).clone())
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

    /// There is something newer to say. Returns how many answers had to go.
    pub(super) fn replace(&mut self, message: Message, answer: String) -> u64 {
        let is_taken = self.is_said && !self.in_client;
        let before = (mem::replace(&mut self.message, message), mem::replace(&mut self.answer, answer));
        self.is_said = false;
        if is_taken || !matches!(before.0.class, Class::ConfigReported | Class::PromptReported) {
            return 0;
        }
        self.earlier.push_back(before);
        self.make_room()
    }

    /// What is with the client stays, whatever goes.
    fn make_room(&mut self) -> u64 {
        let first = usize::from(self.in_client);
        // The answer that stands is said after each that does not: once, after all of them, is enough.
        let again = |(_, answer): &(Message, String)| !answer.is_empty() && *answer == self.answer;
        if let Some(index) = (first..self.earlier.len()).find(|&index| self.earlier.get(index).is_some_and(again)) {
            self.earlier.remove(index);
        }
        let mut bytes: usize = self.earlier.iter().map(|(message, _)| message.payload.len()).sum();
        let mut gone = 0;
        while (self.earlier.len() > MOST_EARLIER || bytes > MOST_EARLIER_BYTES)
            && let Some((message, _)) = self.earlier.remove(first)
        {
            bytes -= message.payload.len();
            gone += 1;
        }
        gone
    }

    /// Whether all is said and acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        self.is_said && !self.in_client && self.earlier.is_empty()
    }
}
