//! How long connections that carry bytes may last or be idle, by the DestinationRules of where they go.

use std::time::Duration;

use weft_proto::cluster_name::ClusterName;

use crate::view::ProxyView;

/// Times of `connectionPool.tcp` that a listener keeps, because a cluster does not know its connections' bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TcpLimits {
    /// `idleTimeout`; zero is never, `None` the default of one hour.
    pub idle: Option<Duration>,
    /// `maxConnectionDuration`.
    pub longest: Option<Duration>,
}

// === impl TcpLimits ===

impl TcpLimits {
    /// The limits of a split. One listener keeps one time, so where the destinations differ, the shortest counts.
    pub(super) fn of(view: &ProxyView, clusters: &[(String, u32)]) -> Self {
        let limits = clusters.iter().map(|(cluster, _)| Self::of_cluster(view, cluster));
        limits.reduce(Self::shorter).unwrap_or_default()
    }

    fn of_cluster(view: &ProxyView, cluster: &str) -> Self {
        let pool = ClusterName::parse(cluster).and_then(|name| {
            let ClusterName::Outbound(to) = name else {
                return None;
            };
            let service = view.snapshot.services.lookup(to.host, view.namespace())?;
            view.destination_rule(service)?
                .rule
                .policy(to.subset, to.port)
                .connection_pool
        });
        pool.map_or_else(Self::default, |pool| Self {
            idle: pool.tcp_idle_timeout,
            longest: pool.max_connection_duration,
        })
    }

    fn shorter(self, other: Self) -> Self {
        // Zero, which is never, is the longest.
        let idle = [self.idle, other.idle].into_iter().flatten();
        Self {
            idle: idle.min_by_key(|idle| (idle.is_zero(), *idle)),
            longest: self.longest.into_iter().chain(other.longest).min(),
        }
    }
}
