//! The sequence number of each topic.
//!
//! Names of prompts come from outside, and each brings topics of its own: of those that have been silent longest, the numbers are
//! forgotten.

use std::collections::HashMap;

/// Topics whose numbers are known; far more than sensors and prompts have at a time.
const MOST_TOPICS: usize = 8_192;

/// Gives out numbers.
pub(super) struct Numbers {
    topics: HashMap<String, Next>,
    /// Where a topic starts that is not known: beyond all that a forgotten one has had, so that no number ever comes twice.
    start: u64,
    /// Numbers given out, of all topics.
    given: u64,
}

struct Next {
    number: u64,
    /// How many had been given out when this topic got its last one.
    used_at: u64,
}

impl Numbers {
    pub(super) fn new(first: u64) -> Self {
        Self { topics: HashMap::new(), start: first, given: 0 }
    }

    /// The next number of a topic.
    pub(super) fn next(&mut self, topic: &str) -> u64 {
        self.given += 1;
        if let Some(next) = self.topics.get_mut(topic) {
            next.number += 1;
            next.used_at = self.given;
            return next.number - 1;
        }
        if self.topics.len() >= MOST_TOPICS {
            self.forget_one();
        }
        self.topics.insert(topic.to_owned(), Next { number: self.start + 1, used_at: self.given });
        self.start
    }

    fn forget_one(&mut self) {
        let silent = self.topics.iter().min_by_key(|(_, next)| next.used_at).map(|(topic, _)| topic.clone());
        if let Some(next) = silent.and_then(|topic| self.topics.remove(&topic)) {
            self.start = self.start.max(next.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_by_one_and_outlast_thousands_of_other_names() {
        let mut numbers = Numbers::new(7);
        assert_eq!([numbers.next("a"), numbers.next("b"), numbers.next("a")], [7, 7, 8]);
        for n in 0..MOST_TOPICS - 2 {
            assert_eq!(numbers.next(&format!("x{n}")), 7);
        }
        assert_eq!([numbers.next("a"), numbers.next("b")], [9, 8]);
    }

    #[test]
    fn what_is_forgotten_is_bounded_and_comes_back_beyond_what_it_had() {
        let mut numbers = Numbers::new(7);
        let last = (0..100).map(|_| numbers.next("gone")).max().unwrap();
        for n in 0..2 * MOST_TOPICS {
            numbers.next(&format!("x{n}"));
            numbers.next("sensor");
        }
        assert_eq!(numbers.topics.len(), MOST_TOPICS);
        assert_eq!(numbers.next("sensor"), 7 + 2 * MOST_TOPICS as u64, "what is used goes on by one");
        let back = numbers.next("gone");
        assert!(back > last, "{back} after {last}");
        assert_eq!(numbers.next("gone"), back + 1);
    }
}
