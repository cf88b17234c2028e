//! `kubectl` in one namespace.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cluster::handle::Cluster;
use crate::process;

/// How long pods may take to start, or to go.
const LIMIT: &str = "90s";

#[derive(Debug)]
pub(crate) struct Kube<'a> {
    cluster: &'a Cluster,
    namespace: String,
}

// === impl Kube ===

impl<'a> Kube<'a> {
    pub(crate) fn new(cluster: &'a Cluster, namespace: &str) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn create_namespace(&self) -> Result<()> {
        self.run(&["create", "namespace", &self.namespace])?;
        // Pods are refused until their account is there.
        until(Duration::from_secs(30), || {
            self.run(&["get", "serviceaccount", "default"]).map(drop)
        })
    }

    /// Deletes it, and waits until nothing is left of it if asked to.
    pub(crate) fn delete_namespace(&self, wait: bool) -> Result<()> {
        let (wait, timeout) = (format!("--wait={wait}"), format!("--timeout={LIMIT}"));
        self.run(&[
            "delete",
            "namespace",
            &self.namespace,
            "--ignore-not-found",
            &wait,
            &timeout,
        ])
        .map(drop)
    }

    /// kubectl with these arguments; its stdout.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        process::output(&mut self.command(arguments)?)
    }

    /// The same, parsed as JSON.
    pub(crate) fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[&["get", "-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).context("kubectl gave no JSON")
    }

    /// `kubectl apply` of YAML or JSON.
    pub(crate) fn apply(&self, objects: &str) -> Result<()> {
        let mut command = self.command(&["apply", "-f", "-"])?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start kubectl")?;
        let mut input = child.stdin.take().context("kubectl has no stdin")?;
        input.write_all(objects.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "kubectl apply failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// What the server would do with objects: kubectl's stdout and stderr. That some are refused is no error.
    pub(crate) fn dry_run(&self, objects: &str) -> Result<(String, String)> {
        let mut command = self.command(&["apply", "--dry-run=server", "-f", "-"])?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start kubectl")?;
        let mut input = child.stdin.take().context("kubectl has no stdin")?;
        // It answers before it has read everything.
        let output = std::thread::scope(|scope| {
            let written = scope.spawn(move || input.write_all(objects.as_bytes()));
            let output = child.wait_with_output();
            let written = written.join();
            ensure!(matches!(written, Ok(Ok(()))), "kubectl does not read its stdin");
            output.context("kubectl failed")
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(&output.stdout), text(&output.stderr)))
    }

    /// Waits for a condition of objects, for example `pod/x` to be `Ready`.
    pub(crate) fn wait_for(&self, condition: &str, objects: &[&str]) -> Result<()> {
        let (condition, timeout) = (format!("--for=condition={condition}"), format!("--timeout={LIMIT}"));
        self.run(&[&["wait", condition.as_str(), timeout.as_str()], objects].concat())
            .map(drop)
    }

    /// What a command in a pod, in its container of the same name, writes on stdout; its failure is an error.
    pub(crate) fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let container = format!("--container={pod}");
        self.run(&[&["exec", pod, container.as_str(), "--"], command].concat())
    }

    /// Starts the Deployments' pods anew, and waits until all are.
    pub(crate) fn restart(&self, deployment: &str) -> Result<()> {
        let name = format!("deployment/{deployment}");
        self.run(&["rollout", "restart", &name])?;
        self.rolled_out(deployment)
    }

    /// Waits until a Deployment's pods are those of its newest template.
    pub(crate) fn rolled_out(&self, deployment: &str) -> Result<()> {
        let timeout = format!("--timeout={LIMIT}");
        let name = format!("deployment/{deployment}");
        self.run(&["rollout", "status", &name, &timeout]).map(drop)
    }

    /// kubectl with these arguments, to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.cluster.kubectl()?;
        command.args(["--namespace", &self.namespace]).args(arguments);
        Ok(command)
    }
}

/// Tries until it succeeds; then the last error.
pub(crate) fn until<T>(limit: Duration, attempt: impl FnMut() -> Result<T>) -> Result<T> {
    until_every(Duration::from_millis(200), limit, attempt)
}

/// The same with a pause of one's own between two attempts.
pub(crate) fn until_every<T>(pause: Duration, limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("not within {limit:?}"));
            }
            Err(_) => std::thread::sleep(pause),
        }
    }
}
