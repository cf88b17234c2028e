//! Makes a child die with meshctl, even when meshctl is killed and cannot clean up.
//!
//! The kernel can signal a process when its parent ends (`PR_SET_PDEATHSIG`, prctl(2)), but only the process itself can ask
//! for that. So meshctl starts itself with a hidden verb, which asks and then becomes the program. What these programs
//! started in turn is outside the kernel's promise; the next `up` or `down` finds it by the recorded process groups.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use rustix::process::{Pid, Signal};

use crate::exit::Exit;

/// The hidden verb.
pub(crate) const VERB: &str = "internal-exec";

/// This very program, also when its file was replaced since it started.
const SELF: &str = "/proc/self/exe";

/// The command that runs `program` with its life tied to this process's.
pub(crate) fn command(program: &Path, args: &[String]) -> Command {
    let mut command = Command::new(SELF);
    command
        .arg0("meshctl")
        .args([VERB, "--parent", &std::process::id().to_string(), "--"])
        .arg(program)
        .args(args);
    command
}

/// Ties this process's life to its parent's and becomes `command`. Returns only when that fails.
pub(crate) fn become_program(parent: i32, command: &[OsString]) -> anyhow::Result<Exit> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot tie the process to meshctl")?;
    if rustix::process::getppid() != Pid::from_raw(parent) {
        // The parent ended before the kernel was asked.
        return Ok(Exit::Failed);
    }
    let (program, args) = command.split_first().context("no program given")?;
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", Path::new(program).display()))
}
