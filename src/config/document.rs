//! A config as a tree of values that know their lines.
//!
//! No key has a meaning here. A patch to the running config can be merged into the same tree and the whole resolved again.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::problem::Findings;

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Text(String),
    Integer(i64),
    Number(f64),
    Flag(bool),
    Date(String),
}

impl Value {
    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Table(_) => "a table".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Text(text) => format!("the text \"{text}\""),
            Self::Integer(number) => number.to_string(),
            // 3.0 is told from 3, which some keys want.
            Self::Number(number) => format!("{number:?}"),
            Self::Flag(flag) => flag.to_string(),
            Self::Date(date) => format!("the date {date}"),
        }
    }
}

/// A value and the line on which it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) line: Option<u32>,
}

/// After this many syntax errors the rest of a file is likely to be misread.
const MOST_SYNTAX_ERRORS: usize = 10;

/// Reads a TOML document. Each syntax error is a finding; its line is then left out and the rest read, so that one look finds
/// mistakes of every kind.
pub(super) fn parse(text: &str, findings: &Findings) -> BTreeMap<String, Node> {
    let lines = Lines::of(text);
    let mut text = text.to_owned();
    for _ in 0..MOST_SYNTAX_ERRORS {
        let error = match DeTable::parse(&text) {
            Ok(table) => return convert_table(table.get_ref(), &lines),
            Err(error) => error,
        };
        let at = error.span().map(|span| lines.line_of(span.start));
        findings.add_syntax_error(at, error.message());
        let blanked = at.and_then(|line| lines.blank(&text, line));
        let Some(blanked) = blanked.filter(|blanked| *blanked != text) else { break };
        text = blanked;
    }
    BTreeMap::new()
}

/// Puts a text under `section.key` where nothing stands there; what is no table stays, for whoever reads it to refuse.
pub(super) fn add_text(tree: &mut BTreeMap<String, Node>, section: &str, key: &str, text: &str) {
    let empty = || Node { value: Value::Table(BTreeMap::new()), line: None };
    if let Value::Table(table) = &mut tree.entry(section.to_owned()).or_insert_with(empty).value {
        table.entry(key.to_owned()).or_insert_with(|| Node { value: Value::Text(text.to_owned()), line: None });
    }
}

fn convert_table(table: &DeTable<'_>, lines: &Lines) -> BTreeMap<String, Node> {
    table
        .iter()
        .map(|(key, value)| {
            let node = Node { value: convert(value.get_ref(), lines), line: Some(lines.line_of(key.span().start)) };
            (key.get_ref().to_string(), node)
        })
        .collect()
}

fn convert(value: &DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            // Beyond 64 bits no key has a use for it; the range check of the key refuses the largest value.
            Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i64::MAX))
        }
        DeValue::Float(float) => Value::Number(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => Value::List(
            list.iter()
                .map(|item| Node {
                    value: convert(item.get_ref(), lines),
                    line: Some(lines.line_of(item.span().start)),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, lines)),
    }
}

/// Where each line of a text begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The text with one line, from 1, made of spaces; when it heads a section, its keys too, lest they count to the one before.
    fn blank(&self, text: &str, line: u32) -> Option<String> {
        let start = *self.0.get(line.checked_sub(1)? as usize)?;
        let (before, rest) = text.split_at_checked(start)?;
        let end_of_line = rest.find('\n').unwrap_or(rest.len());
        let heads_section = rest.trim_start().starts_with('[');
        let end = if heads_section { rest.find("\n[").unwrap_or(rest.len()) } else { end_of_line };
        let (this, after) = rest.split_at(end);
        let blank: String = this.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
        Some(format!("{before}{blank}{after}"))
    }

    fn line_of(&self, offset: usize) -> u32 {
        u32::try_from(self.0.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines() {
        let findings = Findings::default();
        let tree = parse("a = 1\n\n[b.c]\nd = [\n  { e = 'x' },\n]\n[[f]]\n[[f]]\ng = 0x10\nh = 1_000.5\n", &findings);
        assert!(findings.into_parts().0.is_empty());
        assert_eq!(tree["a"], Node { value: Value::Integer(1), line: Some(1) });
        let Value::Table(b) = &tree["b"].value else { panic!() };
        let Value::Table(c) = &b["c"].value else { panic!() };
        assert_eq!((tree["b"].line, c["d"].line), (Some(3), Some(4)));
        let Value::List(f) = &tree["f"].value else { panic!() };
        assert_eq!(f.iter().map(|node| node.line).collect::<Vec<_>>(), [Some(7), Some(8)]);
        let Value::Table(last) = &f[1].value else { panic!() };
        assert_eq!((&last["g"].value, &last["h"].value), (&Value::Integer(16), &Value::Number(1000.5)));
    }

    #[test]
    fn every_syntax_error_is_told_and_the_rest_is_read() {
        let findings = Findings::default();
        let tree = parse("a = \nb = 2\nc 3\nb = 4\n", &findings);
        let lines: Vec<_> = findings.into_parts().0.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [Some(1), Some(3), Some(4)]);
        assert_eq!(tree["b"].value, Value::Integer(2));
    }
}
