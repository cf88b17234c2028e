//! Kubernetes `v1` Pod, as far as the mesh needs it: who runs where, on which ports, and whether a proxy stands in front.

use std::net::IpAddr;

use crate::local_workload::Role;

/// A pod. Its name is the one in the proxy's node id, its labels are the workload's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Identity of this pod, which another one of the same name does not have; empty where not known.
    pub uid: String,
    /// Its addresses, the primary one first; empty until it has one.
    pub ips: Vec<IpAddr>,
    /// The node that it runs on; empty until it is scheduled.
    pub node: String,
    /// Service account; `default` where not said.
    pub service_account: String,
    /// Name shared by all replicas: that of the controller, without the hash of a ReplicaSet; else the pod's own.
    pub workload_name: String,
    /// TCP ports that its containers declare.
    pub ports: Vec<ContainerPort>,
    /// The proxy that stands in front; `None` for a pod outside the mesh.
    pub proxy: Option<PodProxy>,
    /// It shares the node's network, so its address is not its own.
    pub host_network: bool,
    /// Whether it passes its readiness checks.
    pub ready: bool,
    /// Whether it was asked to end.
    pub terminating: bool,
    /// Whether it ended for good; its address may belong to another pod by now.
    pub finished: bool,
    /// Whether every container but an ordinary one of the proxy has ended and is not started again, so that the pod lives on for
    /// its proxy alone. Never so where the kubelet itself ends the proxy last (native sidecars).
    pub application_ended: bool,
}

/// The proxy of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodProxy {
    /// Beside an application, or a gateway.
    pub role: Role,
    /// Whether the pod's traffic is redirected into it.
    pub captured: bool,
}

/// A TCP port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Name; may be empty.
    pub name: String,
    pub port: u16,
}
