//! What is wrong with a config: each problem by key and line, with what to do. Problems are collected, never the first one only.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1; none where the file has no line for it.
    pub line: Option<u32>,
    /// The key, such as `sensors.front.width_px`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Problems found so far, and every key that was asked for.
#[derive(Default)]
pub(super) struct Findings {
    problems: RefCell<Vec<Problem>>,
    asked: RefCell<BTreeSet<String>>,
    syntax_errors: Cell<usize>,
}

impl Findings {
    pub(super) fn add(&self, line: Option<u32>, key: impl Into<String>, what: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { line, key: key.into(), what: what.into() });
    }

    pub(super) fn add_syntax_error(&self, line: Option<u32>, what: &str) {
        self.syntax_errors.set(self.syntax_errors.get() + 1);
        self.add(line, "", format!("not TOML: {what}"));
    }

    pub(super) fn has_syntax_errors(&self) -> bool {
        self.syntax_errors.get() > 0
    }

    pub(super) fn note_asked(&self, key: String) {
        self.asked.borrow_mut().insert(key);
    }

    /// `settings`, or every problem in the order of the file's lines.
    pub(super) fn into_result<T>(self, settings: T) -> Result<T, Vec<Problem>> {
        let (problems, _) = self.into_parts();
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// All problems in the order of the file's lines, and the keys that were asked for.
    pub(super) fn into_parts(self) -> (Vec<Problem>, BTreeSet<String>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line.unwrap_or(u32::MAX));
        (problems, self.asked.into_inner())
    }
}

/// `; did you mean X?` when one of the words is near, else the list of words.
pub(super) fn suggestion(word: &str, words: &[&str]) -> String {
    // `rate_hz` for `sample_rate_hz` is nearer than its letters say.
    let is_part = |known: &str| word.len() >= 4 && known.contains(word);
    let near = words.iter().map(|known| (if is_part(known) { 1 } else { distance(word, known) }, *known)).min();
    match near {
        Some((distance, known)) if distance <= 1 + word.chars().count() / 4 => format!("did you mean `{known}`?"),
        _ if words.is_empty() => "this section has no keys".to_owned(),
        _ => format!("known: {}", words.join(", ")),
    }
}

/// How many letters must be changed, added, left out or swapped with their neighbour to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j) + usize::from(a != b)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && from.get(i - 1) == Some(b) && to.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("port", "port", 0),
            ("prot", "port", 1),
            ("hots", "host", 1),
            ("keep", "keeps", 1),
            ("a", "xyz", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(suggestion("pasword_file", &["username", "password_file"]), "did you mean `password_file`?");
        assert_eq!(suggestion("tls", &["host", "port"]), "known: host, port");
    }
}
