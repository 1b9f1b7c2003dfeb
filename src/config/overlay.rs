//! What topics change in a config: a JSON merge patch (RFC 7396) over the file's tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::Problem;
use super::document::{Node, Value};

/// Largest JSON text of a change: many times every key that a topic may set.
const MAX_CHANGE_BYTES: usize = 65_536;
/// Deepest nesting; the file's own keys are three deep.
const MAX_CHANGE_DEPTH: usize = 8;

/// Changes over the config file. Each leaf is a new value of a key, or `null`, which takes the key away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlay(Map<String, Json>);

/// One key that an overlay sets: its path, level by level, and its value.
pub(super) struct Leaf<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) value: &'a Json,
}

impl Leaf<'_> {
    pub(super) fn key(&self) -> String {
        self.path.join(".")
    }
}

impl Overlay {
    /// Reads a JSON object; an empty text is no change.
    ///
    /// # Errors
    /// When it is too large, no JSON object, or nested too deep.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |what: String| Err(Problem { line: None, key: String::new(), what });
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_CHANGE_BYTES {
            return refuse(format!("{} bytes of JSON, at most {MAX_CHANGE_BYTES} are taken", text.len()));
        }
        match serde_json::from_str(text).map(|Once(json)| json) {
            Ok(Json::Object(map)) if depth(&map) > MAX_CHANGE_DEPTH => {
                refuse(format!("nested {} deep, at most {MAX_CHANGE_DEPTH} are taken", depth(&map)))
            }
            Ok(Json::Object(map)) => Ok(Self(map)),
            Ok(_) => refuse("not a JSON object: write {\"section\": {\"key\": value}}".to_owned()),
            Err(error) if error.is_data() => refuse(error.to_string()),
            Err(error) => refuse(format!("not JSON: {error}")),
        }
    }

    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The overlay as JSON text; empty when it changes nothing.
    #[must_use]
    pub fn to_json(&self) -> String {
        if self.is_empty() { String::new() } else { Json::Object(self.0.clone()).to_string() }
    }

    /// This overlay with `later` over it.
    #[must_use]
    pub fn then(&self, later: &Self) -> Self {
        let mut sum = self.0.clone();
        add(&mut sum, &later.0);
        Self(sum)
    }

    /// The keys that this overlay and another do not set alike, in order.
    #[must_use]
    pub fn keys_unlike(&self, other: &Self) -> Vec<String> {
        let values = |overlay: &Self| -> BTreeMap<String, Json> {
            overlay.leaves().iter().map(|leaf| (leaf.key(), leaf.value.clone())).collect()
        };
        let (ours, theirs) = (values(self), values(other));
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key)).cloned().collect()
    }

    /// Every key that is set, in order. An object without keys is a value like any other.
    pub(super) fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut leaves = Vec::new();
        collect(&self.0, &[], &mut leaves);
        leaves
    }

    /// The changes of the keys that `is_kept` names.
    pub(super) fn only(&self, is_kept: impl Fn(&Leaf<'_>) -> bool) -> Self {
        let mut kept = Map::new();
        for leaf in self.leaves().into_iter().filter(is_kept) {
            insert(&mut kept, &leaf.path, leaf.value);
        }
        Self(kept)
    }

    /// Puts the changes over the file's tree.
    pub(super) fn apply(&self, tree: &mut BTreeMap<String, Node>) {
        for leaf in self.leaves() {
            put(tree, &leaf.path, leaf.value);
        }
    }
}

/// JSON in which no object has a key twice: which one of them is meant nobody can know.
struct Once(Json);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Once, E> {
        Ok(Once(Json::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        let mut all = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Once(Json::Array(all)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Once, A::Error> {
        let mut all = Map::new();
        while let Some((key, Once(value))) = entries.next_entry::<String, Once>()? {
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` is there twice")));
            }
            all.insert(key, value);
        }
        Ok(Once(Json::Object(all)))
    }
}

fn depth(map: &Map<String, Json>) -> usize {
    1 + map.values().map(depth_of).max().unwrap_or(0)
}

fn depth_of(value: &Json) -> usize {
    match value {
        Json::Object(map) => depth(map),
        Json::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}

fn add(sum: &mut Map<String, Json>, later: &Map<String, Json>) {
    for (key, value) in later {
        match (sum.get_mut(key), value) {
            (Some(Json::Object(old)), Json::Object(new)) => add(old, new),
            _ => {
                sum.insert(key.clone(), value.clone());
            }
        }
    }
}

fn insert(map: &mut Map<String, Json>, path: &[&str], value: &Json) {
    match path {
        [] => {}
        [key] => drop(map.insert((*key).to_owned(), value.clone())),
        [key, below @ ..] => {
            if let Json::Object(inner) = map.entry(*key).or_insert_with(|| Json::Object(Map::new())) {
                insert(inner, below, value);
            }
        }
    }
}

fn collect<'a>(map: &'a Map<String, Json>, above: &[&'a str], leaves: &mut Vec<Leaf<'a>>) {
    for (key, value) in map {
        let mut path = above.to_vec();
        path.push(key);
        match value {
            Json::Object(inner) if !inner.is_empty() => collect(inner, &path, leaves),
            _ => leaves.push(Leaf { path, value }),
        }
    }
}

fn put(tree: &mut BTreeMap<String, Node>, path: &[&str], value: &Json) {
    let Some((key, below)) = path.split_first() else { return };
    if !below.is_empty() {
        let node =
            tree.entry((*key).to_owned()).or_insert_with(|| Node { value: Value::Table(BTreeMap::new()), line: None });
        if !matches!(node.value, Value::Table(_)) {
            *node = Node { value: Value::Table(BTreeMap::new()), line: None };
        }
        if let Value::Table(inner) = &mut node.value {
            put(inner, below, value);
        }
    } else if value.is_null() {
        tree.remove(*key);
    } else {
        tree.insert((*key).to_owned(), Node { value: from_json(value), line: None });
    }
}

/// Whether the tree says something under the path.
pub(super) fn has(tree: &BTreeMap<String, Node>, path: &[&str]) -> bool {
    let Some((key, below)) = path.split_first() else { return true };
    match tree.get(*key).map(|node| &node.value) {
        Some(Value::Table(inner)) => has(inner, below),
        Some(_) => true,
        None => false,
    }
}

fn from_json(value: &Json) -> Value {
    match value {
        // Only a leaf's own null takes a key away; inside a list it is nothing that a config knows.
        Json::Null => Value::Text(String::new()),
        Json::Bool(flag) => Value::Flag(*flag),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Value::Number(number.as_f64().unwrap_or(f64::NAN)), Value::Integer)
        }
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => {
            Value::List(items.iter().map(|item| Node { value: from_json(item), line: None }).collect())
        }
        Json::Object(map) => Value::Table(
            map.iter().map(|(key, value)| (key.clone(), Node { value: from_json(value), line: None })).collect(),
        ),
    }
}

/// A tree as JSON, as it is written: defaults are not spelled out.
pub(super) fn to_json(table: &BTreeMap<String, Node>) -> Json {
    Json::Object(table.iter().map(|(key, node)| (key.clone(), value_to_json(&node.value))).collect())
}

fn value_to_json(value: &Value) -> Json {
    match value {
        Value::Table(table) => to_json(table),
        Value::List(items) => Json::Array(items.iter().map(|item| value_to_json(&item.value)).collect()),
        Value::Text(text) | Value::Date(text) => Json::String(text.clone()),
        Value::Integer(number) => Json::from(*number),
        Value::Number(number) => Json::from(*number),
        Value::Flag(flag) => Json::Bool(*flag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn overlay(text: &str) -> Overlay {
        Overlay::parse(text).unwrap()
    }

    #[test]
    fn bombs_are_refused() {
        let deep = format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60));
        assert_eq!(Overlay::parse(&deep).unwrap_err().what, "nested 60 deep, at most 8 are taken");
        let deepest = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        assert!(Overlay::parse(&deepest).unwrap_err().what.starts_with("not JSON"));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_CHANGE_BYTES));
        assert!(Overlay::parse(&large).unwrap_err().what.contains("at most 65536"));
        for not_an_object in ["1", "[]", "null", "\"x\""] {
            assert!(Overlay::parse(not_an_object).unwrap_err().what.starts_with("not a JSON object"));
        }
        let twice = r#"{"log":{"level":"warn"},"events":[{"a":1,"b":{"c":1,"c":2}}]}"#;
        let told = Overlay::parse(twice).unwrap_err().what;
        assert!(told.starts_with("the key `c` is there twice at line 1"), "{told}");
    }

    #[test]
    fn later_changes_go_over_earlier_ones() {
        let sum = overlay(r#"{"a":{"b":1,"c":2},"d":3}"#).then(&overlay(r#"{"a":{"b":null},"d":{"e":4}}"#));
        assert_eq!(sum, overlay(r#"{"a":{"b":null,"c":2},"d":{"e":4}}"#));
        assert_eq!(overlay("").then(&overlay("{}")).to_json(), "");
    }

    #[test]
    fn a_patch_changes_the_tree_as_the_standard_says() {
        let findings = super::super::problem::Findings::default();
        let mut tree = super::super::document::parse("x = 1\n[a]\nb = 1\nc = 'two'\n", &findings);
        overlay(r#"{"a":{"b":null,"d":[1.5,true]},"x":{"y":"z"}}"#).apply(&mut tree);
        assert_eq!(to_json(&tree).to_string(), r#"{"a":{"c":"two","d":[1.5,true]},"x":{"y":"z"}}"#);
    }

    #[test]
    fn some_changes_can_be_left_out() {
        let changes = overlay(r#"{"a":{"b":null,"c":{"d":1,"e":{}}},"x":[2]}"#);
        assert_eq!(changes.only(|_| true), changes);
        assert_eq!(changes.only(|leaf| leaf.key() != "a.c.d").to_json(), r#"{"a":{"b":null,"c":{"e":{}}},"x":[2]}"#);
        assert_eq!(changes.only(|leaf| leaf.key() == "x").to_json(), r#"{"x":[2]}"#);
        assert!(changes.only(|_| false).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_an_overlay_or_one_problem(text in "\\PC{0,200}") {
            if let Ok(read) = Overlay::parse(&text) {
                prop_assert_eq!(Overlay::parse(&read.to_json()).unwrap(), read);
            }
        }
    }
}
