//! What will run: every component, workload replica and gateway with its ports, before anything is started.
//!
//! Knows nothing of processes; `commands` turns a plan into them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use weft_api::local_mesh::DataPlane;

use crate::mesh::record::Addresses;
use crate::up::probe::Probe;

/// A mesh that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// `metadata.name`.
    pub name: String,
    /// The mesh file, absolute.
    pub file: PathBuf,
    /// Directory of the mesh file: relative paths start here, and programs run here.
    pub directory: PathBuf,
    /// Files and directories with the mesh's objects, absolute.
    pub config: Vec<PathBuf>,
    /// Where the control plane listens.
    pub addresses: Addresses,
    /// Percentage of the requests that are traced.
    pub trace_sampling: u32,
    /// Workload replicas and gateways.
    pub members: Vec<Member>,
}

/// One replica of a workload, or a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Name of the replica, for example `callme-v1-0`; the pod name of a cluster.
    pub name: String,
    pub namespace: String,
    /// Name in the mesh file.
    pub workload: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// What its proxy is.
    pub data_plane: DataPlane,
    /// Admin port of its proxy.
    pub admin: u16,
    /// Port of the proxy for merged metrics and probes; a stock Envoy has none.
    pub status: u16,
    /// Readiness port of the proxy; a stock Envoy answers on its admin port.
    pub readiness: u16,
    /// What it is.
    pub role: Role,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A program and its sidecar.
    Workload(Workload),
    Gateway {
        /// Gateway server ports and the ports of this machine that they are bound at.
        ports: Vec<GatewayPort>,
    },
}

/// A program behind a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// The `http_proxy` port of the sidecar.
    pub outbound: u16,
    /// Ports of the program.
    pub ports: Vec<WorkloadPort>,
    /// The program, found.
    pub program: PathBuf,
    /// Its arguments, filled in.
    pub args: Vec<String>,
    /// Variables for it, filled in.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// What must hold for it to be ready: all of these.
    pub probes: Vec<Probe>,
    /// Time between probes.
    pub period: Duration,
}

/// A port of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkloadPort {
    pub name: String,
    /// As the mesh file has it; 0 means any.
    pub declared: u16,
    /// Where the program listens.
    pub app: u16,
    /// Where the sidecar listens for the mesh.
    pub mesh: u16,
}

/// A port of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GatewayPort {
    /// Port of the Gateway server.
    pub server: u16,
    /// Port on this machine.
    pub local: u16,
}

// === impl Plan ===

impl Plan {
    /// Every namespace and service account that needs a certificate, once.
    pub(crate) fn accounts(&self) -> Vec<(&str, &str)> {
        let mut accounts: Vec<_> = self
            .members
            .iter()
            .map(|member| (member.namespace.as_str(), member.service_account.as_str()))
            .collect();
        accounts.sort_unstable();
        accounts.dedup();
        accounts
    }
}

// === impl Member ===

impl Member {
    /// The workload, unless this is a gateway.
    pub(crate) fn workload(&self) -> Option<&Workload> {
        match &self.role {
            Role::Workload(workload) => Some(workload),
            Role::Gateway { .. } => None,
        }
    }

    /// The node id that its proxy introduces itself with (Istio's form, `type~ip~pod.ns~ns.svc.domain`).
    pub(crate) fn node_id(&self) -> String {
        let kind = match self.role {
            Role::Workload(_) => "sidecar",
            Role::Gateway { .. } => "router",
        };
        let Self { name, namespace, .. } = self;
        format!("{kind}~127.0.0.1~{name}.{namespace}~{namespace}.svc.cluster.local")
    }

    /// Name of its program's process and first part of the names of its other processes.
    pub(crate) fn process(&self) -> String {
        if self.namespace == "default" {
            return self.name.clone();
        }
        format!("{}.{}", self.name, self.namespace)
    }

    /// Name of its proxy's process.
    pub(crate) fn proxy_process(&self) -> String {
        match &self.role {
            Role::Workload(_) => format!("{}/sidecar", self.process()),
            Role::Gateway { .. } => self.process(),
        }
    }
}
