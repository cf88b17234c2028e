//! What both ends of a stream of aggregated discovery have to agree on beside its messages: the kinds of resources with their type URLs,
//! the order in which they are sent and applied, and the two variants of the protocol
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>).

/// A kind of resources. Their order is the one in which a consistent configuration is brought up: what others refer to comes first
/// (xDS protocol, "eventual consistency considerations").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Cluster,
    /// Endpoints of clusters (EDS).
    Endpoints,
    Listener,
    /// Route configurations (RDS).
    Routes,
    Secret,
    /// Names that a proxy answers DNS queries for (Istio's NDS).
    Names,
    /// That the application of the proxy's own pod has ended; the mesh's own type, named by the pod's uid.
    ApplicationEnded,
}

/// Which variant of the protocol a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Incremental: what has changed.
    Delta,
    /// State of the world: everything of a kind that was asked for, each time.
    StateOfTheWorld,
}

// === impl Kind ===

impl Kind {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Listener,
        Self::Routes,
        Self::Secret,
        Self::Names,
        Self::ApplicationEnded,
    ];

    /// The type URL on the wire.
    pub const fn type_url(self) -> &'static str {
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

    /// The kind of a type URL.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// Whether a client that names nothing gets everything; of other kinds it gets what it names.
    pub const fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener | Self::Names)
    }

    /// The short name in metrics and on debug pages.
    pub const fn short(self) -> &'static str {
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

#[cfg(test)]
mod tests {
    use prost::Name;

    use super::*;
    use crate::names::NameTable;
    use crate::xds::envoy::config::cluster::v3::Cluster;
    use crate::xds::envoy::config::endpoint::v3::ClusterLoadAssignment;
    use crate::xds::envoy::config::listener::v3::Listener;
    use crate::xds::envoy::config::route::v3::RouteConfiguration;
    use crate::xds::envoy::extensions::transport_sockets::tls::v3::Secret;

    #[test]
    fn type_urls_are_those_of_the_messages() {
        for (kind, type_url) in [
            (Kind::Cluster, Cluster::type_url()),
            (Kind::Endpoints, ClusterLoadAssignment::type_url()),
            (Kind::Listener, Listener::type_url()),
            (Kind::Routes, RouteConfiguration::type_url()),
            (Kind::Secret, Secret::type_url()),
            (Kind::Names, NameTable::type_url()),
        ] {
            assert_eq!(kind.type_url(), type_url);
            assert_eq!(Kind::from_type_url(&type_url), Some(kind));
        }
        assert_eq!(
            Kind::from_type_url("type.googleapis.com/envoy.config.cluster.v3.Clusters"),
            None
        );
    }

    #[test]
    fn all_are_in_order() {
        assert!(Kind::ALL.is_sorted());
    }
}
