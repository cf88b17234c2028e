//! A Rust source file as the checks see it: its text, and the same text with comments, strings and characters blanked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One file of the work tree.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// From the workspace's root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` with the insides of comments, strings and characters replaced by spaces; lines stay where they are.
    pub(crate) code: String,
}

/// What is wrong with a file, and how it is mended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// 0: the file as a whole.
    pub(crate) line: usize,
    pub(crate) message: String,
}

// === impl Source ===

impl Source {
    /// A file with this text.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank(text),
        }
    }

    /// Whether the file is written by `cargo xtask gen`.
    pub(crate) fn is_generated(&self) -> bool {
        self.path.contains("/gen/")
    }

    /// Lines before the test module: what ships.
    pub(crate) fn production_lines(&self) -> usize {
        let is_test_mark = |line: &str| line == "#[cfg(test)]";
        self.text
            .lines()
            .position(is_test_mark)
            .unwrap_or_else(|| self.text.lines().count())
    }

    /// Whether a line, counted from 0, holds nothing but a comment, and is no part of a string.
    pub(crate) fn is_comment(&self, line: usize) -> bool {
        let before: usize = self.text.split_inclusive('\n').take(line).map(str::len).sum();
        let mut at = 0;
        for token in tokens(&self.text) {
            if at >= before {
                break;
            }
            at += token.len();
        }
        // A token that begins earlier and reaches over the line's begin is a string, or a comment of several lines.
        at == before && self.text[before..].trim_start().starts_with("//")
    }

    /// The text without the insides of raw strings; lines stay where they are.
    pub(crate) fn without_raw_strings(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        for token in tokens(&self.text) {
            if token.len() > 1 && (token.starts_with('r') || token.starts_with("br")) {
                out.extend(token.chars().filter(|c| *c == '\n'));
            } else {
                out.push_str(token);
            }
        }
        out
    }

    /// A finding at a line, counted from 1.
    pub(crate) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            message: message.into(),
        }
    }
}

/// Every file below the root whose name has one of these endings, without build output and hidden folders.
pub(crate) fn files(root: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                if name != "target" && name != "node_modules" && !name.starts_with('.') {
                    folders.push(entry.path());
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The text in pieces: comments, strings and characters whole, everything else by the character.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut begin) = (0, 0);
    std::iter::from_fn(move || {
        let end = token_end(&chars, at).max(at + 1).min(chars.len());
        let bytes: usize = chars.get(at..end)?.iter().map(|c| c.len_utf8()).sum();
        let token = &text[begin..begin + bytes];
        (at, begin) = (end, begin + bytes);
        (bytes > 0).then_some(token)
    })
}

/// Where the item that begins here ends: at a `;` or `,` outside of brackets, or with the braces that it opens.
pub(crate) fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(c, ';' | ',' | '}') {
            return at;
        }
    }
    code.len()
}

/// Replaces what is inside comments, strings and characters by spaces.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = token_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// The end of the comment, string or character that starts at `at`; `at` itself if none does.
fn token_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let before = at.checked_sub(1).map(|before| chars[before]);
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest {
        ['/', '/', ..] => at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment_end(chars, at),
        ['"', ..] => string_end(chars, at + 1),
        ['r', '"' | '#', ..] if !in_word => raw_string_end(chars, at + 1).unwrap_or(at),
        ['b', 'r', '"' | '#', ..] if !in_word => raw_string_end(chars, at + 2).unwrap_or(at),
        ['\'', '\\', _, behind @ ..] => at + 4 + behind.iter().position(|c| *c == '\'').unwrap_or(behind.len()),
        // A lifetime has no closing quote behind its first letter.
        ['\'', _, '\'', ..] => at + 3,
        _ => at,
    }
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0_usize, at);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `None` for a raw identifier, which begins alike.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closes = |i: &usize| chars[*i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    let close = (at + hashes + 1..chars.len()).find(closes);
    Some(close.map_or(chars.len(), |close| close + 1 + hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y")"#, "f(      )"),
            ("f(r#\"a\"b\"#)", "f(        )"),
            ("f(br\"a\\\")", "f(      )"),
            ("x: &'a str, '{', '\\'', 'b'", "x: &'a str,    ,     ,    "),
            ("r#type", "r#type"),
            ("let var\"s\"", "let var   "),
        ] {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn production_lines_end_at_the_tests() {
        assert_eq!(
            Source::new("a.rs", "1\n2\n#[cfg(test)]\nmod tests {}\n").production_lines(),
            2
        );
        assert_eq!(Source::new("a.rs", "1\n2\n").production_lines(), 2);
    }
}
