//! `mesh.json`: the record of a running mesh, for the other verbs and for scripts.
//!
//! Its shape is stable: fields may be added, none is renamed or removed. It is replaced as a whole, never half written.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::mesh::process::ProcessId;

/// A mesh and everything that runs for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `metadata.name` of the mesh file.
    pub name: String,
    /// The mesh file, absolute.
    pub mesh_file: PathBuf,
    /// Where the mesh keeps its state, absolute.
    pub state_directory: PathBuf,
    /// How far the mesh is.
    pub phase: Phase,
    /// When `up` began, RFC 3339.
    pub started_at: String,
    /// Seconds from the first process to everything being ready; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_seconds: Option<f64>,
    /// The `meshctl up` that owns the processes.
    pub supervisor: ProcessId,
    /// Where the control plane listens.
    pub addresses: Addresses,
    /// Command line of a request that the mesh answers; absent where its objects promise no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// Every process in order of start.
    pub processes: Vec<ProcessRecord>,
    /// Every workload replica and gateway.
    pub workloads: Vec<WorkloadRecord>,
}

/// How far a mesh is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Not everything is ready yet.
    Starting,
    /// Everything was ready at least once.
    Ready,
    /// `up` is ending the processes.
    Stopping,
}

/// Where the control plane listens, each `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// Certificate service of citadel.
    pub citadel: String,
    /// `/ready` and `/metrics` of citadel.
    pub citadel_monitoring: String,
    /// xDS in plain text.
    pub xds: String,
    /// xDS over TLS.
    pub xds_tls: String,
    /// `/debug/*`, `/ready` and `/metrics` of pilot.
    pub pilot_monitoring: String,
    /// Web page, `/api/*`, `/ready` and `/metrics` of telemetry.
    pub telemetry: String,
    /// Access-log service of telemetry.
    pub access_logs: String,
    /// OTLP over gRPC.
    pub otlp_grpc: String,
    /// OTLP over HTTP.
    pub otlp_http: String,
    pub zipkin: String,
}

/// What kind of program a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `weft-citadel`.
    Citadel,
    /// `weft-pilot`.
    Pilot,
    /// `weft-telemetry`.
    Telemetry,
    /// The program of a workload.
    App,
    /// `weft-proxy sidecar`.
    Sidecar,
    /// `weft-proxy gateway`.
    Gateway,
    /// A stock Envoy as sidecar.
    Envoy,
    /// `weft-proxy sds-agent`, which gives a stock Envoy its certificate.
    SdsAgent,
}

/// State of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProcessState {
    /// Not started yet.
    Pending,
    Running,
    /// It ended and will be started again, or stays down under `--no-restart`.
    Exited,
}

/// One process. `command`, `environment` and `directory` are all that is needed to start it by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessRecord {
    /// Unique in the mesh, for example `pilot` or `callme-v1-0/sidecar`.
    pub name: String,
    /// What it runs.
    pub kind: Kind,
    /// State of the process.
    pub state: ProcessState,
    /// The process; absent unless it runs.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ProcessId>,
    /// How often it was started again.
    pub restarts: u32,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables that are added to meshctl's own.
    pub environment: BTreeMap<String, String>,
    pub directory: PathBuf,
    /// File that its output goes to.
    pub log: PathBuf,
}

/// One replica of a workload, or a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRecord {
    /// Name of the replica, for example `callme-v1-0`.
    pub name: String,
    pub namespace: String,
    /// Name in the mesh file, for example `callme-v1`.
    pub workload: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// `sidecar` or `gateway`.
    pub role: String,
    /// `weft` or `envoy`.
    pub data_plane: String,
    /// Whether it takes traffic.
    pub ready: bool,
    /// The proxy that the program is told to use; absent for gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    /// Admin page of the proxy, `host:port`.
    pub admin: String,
    /// Merged metrics and probes of the proxy, `host:port`; absent for a stock Envoy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Ports of the program.
    pub ports: Vec<PortRecord>,
    /// Ports of a gateway.
    pub gateway_ports: Vec<GatewayPortRecord>,
}

/// A port of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRecord {
    /// Name in the mesh file.
    pub name: String,
    /// Where the program listens.
    pub app_port: u16,
    /// Where its sidecar listens for the mesh.
    pub mesh_port: u16,
}

/// A port of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayPortRecord {
    /// Port of the Gateway server.
    pub port: u16,
    /// Port on this machine.
    pub local_port: u16,
}

// === impl Record ===

impl Record {
    /// Reads a record.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read(path)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    /// Replaces the record on disk.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        replace_file(path, &text)
    }

    /// The process of that name, to change.
    pub fn process_mut(&mut self, name: &str) -> Option<&mut ProcessRecord> {
        self.processes.iter_mut().find(|process| process.name == name)
    }

    /// Every replica that `name` can mean: a replica, its full name with `.namespace`, or all replicas of a workload.
    pub fn workloads_named(&self, name: &str) -> Vec<&WorkloadRecord> {
        let exact = |workload: &&WorkloadRecord| {
            workload.name == name || format!("{}.{}", workload.name, workload.namespace) == name
        };
        if let Some(replica) = self.workloads.iter().find(exact) {
            return vec![replica];
        }
        let of_workload = |workload: &&WorkloadRecord| {
            workload.workload == name || format!("{}.{}", workload.workload, workload.namespace) == name
        };
        self.workloads.iter().filter(of_workload).collect()
    }
}

/// Replaces a file so that a reader sees the old or the new text and never a part: written beside it, then renamed.
pub(crate) fn replace_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    // No `.yaml` at the end: directory watchers must not take it for an object.
    beside.push(".new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}
