//! Child processes: run to the end with a check, or kept running and always ended.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// `cargo` as the one that runs this program, in the workspace's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(workspace::root());
    command
}

/// Runs a command to its end; its failure is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status = command.status().with_context(|| format!("cannot start {line}"))?;
    if !status.success() {
        bail!("{line} failed ({status})");
    }
    Ok(())
}

/// What the mesh is made of; each is a package with a program of the same name.
const PROGRAMS: [&str; 6] = [
    "meshctl",
    "weft-citadel",
    "weft-pilot",
    "weft-proxy",
    "weft-sample-callme",
    "weft-telemetry",
];

/// How programs are built. Always all of them: parts would ask for other features of what they depend on, and build it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// As they are shipped, and measured.
    Release,
    /// In a third of the time and with what tests build: the demo and scenarios.
    Dev,
}

// === impl Profile ===

impl Profile {
    /// Builds every program of the mesh; cargo says on stderr how far it is.
    pub(crate) fn build(self) -> Result<()> {
        run(&mut cargo(&self.arguments()))
    }

    /// The folder of what was built.
    pub(crate) fn folder(self) -> PathBuf {
        workspace::binaries(match self {
            Self::Release => "release",
            Self::Dev => "debug",
        })
    }

    /// What [`Profile::build`] asks cargo for.
    pub(crate) fn arguments(self) -> Vec<&'static str> {
        let (first, each) = match self {
            // Features that only tests and tools ask for do not get into what is shipped.
            Self::Release => (["build", "--release"], "--package"),
            // The whole workspace's features, as in the build of its tests.
            Self::Dev => (["build", "--workspace"], "--bin"),
        };
        let programs = PROGRAMS.iter().flat_map(|program| [each, *program]);
        first.into_iter().chain(programs).collect()
    }
}

/// Runs a command to its end and hands out what it wrote on stdout. One that fails is an error with all that it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command.output().with_context(|| format!("cannot start {line}"))?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        bail!("{line} failed ({}): {}", output.status, said.join("\n").trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A program in the background; ended when this value goes.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
    name: String,
    log: PathBuf,
}

// === impl Background ===

impl Background {
    /// Starts a program with stdout and stderr going to a log file.
    pub(crate) fn start(name: &str, command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            child,
            name: name.to_owned(),
            log,
        })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the last lines of the log if the program has ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        bail!("{} ended early ({status}):\n{}", self.name, self.last_lines(15));
    }

    /// The last lines of the log.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Polls a condition until it holds; fails when the program ends or the time is over.
    pub(crate) fn wait_until(&mut self, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !condition() {
            self.check_running()?;
            if Instant::now() > deadline {
                bail!("{} was not ready within {limit:?}:\n{}", self.name, self.last_lines(15));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Asks the program to end, and ends it by force after the limit.
    pub(crate) fn stop(&mut self, limit: Duration) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
