//! The bootstrap read by a process of its own, so that the one that serves never touches what reading takes.
//!
//! Parsing YAML and walking Envoy's descriptors runs through code all over the program and leaves holes all over the heap;
//! both would stay resident for as long as the proxy runs. A second process of the same program does it and ends, and what it
//! hands over is the bootstrap as protobuf bytes: fields that are not carried have been refused or warned of by then.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{BootstrapError, FILE_BYTES_MAX, Loaded, decode};

/// This program, also when its file has been replaced since.
const SELF: &str = "/proc/self/exe";

/// Why a bootstrap was not read by another process.
#[derive(Debug, thiserror::Error)]
pub enum ApartError {
    /// There can be no other process. Nothing was read yet.
    #[error("cannot start {}: {}", .0.display(), .1)]
    Start(PathBuf, std::io::Error),
    /// The other process has said on stderr why the file cannot be used.
    #[error("the bootstrap was refused")]
    Refused,
    /// The other process did not come to an end of its own.
    #[error("the process that reads the bootstrap failed: {0}")]
    Failed(String),
    /// What came is not a bootstrap that this program can use.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

/// Reads and checks a bootstrap file in a process of its own, which logs with `log_flags` and inherits standard input and
/// standard error. Unsupported fields have been logged where `tolerate` lets them pass.
pub fn load_apart(path: &Path, tolerate: bool, log_flags: &[&str]) -> Result<Loaded, ApartError> {
    let program = program();
    let mut command = Command::new(&program);
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(["validate", "--encoded"]).args(log_flags);
    if tolerate {
        command.arg("--tolerate-unsupported");
    }
    // One argument, so that no path can be taken for a flag.
    let mut config = OsString::from("--config=");
    config.push(path);
    let mut child = command
        .arg(config)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| ApartError::Start(program, error))?;
    let mut encoded = Vec::new();
    // Binary is shorter than text; twice as much as any text is not a bootstrap.
    let read = child
        .stdout
        .take()
        .map(|pipe| pipe.take(2 * FILE_BYTES_MAX).read_to_end(&mut encoded));
    let status = child.wait().map_err(|error| ApartError::Failed(error.to_string()))?;
    if status.code().is_some_and(|code| code != 0) {
        return Err(ApartError::Refused);
    }
    if !status.success() {
        return Err(ApartError::Failed(status.to_string()));
    }
    if let Some(Err(error)) = read {
        return Err(ApartError::Failed(error.to_string()));
    }
    Ok(decode(path, encoded.into(), Vec::new())?)
}

/// The file of this program: by its name while that is still its file, so that a tool that runs programs within itself
/// (valgrind, a debugger) takes it for the same program.
fn program() -> PathBuf {
    let by_name = std::env::current_exe().ok();
    by_name.filter(|path| path.exists()).unwrap_or_else(|| SELF.into())
}
