//! `weft.mesh/v1alpha1` LocalMesh: the processes of a mesh on one machine, as `meshctl up` starts them.

use std::time::Duration;

use indexmap::IndexMap;

pub use crate::local_workload::DataPlane;
use crate::meta::{Labels, Position};

/// A mesh on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalMesh {
    /// Directories or files with Istio and Kubernetes objects, relative to the mesh file.
    pub config: Vec<String>,
    pub workloads: Vec<MeshWorkload>,
    pub gateways: Vec<MeshGateway>,
    /// Percentage of the requests that are traced; all of them where not said.
    pub trace_sampling: u32,
}

/// One application of the mesh file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshWorkload {
    /// Where it is written.
    pub at: Position,
    /// Name, unique in its namespace.
    pub name: String,
    /// Namespace; `default` where not said.
    pub namespace: String,
    /// Service account; `default` where not said.
    pub service_account: String,
    pub labels: Labels,
    /// Ports that the process listens on.
    pub ports: Vec<MeshPort>,
    /// Program and arguments; `$(NAME)` is replaced from the environment.
    pub command: Vec<String>,
    pub env: IndexMap<String, String>,
    /// Working directory, relative to the mesh file; that of the mesh file where not said.
    pub working_dir: Option<String>,
    /// How many run; 1 where not said, 0 to 64.
    pub replicas: u32,
    /// When it is ready; without it, when all its ports accept connections.
    pub readiness: Option<Readiness>,
    /// Which proxy stands in front; `Weft` where not said.
    pub data_plane: DataPlane,
}

/// A port of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshPort {
    /// Where it is written.
    pub at: Position,
    /// Name; `PORT_<NAME>` in the environment holds the number.
    pub name: String,
    /// Number; 0 takes a free one.
    pub port: u16,
}

/// How readiness is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// What is asked.
    pub probe: Probe,
    /// Time between probes; 200 ms where not said.
    pub period: Duration,
    /// Limit of one probe; 1 s where not said.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// 200 to 399 is ready.
    HttpGet {
        /// Path with query.
        path: String,
        /// Name of a port of the workload, or a number as text.
        port: String,
    },
    /// An accepted connection is ready.
    TcpSocket {
        /// Name of a port of the workload, or a number as text.
        port: String,
    },
}

/// A gateway of the mesh file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshGateway {
    /// Where it is written.
    pub at: Position,
    /// Name, unique in its namespace.
    pub name: String,
    /// Namespace; `default` where not said.
    pub namespace: String,
    /// Service account; `default` where not said.
    pub service_account: String,
    /// Labels, chosen by Gateway selectors.
    pub labels: Labels,
    /// Gateway server port to local port.
    pub ports: IndexMap<u16, u16>,
    /// Which proxy it is.
    pub data_plane: DataPlane,
}
