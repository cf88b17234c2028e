//! A whole local mesh: `meshctl up` on a file written by the test, and requests through its sidecars.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::client::{Http1, RawRequest};
use super::process::{Process, built};
use super::wire::Message;

/// Everything ready, with binaries that are not optimised.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// One request through the mesh.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// A running mesh with its files.
#[derive(Debug)]
pub(crate) struct Mesh {
    dir: TempDir,
    meshctl: Process,
    record: Value,
}

// === impl Mesh ===

impl Mesh {
    /// Starts a mesh of these workloads (YAML list items) and this configuration.
    pub(crate) async fn start(workloads: &str, config: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("config"))?;
        std::fs::write(dir.path().join("config/mesh.yaml"), config)?;
        let head = "apiVersion: weft.mesh/v1alpha1\nkind: LocalMesh\nmetadata: {name: test}\nspec:\n  config: [./config]\n  workloads:\n";
        std::fs::write(dir.path().join("mesh.yaml"), format!("{head}{workloads}"))?;
        let mut command = Command::new(built("meshctl")?);
        command
            .args(["up", "-f", "mesh.yaml", "--state-dir"])
            .arg(dir.path().join("state"))
            // The user's own verbs do not find it.
            .env("XDG_STATE_HOME", dir.path().join("home"))
            .current_dir(dir.path());
        command.arg("--envoy").arg(super::envoy::program()?);
        let mut meshctl = Process::start("meshctl", &mut command, dir.path())?;
        let path = dir.path().join("state/mesh.json");
        meshctl
            .wait_until("readiness", READY_LIMIT, || async {
                read(&path).is_some_and(|record| record["phase"] == "ready")
            })
            .await?;
        let record = read(&path).context("mesh.json")?;
        Ok(Self { dir, meshctl, record })
    }

    /// Replaces the configuration, as an editor does: the file is never half written.
    pub(crate) fn configure(&self, config: &str) -> Result<()> {
        let new = self.dir.path().join("mesh.yaml.new");
        std::fs::write(&new, config)?;
        Ok(std::fs::rename(new, self.dir.path().join("config/mesh.yaml"))?)
    }

    /// What the mesh has logged.
    pub(crate) fn log(&self) -> String {
        self.meshctl.log()
    }

    /// An address of the control plane by its name in mesh.json.
    pub(crate) fn address(&self, name: &str) -> Result<SocketAddr> {
        let text = self.record["addresses"][name]
            .as_str()
            .with_context(|| format!("mesh.json has no address {name}"))?;
        Ok(text.parse()?)
    }

    fn workload(&self, name: &str) -> Result<&Value> {
        let workloads = self.record["workloads"].as_array().context("workloads")?;
        workloads
            .iter()
            .find(|workload| workload["workload"] == name)
            .with_context(|| format!("no workload {name}"))
    }

    /// Admin page of a workload's proxy.
    pub(crate) fn admin(&self, workload: &str) -> Result<SocketAddr> {
        Ok(self.workload(workload)?["admin"].as_str().context("admin")?.parse()?)
    }

    /// GET through the sidecar of a workload, as its program does with `http_proxy`.
    pub(crate) async fn get(&self, from: &str, url: &str) -> Result<Message> {
        self.get_with(from, url, &[]).await
    }

    /// Where the sidecar of a workload takes what its program sends with `http_proxy`.
    pub(crate) fn http_proxy(&self, workload: &str) -> Result<SocketAddr> {
        let proxy = self.workload(workload)?["httpProxy"].as_str().context("httpProxy")?;
        Ok(proxy.trim_start_matches("http://").parse()?)
    }

    /// The same with further header lines.
    pub(crate) async fn get_with(&self, from: &str, url: &str, headers: &[&str]) -> Result<Message> {
        let proxy = self.http_proxy(from)?;
        let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
        get_with(proxy, url, host, headers).await
    }

    /// Kills a process of the mesh at once; `meshctl` starts it again after a pause.
    pub(crate) async fn kill(&self, name: &str) -> Result<()> {
        let record = read(&self.dir.path().join("state/mesh.json")).context("mesh.json")?;
        let processes = record["processes"].as_array().context("processes")?;
        let process = processes
            .iter()
            .find(|process| process["name"] == name)
            .with_context(|| format!("no process {name}"))?;
        let pid = process["pid"].as_i64().context("pid")?;
        let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().await?;
        ensure!(status.success(), "cannot kill {name}");
        Ok(())
    }

    /// How often a process was started again.
    pub(crate) fn restarts(&self, name: &str) -> u64 {
        let record = read(&self.dir.path().join("state/mesh.json")).unwrap_or_default();
        let processes = record["processes"].as_array().cloned().unwrap_or_default();
        let process = processes
            .iter()
            .find(|process| process["name"] == name && process["state"] == "running");
        process.and_then(|process| process["restarts"].as_u64()).unwrap_or(0)
    }

    /// A page of the discovery server.
    pub(crate) async fn pilot(&self, page: &str) -> Result<String> {
        let answer = get(self.address("pilotMonitoring")?, page, "localhost").await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// The collector's graph.
    pub(crate) async fn graph(&self) -> Result<Value> {
        self.collector("/api/graph").await
    }

    /// An answer of the collector's API.
    pub(crate) async fn collector(&self, path: &str) -> Result<Value> {
        let answer = get(self.address("telemetry")?, path, "localhost").await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Ends the mesh; an ERROR line in its logs is a failure.
    pub(crate) async fn stop(self) -> Result<()> {
        let log = self.log();
        self.meshctl.stop(STOP_LIMIT).await?;
        let errors: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
        ensure!(errors.is_empty(), "the mesh logged errors:\n{}", errors.join("\n"));
        Ok(())
    }
}

fn read(path: &PathBuf) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// GET over a connection of its own.
pub(crate) async fn get(to: SocketAddr, target: &str, host: &str) -> Result<Message> {
    get_with(to, target, host, &[]).await
}

/// The same with further header lines.
async fn get_with(to: SocketAddr, target: &str, host: &str, headers: &[&str]) -> Result<Message> {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n").into_bytes();
    let mut connection = Http1::connect(to).await?;
    connection.send(&bytes).await?;
    let request = RawRequest {
        bytes: &bytes,
        then: &[],
        pause: Duration::ZERO,
        until: "",
        limit: ANSWER_LIMIT,
    };
    let exchange = connection.receive(request).await?;
    exchange
        .response
        .with_context(|| format!("{to} closed the connection on {target}"))
}
