//! What a build needs besides Rust; looked at before it starts, so that nobody waits minutes to be told.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// What a build from nothing takes below the target folder, in bytes.
const BUILD_BYTES: u64 = 3 << 30;
/// And what another one on top of it may take.
const REBUILD_BYTES: u64 = 512 << 20;

/// Fails with what is missing and where it comes from.
pub(crate) fn check() -> Result<()> {
    compiler()?;
    space()
}

/// TLS and the allocator have parts in C.
fn compiler() -> Result<()> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| OsString::from("cc"));
    let name = compiler.to_string_lossy().into_owned();
    let mut command = Command::new(&compiler);
    command.args(["-x", "c", "-fsyntax-only", "-"]).stdin(Stdio::piped());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("no C compiler {name}: apt-get install gcc libc6-dev"))?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read has said why.
        let _ = input.write_all(b"#include <stdlib.h>\n#include <pthread.h>\n");
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default();
    ensure!(
        output.status.success(),
        "the C compiler {name} compiles nothing ({said}): apt-get install gcc libc6-dev"
    );
    Ok(())
}

/// A disk that fills up on the way fails with whatever was being written.
fn space() -> Result<()> {
    let target = workspace::target();
    let needed = if target.join("debug/deps").is_dir() {
        REBUILD_BYTES
    } else {
        BUILD_BYTES
    };
    let there = target
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or_else(|| Path::new("/"));
    let disk = rustix::fs::statvfs(there).with_context(|| format!("cannot look at the disk of {}", there.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        free >= needed,
        "{} has {} MiB free, the build needs {}: make room, or set CARGO_TARGET_DIR to a folder elsewhere",
        there.display(),
        free >> 20,
        needed >> 20
    );
    Ok(())
}
