//! Our own proxy as a process.

use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use super::process::{Process, built};

/// Starts `weft-proxy run` on a bootstrap file with one worker.
pub(crate) fn start(config: &Path, dir: &Path) -> Result<Process> {
    let mut command = Command::new(built("weft-proxy")?);
    command
        .args([
            "run",
            "--concurrency",
            "1",
            "--drain-time",
            "0s",
            "--log-level",
            "info",
            "-c",
        ])
        .arg(config);
    Process::start("weft-proxy", &mut command, dir)
}
