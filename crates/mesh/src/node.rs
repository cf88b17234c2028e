//! Who a client is: its id, its pod, what it speaks.

use std::net::IpAddr;
use std::sync::Arc;

use weft_api::meta::Labels;

/// A client that named itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyNode {
    /// The whole id.
    pub id: Arc<str>,
    /// What kind of proxy.
    pub role: Role,
    /// Where it is; nothing where the id has no address.
    pub address: Option<IpAddr>,
    pub pod: Arc<str>,
    pub namespace: Arc<str>,
    /// Service account, where the metadata has one.
    pub service_account: Option<Arc<str>>,
    /// Labels, where the metadata has any.
    pub labels: Labels,
    /// Version that it reports.
    pub version: Arc<str>,
    /// What it speaks.
    pub dialect: Dialect,
}

/// Kinds of proxies, as the first part of a node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside a workload.
    Sidecar,
    Router,
}

/// Data planes that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// The mesh's own proxy.
    Weft,
    Envoy,
    /// A gRPC library within the client itself (metadata `GENERATOR: grpc`).
    Grpc,
}
