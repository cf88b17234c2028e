//! Debian packages that a verb needs; the local cluster has its own list.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{process, workspace};

/// Installs packages, or says which ones are missing where that is not possible.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let ask = format!("apt-get install {list}");
    ensure!(
        workspace::on_path("apt-get").is_some(),
        "these Debian packages, or what they hold, are needed: {list}"
    );
    ensure!(rustix::process::geteuid().is_root(), "as root: {ask}");
    eprintln!("xtask: {ask}");
    run(&["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    run(&[&install, packages].concat()).with_context(|| ask)
}

fn run(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "Dpkg::Use-Pty=0"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    process::output(&mut command).map(drop)
}
