//! What a bootstrap file says: who the proxy is, its static resources, and where it gets the others.

use std::net::SocketAddr;
use std::sync::Arc;

use super::cluster::Cluster;
use super::listener::Listener;
use super::secret::Secret;

/// A checked bootstrap (Envoy `config.bootstrap.v3.Bootstrap`).
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    /// Who the proxy is.
    pub node: Node,
    pub listeners: Vec<Listener>,
    pub clusters: Vec<Cluster>,
    /// Static secrets by name.
    pub secrets: Vec<(Arc<str>, Secret)>,
    /// The aggregated discovery service; `None` runs on static resources alone.
    pub ads: Option<Ads>,
    /// Which resource types come over ADS beside the static ones.
    pub dynamic: DynamicResources,
    /// Where the admin server listens.
    pub admin: Option<SocketAddr>,
}

/// Who the proxy is, as it tells its control plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub id: Arc<str>,
    pub cluster: Arc<str>,
    pub locality: super::cluster::Locality,
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// How the aggregated discovery service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ads {
    /// A static cluster.
    pub cluster: Arc<str>,
    /// Delta instead of state-of-the-world.
    pub delta: bool,
}

/// Resource types that come over ADS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DynamicResources {
    pub listeners: bool,
    pub clusters: bool,
}
