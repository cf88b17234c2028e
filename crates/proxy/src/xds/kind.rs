//! The resource types that the proxy asks for.

/// A resource type, in the order in which a consistent configuration is brought up
/// (Envoy, "eventual consistency considerations").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Clusters (CDS).
    Cluster,
    /// Endpoints (EDS).
    Endpoints,
    /// Listeners (LDS).
    Listener,
    /// Route configurations (RDS).
    Routes,
    /// Secrets (SDS).
    Secret,
    /// Names to answer DNS queries for (Istio's NDS).
    Names,
    /// That the application of the proxy's own pod has ended; the mesh's own type, named by the pod's uid.
    ApplicationEnded,
}

/// All of them, in order.
pub const ALL: [Kind; 7] = [
    Kind::Cluster,
    Kind::Endpoints,
    Kind::Listener,
    Kind::Routes,
    Kind::Secret,
    Kind::Names,
    Kind::ApplicationEnded,
];

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
        ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// Whether everything is asked for, instead of resources by name.
    pub fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener | Self::Names)
    }
}
