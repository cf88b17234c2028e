//! Modules that the root of a crate makes public, though no other crate names them. What is inside then can only be public by mistake,
//! which the compiler sees (`unreachable_pub`) as soon as the module is private.

use std::collections::BTreeSet;

use super::source::{Finding, Source};

/// Roots of libraries, below the folder of their crate.
const ROOT: &str = "src/lib.rs";

/// Public modules that nobody outside of their crate uses. A program beside a library is another crate.
pub(crate) fn public_for_nobody(sources: &[Source], libraries: &[(String, String)]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, root) in libraries {
        let Some(source) = sources.iter().find(|source| source.path == *root) else {
            continue;
        };
        let inside = root.strip_suffix("lib.rs").unwrap_or(root);
        let program = format!("{inside}main.rs");
        let outside = sources
            .iter()
            .filter(|other| !other.path.starts_with(inside) || other.path == program);
        let named: BTreeSet<&str> = outside.flat_map(|other| modules_named(&other.code, name)).collect();
        for (at, line) in source.code.lines().enumerate() {
            let module = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';'));
            if let Some(module) = module.filter(|module| !named.contains(module)) {
                let message = format!("no other crate uses {name}::{module}: make the module private");
                found.push(source.finding(at + 1, message));
            }
        }
    }
    found
}

/// Names and roots of the libraries of the workspace; `root` gives a path as sources have it.
pub(crate) fn libraries<'a>(
    targets: impl Iterator<Item = &'a serde_json::Value>,
    root: impl Fn(&str) -> String,
) -> Vec<(String, String)> {
    let library = |target: &serde_json::Value| {
        let path = root(target["src_path"].as_str()?);
        let name = target["name"].as_str()?.replace('-', "_");
        path.ends_with(ROOT).then_some((name, path))
    };
    targets.filter_map(library).collect()
}

/// The modules behind `name::`, one by one or in braces.
fn modules_named<'a>(code: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!("{name}::");
    let mut named = Vec::new();
    for (at, _) in code.match_indices(&start) {
        let begins = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[at + start.len()..];
        if !begins {
            continue;
        }
        match rest.strip_prefix('{') {
            Some(list) => named.extend(first_words(list)),
            None => named.push(word(rest)),
        }
    }
    named
}

/// The first word of each part of a list up to its closing brace; inner lists are their part's own.
fn first_words(list: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut depth, mut fresh) = (0, true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                words.push(word(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    words
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_no_other_crate_names_are_found() {
        let sources = [
            Source::new(
                "crates/a/src/lib.rs",
                "pub mod one;\npub mod two;\npub mod three;\npub mod four;\nmod five;\n",
            ),
            Source::new("crates/a/src/main.rs", "use weft_a::one::run;\n"),
            Source::new("crates/a/src/two.rs", "use weft_a::four; // seen from within\n"),
            Source::new(
                "tests/it.rs",
                "use weft_a::{\n    two::{four, x},\n    other,\n};\nuse my_weft_a::three;\n",
            ),
        ];
        let libraries = [("weft_a".to_owned(), "crates/a/src/lib.rs".to_owned())];
        let found = public_for_nobody(&sources, &libraries);
        let messages: Vec<(usize, &str)> = found
            .iter()
            .map(|finding| (finding.line, finding.message.as_str()))
            .collect();
        assert_eq!(
            messages,
            [
                (3, "no other crate uses weft_a::three: make the module private"),
                (4, "no other crate uses weft_a::four: make the module private"),
            ]
        );
    }
}
