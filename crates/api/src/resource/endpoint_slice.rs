//! Kubernetes `discovery.k8s.io/v1` EndpointSlice: some of the endpoints of one service.

use std::net::IpAddr;

/// A slice of a service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The service that it belongs to, in its own namespace (label `kubernetes.io/service-name`); empty for none.
    pub service: String,
    /// TCP ports, which all endpoints of the slice have.
    pub ports: Vec<SlicePort>,
    pub endpoints: Vec<SliceEndpoint>,
}

/// One port of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Name of the service port; empty for a single unnamed one.
    pub name: String,
    /// Number at the endpoints.
    pub port: u16,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub address: IpAddr,
    /// Whether it takes new requests.
    pub ready: bool,
    /// Whether it still answers, though it may be about to end. Not said is the same as `ready`.
    pub serving: bool,
    /// Whether it is about to end.
    pub terminating: bool,
    /// The pod behind it.
    pub pod: Option<String>,
    /// The node that it is on.
    pub node: String,
}
