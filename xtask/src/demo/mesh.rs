//! The demo's mesh: `meshctl up` as a child process, and what its record and the collector say.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http::Client;
use crate::process::Background;
use crate::workspace;

/// The demo's mesh file, from the workspace's root.
const MESH_FILE: &str = "deploy/samples/demo/mesh.yaml";
/// `meshctl up` gives up by itself before.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// `meshctl` ends its processes within this time, or they are ended by force.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running mesh; ended and its state removed when this value goes.
#[derive(Debug)]
pub(super) struct Mesh {
    meshctl: Background,
    dir: PathBuf,
    record: Value,
}

// === impl Mesh ===

impl Mesh {
    /// Starts the mesh and waits until everything in it is ready; `give_up` is polled meanwhile.
    pub(super) fn start(give_up: &dyn Fn() -> bool) -> Result<Self> {
        let dir = workspace::target().join(format!("demo-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let state = dir.join("state");
        let mut command = Command::new(workspace::binaries("release").join("meshctl"));
        command
            .args(["up", "-f", MESH_FILE, "--state-dir"])
            .arg(&state)
            .current_dir(workspace::root());
        let meshctl = Background::start("meshctl up", &mut command, dir.join("meshctl.log"))?;
        let mut mesh = Self {
            meshctl,
            dir,
            record: Value::Null,
        };
        let record = state.join("mesh.json");
        let mut found = None;
        mesh.meshctl.wait_until(READY_LIMIT, || {
            found = read(&record).filter(|record| record["phase"] == "ready");
            found.is_some() || give_up()
        })?;
        mesh.record = found.context("interrupted")?;
        Ok(mesh)
    }

    /// Fails with its last lines if `meshctl` has ended.
    pub(super) fn check_running(&mut self) -> Result<()> {
        self.meshctl.check_running()
    }

    /// Seconds from the first process to everything being ready.
    pub(super) fn ready_seconds(&self) -> Result<f64> {
        self.record["readySeconds"]
            .as_f64()
            .context("mesh.json has no readySeconds")
    }

    /// Where the ingress gateway listens.
    pub(super) fn gateway(&self) -> Result<SocketAddr> {
        let workloads = self.record["workloads"]
            .as_array()
            .context("mesh.json has no workloads")?;
        let port = workloads
            .iter()
            .find_map(|workload| workload["gatewayPorts"][0]["localPort"].as_u64());
        let port = port.context("the mesh has no gateway")?;
        Ok(SocketAddr::from(([127, 0, 0, 1], u16::try_from(port)?)))
    }

    /// Where the page with the graph is.
    pub(super) fn page(&self) -> Result<String> {
        Ok(format!("http://{}/", self.telemetry()?))
    }

    fn telemetry(&self) -> Result<SocketAddr> {
        let address = self.record["addresses"]["telemetry"]
            .as_str()
            .context("mesh.json has no telemetry address")?;
        address
            .parse()
            .with_context(|| format!("telemetry address {address:?}"))
    }

    /// The share of requests between members of the mesh that mutual TLS protected, by the collector's graph.
    pub(super) fn mtls_share(&self) -> Result<Option<f64>> {
        let answer = Client::new(self.telemetry()?, Duration::from_secs(5)).get("/api/graph", &[])?;
        Ok(mtls_share(&serde_json::from_slice(&answer.body)?))
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.meshctl.stop(STOP_LIMIT);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Of requests between workloads: who calls the gateway from outside is not in the mesh.
fn mtls_share(graph: &Value) -> Option<f64> {
    graph["totals"]["mtls_share"].as_f64()
}
