//! Writes what is generated and committed below `proto/src/gen`, so that a build needs no protobuf compiler: `cargo xtask gen`.
//!
//! Rust types are made of the messages that are in use alone ([`roots`]); Envoy's API has four times as many.

#![allow(clippy::print_stderr, reason = "a command line tool speaks on its standard streams")]

mod descriptors;
mod modules;
mod roots;
mod select;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

/// Where generated files go, from the folder of `proto`.
const TARGET: &str = "src/gen";

/// Files of that folder by name.
type Files = BTreeMap<String, Vec<u8>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(false),
        ["--check"] => run(true),
        _ => Err(anyhow::anyhow!("usage: weft-codegen [--check]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes every generated file and removes what is no longer one, or with `check` compares with what is committed.
fn run(check: bool) -> Result<()> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let proto = proto.context("this crate is in the folder of proto")?;
    let made = generate(proto)?;
    let target = proto.join(TARGET);
    let committed = read(&target)?;
    let names = made.keys().chain(committed.keys());
    let mut differing: Vec<&String> = names.filter(|name| made.get(*name) != committed.get(*name)).collect();
    differing.sort();
    differing.dedup();
    if check && !differing.is_empty() {
        let names = differing.iter().map(|name| format!("proto/{TARGET}/{name}"));
        let names = names.collect::<Vec<_>>().join(", ");
        bail!("out of date: {names}; run `cargo xtask gen` and commit the result");
    }
    for name in differing {
        let path = target.join(name);
        let written = match made.get(name) {
            Some(content) => std::fs::write(&path, content),
            None => std::fs::remove_file(&path),
        };
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn generate(proto: &Path) -> Result<Files> {
    let all = descriptors::all(&proto.join("proto"))?;
    let used = select::used(all.everything, roots::MESSAGES, roots::SERVICES)?;
    let mut files = modules::rust(used)?;
    files.insert("descriptors.bin.gz".to_owned(), descriptors::compress(&all.envoy)?);
    Ok(files)
}

/// What is committed; nothing where the folder is not there yet.
fn read(folder: &Path) -> Result<Files> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut files = Files::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let content = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(name, content);
    }
    Ok(files)
}
