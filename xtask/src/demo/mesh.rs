//! The demo's mesh: `meshctl up` as a child process, and what its record and the collector say.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::graph::Graph;
use crate::http::Client;
use crate::process::{Background, Profile};
use crate::workspace;

/// The demo's mesh file, from the workspace's root.
const MESH_FILE: &str = "deploy/samples/demo/mesh.yaml";
/// Where its gateway listens.
const GATEWAY_PORT: u16 = 18080;
/// `meshctl up` gives up by itself before.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// `meshctl` ends its processes within this time, or they are ended by force.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running mesh; ended and its state removed when this value goes.
#[derive(Debug)]
pub(crate) struct Mesh {
    meshctl: Background,
    dir: PathBuf,
    record: Value,
}

// === impl Mesh ===

impl Mesh {
    /// Starts the mesh and waits until everything in it is ready; `give_up` is polled meanwhile.
    pub(crate) fn start(give_up: &dyn Fn() -> bool) -> Result<Self> {
        let dir = workspace::target().join(format!("demo-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let state = dir.join("state");
        let mut command = Command::new(meshctl());
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

    /// What `meshctl up` has written of it.
    pub(crate) fn record(&self) -> &Value {
        &self.record
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

    /// The collector's graph; rates and latencies are of the last `window` seconds.
    pub(super) fn graph(&self, window: u64) -> Result<Graph> {
        let path = format!("/api/graph?window={window}s");
        let answer = Client::new(self.telemetry()?, Duration::from_secs(5)).get(&path, &[])?;
        Ok(Graph::read(&serde_json::from_slice(&answer.body)?))
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

/// The command line that the demo starts, and that its user goes on with.
pub(super) fn meshctl() -> PathBuf {
    Profile::Dev.folder().join("meshctl")
}

/// Fails where something else has the gateway's port; better before a build than after it.
pub(crate) fn check_port() -> Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], GATEWAY_PORT));
    let taken = || format!("the demo's gateway listens on {address} ({MESH_FILE}): end what has that port");
    TcpListener::bind(address).map(drop).with_context(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mesh_file_has_the_port_and_the_fault_that_the_demo_tells_of() {
        let file = fs::read_to_string(workspace::root().join(MESH_FILE)).unwrap();
        assert!(file.contains(&format!("ports: {{80: {GATEWAY_PORT}}}")));
        let failing: Vec<&str> = file.lines().filter(|line| line.contains("--fail-percent")).collect();
        assert_eq!(failing.len(), 1);
        assert!(failing[0].contains("\"80\""), "four in five, as graph::PLANTED says");
    }
}
