//! Rust source as the tidy tests read it: files of a folder, text without comments and strings, the part above the tests.

use std::path::{Path, PathBuf};

/// Folders that hold nothing written by hand.
const SKIPPED: [&str; 7] = [".git", ".venv", ".work", "__pycache__", "node_modules", "target", "proptest-regressions"];

/// Every file under `folder`, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_symlink() || SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// One Rust file under `src/`.
pub struct Source {
    /// Path below `src/`, with `/`.
    pub path: String,
    /// First part of the path without `.rs`: the room.
    pub room: String,
    /// The file as it is.
    pub text: String,
    /// Above the unit tests, without comments and contents of strings; lines kept.
    pub code: String,
    /// Whether all of it is unit tests.
    pub is_tests: bool,
}

/// Every Rust file under `src/`.
pub fn sources(root: &Path) -> Vec<Source> {
    let src = root.join("src");
    files(&src)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| {
            let below = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
            let text = std::fs::read_to_string(&path).unwrap();
            let room = below.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
            let is_tests = path.file_name().is_some_and(|name| name == "tests.rs");
            let code = if is_tests { String::new() } else { without_tests(&bare(&text)).to_owned() };
            Source { path: below, room, text, code, is_tests }
        })
        .collect()
}

/// What stands above the first module of unit tests; by our custom they are last in a file.
pub fn without_tests(code: &str) -> &str {
    let marked = |at: &usize| code[*at..].lines().nth(1).is_some_and(|line| line.contains("mod "));
    let start = code.match_indices("#[cfg(test)]").map(|(at, _)| at).find(marked);
    start.map_or(code, |end| &code[..end])
}

/// The names that follow `prefix` (`crate::`): also those of a group, `crate::{a, b::c}`.
pub fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(heads_of_group(group)),
            None => names.push(word(rest).to_owned()),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn heads_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(word(group[start..at].trim_start()).to_owned());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(word(group[start..at].trim_start()).to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> &str {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').map_or(text, |end| &text[..end])
}

/// Whether `code` names the crate: `name::…` or `use name;`, not as a later part of a path.
pub fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let starts = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '.');
        let rest = &code[at + name.len()..];
        starts && (rest.starts_with("::") || (code[..at].ends_with("use ") && rest.starts_with([';', ' '])))
    })
}

/// The text with comments and the contents of strings and characters blanked; lines stay where they were.
pub fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(len) = raw_string(rest, out.chars().last()) {
            len
        } else if c == '"' {
            string(rest)
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            out.push(' ');
            rest = &rest[skipped..];
        }
    }
    out
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| c.is_alphanumeric() && c != 'b') {
        return None;
    }
    let after_r = text.strip_prefix('r')?;
    let hashes = after_r.len() - after_r.trim_start_matches('#').len();
    let inside = after_r[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let len = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(2 + hashes + len)
}

/// Length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 3),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

#[test]
fn comments_and_strings_are_blanked() {
    let text =
        "a /* x */ b // crate::y\nlet s = \"crate::z \\\" w\"; let c = '\"'; let l: &'static str = r#\"q\"q\"#; d";
    assert_eq!(bare(text), "a   b  \nlet s =  ; let c =  ; let l: &'static str =  ; d");
}

#[test]
fn names_are_found() {
    let code =
        "use crate::{a::{b, c}, d};\nuse crate::e::f; crate::g(); not_crate::h; use tokio; x::image::y; image::z";
    assert_eq!(names_after(code, "crate::"), ["a", "d", "e", "g"]);
    assert!(names_crate(code, "tokio") && names_crate(code, "image"));
    assert!(!names_crate("x::image::y; my_image::z; image", "image"));
}
