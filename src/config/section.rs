//! A typed reader of one section. Every getter records what is wrong and gives something to go on with, so that one look at a
//! file finds all problems; what nobody asked for is a problem when the reader is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::document::{Node, Value};
use super::problem::{Findings, suggestion};
use crate::files::is_special;

/// One table of the file.
pub(super) struct Section<'a> {
    /// Where it stands: `mqtt`, `sensors.front`, `prompts[0]`; empty for the file itself.
    path: String,
    line: Option<u32>,
    rest: BTreeMap<String, Node>,
    asked: Vec<&'static str>,
    pub(super) findings: &'a Findings,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: String, line: Option<u32>, table: BTreeMap<String, Node>, findings: &'a Findings) -> Self {
        Self { path, line, rest: table, asked: Vec::new(), findings }
    }

    /// The full name of a key of this section.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Something is wrong with the section as a whole.
    pub(super) fn problem(&self, what: impl Into<String>) {
        self.findings.add(self.line, self.path.clone(), what);
    }

    /// Something is wrong with what stands under `key` in line `line`.
    fn wrong(&self, key: &str, line: Option<u32>, what: impl Into<String>) {
        self.findings.add(line.or(self.line), self.key(key), what);
    }

    /// Something is not there. After a syntax error nobody can tell: it may stand in what could not be read.
    pub(super) fn missing(&self, key: &str, hint: &str) {
        if !self.findings.has_syntax_errors() {
            self.problem(format!("`{key}` is missing: {hint}"));
        }
    }

    /// Something must stand under `key`, which stays there.
    pub(super) fn require(&self, key: &str, hint: &str) {
        if !self.has(key) {
            self.missing(key, hint);
        }
    }

    /// The keys that were not asked for are no problems: what they belong to is not known.
    pub(super) fn forget_rest(&mut self) {
        self.rest.clear();
    }

    /// Whether something stands under `key`, which stays there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.rest.contains_key(key)
    }

    /// What stands under `key`.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Node> {
        self.asked.push(key);
        self.findings.note_asked(self.key(key));
        self.rest.remove(key)
    }

    /// A text; `expected` says what it should be, for the message.
    pub(super) fn text(&mut self, key: &'static str, expected: &str) -> Option<(String, Option<u32>)> {
        let Node { value, line } = self.take(key)?;
        match value {
            Value::Text(text) if text.trim().is_empty() => {
                self.wrong(key, line, format!("is empty; expected {expected}"))
            }
            Value::Text(text) => return Some((text, line)),
            other => self.wrong(key, line, format!("expected {expected} in quotes, found {}", other.describe())),
        }
        None
    }

    /// A text without which nothing goes.
    pub(super) fn required_text(&mut self, key: &'static str, expected: &str) -> Option<(String, Option<u32>)> {
        self.require(key, expected);
        self.text(key, expected)
    }

    /// A text that passes `check`, which says what is wrong with it.
    pub(super) fn checked_text(
        &mut self,
        key: &'static str,
        expected: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<String> {
        let (text, line) = self.text(key, expected)?;
        if let Err(what) = check(&text) {
            self.wrong(key, line, what);
        }
        Some(text)
    }

    /// One of a few words.
    pub(super) fn word(&mut self, key: &'static str, words: &[&'static str]) -> Option<&'static str> {
        let (text, line) = self.text(key, &format!("one of {}", words.join(", ")))?;
        let known = words.iter().find(|word| **word == text);
        if known.is_none() {
            self.wrong(key, line, format!("`{text}` is not known; {}", suggestion(&text, words)));
        }
        known.copied()
    }

    /// A number in a range.
    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let Node { value, line } = self.take(key)?;
        let expected = format!("a number from {} to {}", range.start(), range.end());
        match value {
            Value::Number(number) if range.contains(&number) => return Some(number),
            Value::Integer(number) if range.contains(&(number as f64)) => return Some(number as f64),
            other => self.wrong(key, line, format!("expected {expected}, found {}", other.describe())),
        }
        None
    }

    /// A list of N numbers in a range.
    pub(super) fn numbers<const N: usize>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<[f64; N]> {
        let Node { value, line } = self.take(key)?;
        let number = |node: &Node| match node.value {
            Value::Number(number) if range.contains(&number) => Some(number),
            Value::Integer(number) if range.contains(&(number as f64)) => Some(number as f64),
            _ => None,
        };
        let numbers = match &value {
            Value::List(items) => items.iter().map(number).collect::<Option<Vec<f64>>>(),
            _ => None,
        };
        let numbers = numbers.and_then(|numbers| <[f64; N]>::try_from(numbers).ok());
        if numbers.is_none() {
            let expected = format!("{N} numbers from {} to {} in brackets", range.start(), range.end());
            self.wrong(key, line, format!("expected {expected}, found {}", value.describe()));
        }
        numbers
    }

    /// A whole number in a range.
    pub(super) fn integer<T: TryFrom<i64> + Into<i64> + Copy>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let Node { value, line } = self.take(key)?;
        let (low, high): (i64, i64) = ((*range.start()).into(), (*range.end()).into());
        match value {
            Value::Integer(number) if (low..=high).contains(&number) => return T::try_from(number).ok(),
            other => {
                let found = other.describe();
                self.wrong(key, line, format!("expected a whole number from {low} to {high}, found {found}"));
            }
        }
        None
    }

    /// One word, which gives `Some(None)`, or a number in a range.
    pub(super) fn word_or_number(
        &mut self,
        key: &'static str,
        word: &str,
        range: RangeInclusive<f64>,
    ) -> Option<Option<f64>> {
        match self.rest.get(key).map(|node| &node.value) {
            Some(Value::Text(text)) if text == word => self.take(key).map(|_| None),
            Some(Value::Text(text)) => {
                let what = format!("expected \"{word}\" or a number, found the text \"{text}\"");
                let line = self.take(key).and_then(|node| node.line);
                self.wrong(key, line, what);
                None
            }
            _ => self.number(key, range).map(Some),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let Node { value, line } = self.take(key)?;
        if let Value::Flag(flag) = value {
            return Some(flag);
        }
        self.wrong(key, line, format!("expected true or false, found {}", value.describe()));
        None
    }

    /// A path; a relative one counts from `folder`.
    pub(super) fn path(&mut self, key: &'static str, folder: &Path, expected: &str) -> Option<PathBuf> {
        self.text(key, expected).map(|(text, _)| folder.join(text))
    }

    /// A file that must be there; a relative path counts from `folder`.
    pub(super) fn file(&mut self, key: &'static str, folder: &Path, expected: &str) -> Option<PathBuf> {
        let (text, line) = self.text(key, expected)?;
        let path = folder.join(text);
        if let Some(what) = no_file(&path) {
            self.wrong(key, line, what);
        }
        Some(path)
    }

    /// A file that may be gone when it is wanted: whoever reads it tells. No more than what would never end to be read is a problem.
    pub(super) fn later_file(&mut self, key: &'static str, folder: &Path, expected: &str) -> Option<PathBuf> {
        let (text, line) = self.text(key, expected)?;
        let path = folder.join(text);
        let is_endless = fs::metadata(&path).is_ok_and(|found| is_special(&found));
        if let Some(what) = no_file(&path).filter(|_| is_endless) {
            self.wrong(key, line, what);
        }
        Some(path)
    }

    /// A list of texts with their lines.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<(String, Option<u32>)>> {
        let Node { value, line } = self.take(key)?;
        let Value::List(items) = value else {
            self.wrong(key, line, format!("expected a list of texts in brackets, found {}", value.describe()));
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            match item.value {
                Value::Text(text) => texts.push((text, item.line)),
                other => self.wrong(key, item.line, format!("expected a text in quotes, found {}", other.describe())),
            }
        }
        Some(texts)
    }

    /// The table under `key`; an empty one when there is none.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let path = self.key(key);
        let (table, line) = match self.take(key) {
            Some(Node { value: Value::Table(table), line }) => (table, line),
            Some(Node { value, line }) => {
                self.wrong(key, line, format!("expected a table, [{path}], found {}", value.describe()));
                (BTreeMap::new(), line)
            }
            None => (BTreeMap::new(), None),
        };
        Section::new(path, line, table, self.findings)
    }

    /// The tables of the table under `key`, by their names.
    pub(super) fn named_sections(&mut self, key: &'static str) -> Vec<(String, Section<'a>)> {
        let path = self.key(key);
        let mut outer = self.section(key);
        let rest = std::mem::take(&mut outer.rest);
        let mut sections = Vec::new();
        for (name, Node { value, line }) in rest {
            match value {
                Value::Table(table) => {
                    let section = Section::new(format!("{path}.{name}"), line, table, self.findings);
                    sections.push((name, section));
                }
                other => {
                    let what = format!("expected a table, [{path}.{name}], found {}", other.describe());
                    self.findings.add(line, format!("{path}.{name}"), what);
                }
            }
        }
        sections
    }

    /// The tables of the list under `key`.
    pub(super) fn listed_sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let path = self.key(key);
        let Some(Node { value, line }) = self.take(key) else { return Vec::new() };
        let Value::List(items) = value else {
            self.wrong(key, line, format!("expected a list of tables, found {}", value.describe()));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, Node { value, line }) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match value {
                Value::Table(table) => sections.push(Section::new(path, line, table, self.findings)),
                other => self.findings.add(line, path, format!("expected a table, found {}", other.describe())),
            }
        }
        sections
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (key, node) in &self.rest {
            self.wrong(key, node.line, format!("unknown key; {}", suggestion(key, &self.asked)));
        }
    }
}

/// Why there is no file at a path that a config names; none where there is one.
#[must_use]
pub fn no_file(path: &Path) -> Option<String> {
    let place = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_file() => None,
        Ok(found) if found.is_dir() => Some(format!("{place} is a directory, no file")),
        Ok(_) => Some(format!("{place} is a device or a pipe, no file")),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Some(format!("no file {place} (a relative path counts from the config's folder)"))
        }
        Err(error) => Some(format!("{place} cannot be looked at: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::parse;
    use super::*;

    fn problems(text: &str, read: impl FnOnce(&mut Section<'_>)) -> Vec<String> {
        let findings = Findings::default();
        let table = parse(text, &findings);
        read(&mut Section::new(String::new(), None, table, &findings));
        findings.into_parts().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_was_not_asked_for_is_a_problem() {
        let found = problems("hots = 'a'\n[x]\ny = 1\n", |s| {
            s.text("host", "a name");
        });
        assert_eq!(found, ["line 1: hots: unknown key; did you mean `host`?", "line 2: x: unknown key; known: host"]);
    }

    #[test]
    fn wrong_types_and_ranges_say_what_was_expected() {
        let found =
            problems("a = 1\nb = 'x'\nc = 70000\nd = nan\ne = 'on'\nf = ' '\ng = 99999999999999999999\n", |s| {
                s.text("a", "a name");
                s.number("b", 0.5..=2.0);
                s.integer("c", 1..=u16::MAX);
                s.number("d", 0.0..=1.0);
                s.flag("e");
                s.text("f", "a name");
                s.integer("g", 0..=u32::MAX);
            });
        assert_eq!(
            found,
            [
                "line 1: a: expected a name in quotes, found 1",
                "line 2: b: expected a number from 0.5 to 2, found the text \"x\"",
                "line 3: c: expected a whole number from 1 to 65535, found 70000",
                "line 4: d: expected a number from 0 to 1, found NaN",
                "line 5: e: expected true or false, found the text \"on\"",
                "line 6: f: is empty; expected a name",
                "line 7: g: expected a whole number from 0 to 4294967295, found 9223372036854775807",
            ]
        );
    }

    #[test]
    fn only_a_file_that_can_be_waited_for_may_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display().to_string();
        let missing = "no file /none/a (a relative path counts from the config's folder)".to_owned();
        let directory = format!("{place} is a directory, no file");
        let device = "/dev/null is a device or a pipe, no file".to_owned();
        for (path, what, is_late) in
            [("/none/a", &missing, true), (&place, &directory, true), ("/dev/null", &device, false)]
        {
            let text = format!("a = '{path}'\n");
            let told = vec![format!("line 1: a: {what}")];
            let file = |s: &mut Section<'_>| drop(s.file("a", folder.path(), "a file"));
            assert_eq!(problems(&text, file), told);
            let later = |s: &mut Section<'_>| drop(s.later_file("a", folder.path(), "a file"));
            assert_eq!(problems(&text, later), if is_late { Vec::new() } else { told });
        }
    }

    #[test]
    fn whole_numbers_do_for_numbers() {
        let found = problems("a = 1\n", |s| assert_eq!(s.number("a", 0.0..=1.0), Some(1.0)));
        assert_eq!(found, [""; 0]);
    }
}
