//! Kubernetes `v1` Service: a name for the workloads that a selector chooses.

use std::net::IpAddr;

use crate::matching::ExportTo;
use crate::meta::{Labels, Position};
use crate::protocol::Protocol;

/// A Service as far as the mesh needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Labels of the workloads; empty selects none.
    pub selector: Labels,
    pub ports: Vec<ServicePort>,
    pub cluster_ip: ClusterIp,
    /// Target of an `ExternalName` service.
    pub external_name: Option<String>,
    /// Annotation `networking.istio.io/exportTo`.
    pub export_to: ExportTo,
}

/// `clusterIP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterIp {
    /// Not assigned, as in a file.
    Unassigned,
    /// `None`: headless.
    Headless,
    Assigned(Vec<IpAddr>),
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Where it is written.
    pub at: Position,
    /// Name; empty for a single unnamed port.
    pub name: String,
    /// Number that clients use.
    pub port: u16,
    /// Port of the workload; the number itself where not said.
    pub target: TargetPort,
    /// By `appProtocol`, then name, then well-known number.
    pub protocol: Protocol,
}

/// `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// Not said: the same number as the service port.
    Same,
    Number(u16),
    /// The name of a workload port.
    Name(String),
}
