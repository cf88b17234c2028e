//! `cargo xtask tidy`: rules of the house that no compiler checks. Plain scans of text; nothing is compiled.

mod comments;
mod edges;
mod layers;
mod locks;
mod modules;
mod shape;
mod source;
mod visibility;
mod width;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::source::{Finding, Source};
use crate::{process, workspace};

/// A check of one source file.
type Check = fn(&Source) -> Vec<Finding>;

/// Checks of every Rust file by itself.
const CHECKS: &[Check] = &[
    shape::module_doc,
    shape::file_length,
    shape::function_length,
    words::banned,
    words::impure,
    words::protobuf,
    comments::too_short,
    width::line_width,
];
/// The program of the other workspace.
const FUZZER: &str = "fuzz/src/main.rs";
/// Files whose white space is looked at.
const TEXT_FILES: &[&str] = &[
    ".rs", ".toml", ".md", ".yaml", ".yml", ".proto", ".html", ".css", ".js", ".py",
];

/// Runs every check and prints what is found.
pub(crate) fn run() -> Result<()> {
    let findings = findings(&workspace::root())?;
    for finding in &findings {
        let line = if finding.line > 0 {
            format!(":{}", finding.line)
        } else {
            String::new()
        };
        eprintln!("{}{line} {}", finding.path, finding.message);
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    Ok(())
}

fn findings(root: &Path) -> Result<Vec<Finding>> {
    let mut sources = Vec::new();
    let mut found = Vec::new();
    for file in source::files(root, TEXT_FILES)? {
        let path = relative(root, &file);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {path}"))?;
        if path.ends_with(".rs") {
            sources.push(Source::new(&path, &text));
        }
        if !path.contains("/gen/") {
            found.extend(shape::white_space(&path, &text));
        }
    }
    found.extend(
        sources
            .iter()
            .flat_map(|source| CHECKS.iter().flat_map(|check| check(source))),
    );
    let metadata = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let metadata: Value = serde_json::from_str(&process::output(&mut process::cargo(&metadata))?)?;
    found.extend(modules::orphans(&sources, &target_roots(root, &metadata)));
    found.extend(edges::edges(&graph(&metadata)));
    found.extend(locks::check(root, &needs(&metadata))?);
    let libraries = visibility::libraries(targets(&metadata), |file| relative(root, Path::new(file)));
    found.extend(visibility::public_for_nobody(&sources, &libraries));
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("cannot read ARCHITECTURE.md")?;
    found.extend(layers::layers(&sources, &architecture));
    found.extend(words::stale(&sources));
    found.extend(words::unguarded(&architecture));
    found.sort();
    Ok(found)
}

fn relative(root: &Path, file: &Path) -> String {
    file.strip_prefix(root)
        .unwrap_or(file)
        .to_string_lossy()
        .replace('\\', "/")
}

/// The members of the workspace, as `cargo metadata` describes them.
fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// What is compiled of the members.
fn targets(metadata: &Value) -> impl Iterator<Item = &Value> {
    packages(metadata)
        .filter_map(|package| package["targets"].as_array())
        .flatten()
}

/// The first file of every target of both workspaces.
fn target_roots(root: &Path, metadata: &Value) -> Vec<String> {
    let files = targets(metadata).filter_map(|target| target["src_path"].as_str());
    let roots = files.map(|file| relative(root, Path::new(file)));
    roots.chain([FUZZER.to_owned()]).collect()
}

/// What members of the workspace need in any case, by name.
fn needs(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let one = |package: &Value| {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let needed = dependencies.filter(|needed| needed["kind"] != "dev" && needed["optional"] == false);
        let names = needed.filter_map(|needed| needed["name"].as_str());
        let name = package["name"].as_str().unwrap_or_default();
        (name.to_owned(), names.map(str::to_owned).collect())
    };
    packages(metadata).map(one).collect()
}

/// Normal dependencies between members of the workspace.
fn graph(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeSet<&str> = packages(metadata)
        .filter_map(|package| package["name"].as_str())
        .collect();
    let mut graph = BTreeMap::new();
    for package in packages(metadata) {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        let members = normal.filter_map(|dependency| dependency["name"].as_str());
        let members = members.filter(|name| names.contains(name)).map(str::to_owned);
        let name = package["name"].as_str().unwrap_or_default();
        graph.insert(name.to_owned(), members.collect());
    }
    graph
}
