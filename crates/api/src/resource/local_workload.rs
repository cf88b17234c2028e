//! `weft.mesh/v1alpha1` LocalWorkload: a process on this machine with its sidecar, or a local gateway.

use std::net::IpAddr;

use crate::matching::Locality;
use crate::meta::Position;

/// A running workload; the object's name is the pod name in the proxy's node id, its labels are the workload's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWorkload {
    /// Sidecar or gateway.
    pub role: Role,
    /// Name shared by all replicas.
    pub workload_name: String,
    /// Service account; `default` where not said.
    pub service_account: String,
    /// Which proxy stands in front.
    pub data_plane: DataPlane,
    /// Address where peers reach it.
    pub address: IpAddr,
    /// Whether it gets traffic.
    pub ready: bool,
    /// Port of the sidecar's `http_proxy` listener.
    pub outbound_port: Option<u16>,
    /// Application ports (sidecar).
    pub ports: Vec<LocalPort>,
    /// Bound ports (gateway).
    pub gateway_ports: Vec<GatewayPort>,
    /// Where it runs; empty as a rule.
    pub locality: Locality,
}

/// What a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An application with a proxy beside it.
    Sidecar,
    /// A proxy by itself.
    Gateway,
}

/// Which proxy carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataPlane {
    /// `weft-proxy`.
    Weft,
    /// A stock Envoy.
    Envoy,
}

/// One application port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPort {
    /// Where it is written.
    pub at: Position,
    pub name: String,
    /// Port that the workload declares (0: any); Services name it in `targetPort`.
    pub declared_port: u16,
    /// Port that the application listens on at 127.0.0.1.
    pub app_port: u16,
    /// Port that the sidecar listens on for peers.
    pub mesh_port: u16,
}

/// A Gateway server port and where it is bound on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayPort {
    /// Port in the Gateway object.
    pub port: u16,
    /// Port on this machine.
    pub local_port: u16,
}
