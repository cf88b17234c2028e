//! Encoded resources and the types they are of.

pub mod layer;

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

/// Resources of one type by name.
pub type ResourceSet = BTreeMap<Arc<str>, Resource>;

/// A resource as it goes on the wire. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Type URL.
    pub type_url: Arc<str>,
    /// Hash of the bytes: the same content has the same version, whatever generation made it.
    pub version: Arc<str>,
    /// Encoded message.
    pub bytes: Arc<[u8]>,
}

/// Resource types that are served, in the order in which they are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Clusters.
    Cluster,
    /// Endpoints.
    Endpoints,
    /// Listeners.
    Listener,
    /// Route configurations.
    Routes,
    /// Secrets.
    Secret,
    /// Names that the proxy answers DNS queries for.
    Names,
    /// That the application of the proxy's own pod has ended; the mesh's own type, named by the pod's uid.
    ApplicationEnded,
}

/// All of them, in order.
pub const KINDS: [Kind; 7] = [
    Kind::Cluster,
    Kind::Endpoints,
    Kind::Listener,
    Kind::Routes,
    Kind::Secret,
    Kind::Names,
    Kind::ApplicationEnded,
];

// === impl Resource ===

impl Resource {
    /// A resource of encoded bytes.
    pub fn new(type_url: String, bytes: Vec<u8>) -> Self {
        Self {
            version: Arc::from(format!("{:016x}", xxh64(&bytes, 0))),
            type_url: Arc::from(type_url),
            bytes: Arc::from(bytes),
        }
    }
}

// === impl Kind ===

impl Kind {
    /// The type URL on the wire.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Names => "type.googleapis.com/istio.networking.nds.v1.NameTable",
            Self::ApplicationEnded => "type.googleapis.com/weft.mesh.v1.ApplicationEnded",
        }
    }

    /// The type of a type URL.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// Whether a client that names nothing gets everything.
    pub fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener | Self::Names)
    }

    /// The short name in metrics and debug pages.
    pub fn short(self) -> &'static str {
        match self {
            Self::Cluster => "cds",
            Self::Endpoints => "eds",
            Self::Listener => "lds",
            Self::Routes => "rds",
            Self::Secret => "sds",
            Self::Names => "nds",
            Self::ApplicationEnded => "ended",
        }
    }
}
