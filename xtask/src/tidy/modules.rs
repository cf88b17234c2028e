//! Orphans: source files that no `mod` reaches, so that nothing compiles or tests them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::source::{Finding, Source};

/// Files below a target's folder that are reached from none of the roots (main.rs, lib.rs, test and example files).
pub(crate) fn orphans(sources: &[Source], roots: &[String]) -> Vec<Finding> {
    let find = |path: &str| sources.iter().find(|source| source.path == path);
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut waiting: Vec<(String, bool)> = roots.iter().map(|root| (root.clone(), true)).collect();
    while let Some((path, is_root)) = waiting.pop() {
        let Some(source) = find(&path) else {
            continue;
        };
        if !reached.insert(path.clone()) {
            continue;
        }
        for name in declared(&source.code) {
            let candidates =
                module_files(Path::new(&path), is_root, &name).map(|file| file.to_string_lossy().into_owned());
            waiting.extend(candidates.into_iter().map(|file| (file, false)));
        }
        // A file that is named by its path looks for its own modules beside itself, as a root does.
        let named = paths(&source.text).map(|file| beside(Path::new(&path), file));
        waiting.extend(named.map(|file| (file, true)));
    }
    let lost = sources
        .iter()
        .filter(|source| !source.is_generated() && !reached.contains(&source.path));
    lost.map(|source| source.finding(0, "is reached by no `mod`: declare it or delete it"))
        .collect()
}

/// Names of `mod name;` declarations.
fn declared(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in code.lines() {
        let line = line.trim();
        let line = line
            .strip_prefix("pub")
            .map_or(line, |rest| match rest.split_once(')') {
                Some((visibility, rest)) if visibility.starts_with('(') => rest.trim_start(),
                _ => rest.trim_start(),
            });
        let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.split_once(';')) else {
            continue;
        };
        names.push(name.0.trim().to_owned());
    }
    names
}

/// Files of `#[path = "..."]` attributes.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"))
}

/// A path that is told relative to the folder of a file.
fn beside(file: &Path, told: &str) -> String {
    let mut parts: Vec<&str> = file
        .parent()
        .into_iter()
        .flat_map(Path::iter)
        .filter_map(|part| part.to_str())
        .collect();
    for part in told.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// Where a module declared in `file` may be (Rust reference, module source filenames).
fn module_files(file: &Path, is_root: bool, name: &str) -> [PathBuf; 2] {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let stem = file.file_stem().unwrap_or_default();
    let folder = if is_root || stem == "mod" {
        folder.to_owned()
    } else {
        folder.join(stem)
    };
    [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_outside_the_module_tree_are_found() {
        let sources = [
            Source::new("c/src/lib.rs", "mod a;\npub(in crate::x) mod b;\n// mod lost;\n"),
            Source::new("c/src/a.rs", "pub mod inner;\n"),
            Source::new("c/src/a/inner.rs", ""),
            Source::new("c/src/b/mod.rs", "mod x;\n"),
            Source::new("c/src/b/x.rs", "#[path = \"../named/one.rs\"]\nmod one;\n"),
            Source::new("c/src/named/one.rs", "mod other;\n"),
            Source::new("c/src/named/other.rs", ""),
            Source::new("c/src/lost.rs", ""),
            Source::new("c/src/inner.rs", ""),
        ];
        let found = orphans(&sources, &["c/src/lib.rs".to_owned()]);
        let paths: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, ["c/src/lost.rs", "c/src/inner.rs"]);
    }
}
