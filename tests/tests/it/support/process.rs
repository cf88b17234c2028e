//! Programs under test as child processes: logs kept, ended with the test, conditions polled with a deadline.

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

// === impl Process ===

impl Process {
    /// Starts a program with stdout and stderr going to `NAME.log` in a folder.
    pub(crate) fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        Self::start_with_input(name, command, dir, Stdio::null())
    }

    /// The same with something on standard input.
    pub(crate) fn start_with_input(name: &str, command: &mut Command, dir: &Path, input: Stdio) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command
            .stdin(input)
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its process id, while it runs.
    pub(crate) fn id(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Everything the program has written.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Polls until the condition holds; fails with the log if the program ends or the time is over.
    pub(crate) async fn wait_until<F: Future<Output = bool>>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> F,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !condition().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended early ({status}):\n{}", self.name, self.log());
            }
            if Instant::now() > deadline {
                bail!("{}: {what} did not come within {limit:?}:\n{}", self.name, self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits for a program that ends by itself.
    pub(crate) async fn wait(mut self, limit: Duration) -> Result<()> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        let status =
            ended.with_context(|| format!("{} did not end within {limit:?}:\n{}", self.name, self.log()))??;
        ensure!(status.success(), "{} ended with {status}:\n{}", self.name, self.log());
        Ok(())
    }

    /// Waits for a program that fails by itself, and gives what it has written.
    pub(crate) async fn failure(mut self, limit: Duration) -> Result<String> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        let status =
            ended.with_context(|| format!("{} did not end within {limit:?}:\n{}", self.name, self.log()))??;
        ensure!(!status.success(), "{} did not fail:\n{}", self.name, self.log());
        Ok(self.log())
    }

    /// Sends a signal, without its SIG.
    pub(crate) async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.id()?.to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().await?;
        ensure!(status.success(), "cannot signal {}", self.name);
        Ok(())
    }

    /// Sends SIGTERM and waits for the end; by force after the limit, which is an error.
    pub(crate) async fn stop(mut self, limit: Duration) -> Result<()> {
        self.signal("TERM").await?;
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => {
                let status = status?;
                ensure!(
                    status.success(),
                    "{} ended with {status} on SIGTERM:\n{}",
                    self.name,
                    self.log()
                );
                Ok(())
            }
            Err(_) => {
                self.child.kill().await?;
                bail!("{} did not end within {limit:?} of SIGTERM:\n{}", self.name, self.log())
            }
        }
    }
}

/// A binary of this workspace, from the same build as the running test.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test
        .parent()
        .and_then(Path::parent)
        .context("tests run from target/<profile>/deps")?;
    let path = profile.join(name);
    if !path.is_file() {
        bail!(
            "{} is missing: run `cargo build --workspace`, or the tests by `cargo xtask test`",
            path.display()
        );
    }
    Ok(path)
}
