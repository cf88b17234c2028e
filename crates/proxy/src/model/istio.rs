//! Istio's own filters: standard metrics and the exchange of peer metadata.

use std::time::Duration;

/// Istio's standard metrics (filter `istio.stats`, `stats.PluginConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IstioStats {
    /// Whether the host of a request names the service where the cluster does not. Off where anybody may send any host.
    pub host_fallback: bool,
    /// How often a connection of bytes reports; zero reports at its end only.
    pub tcp_interval: Duration,
}

/// Peer metadata in headers (filter `istio.metadata_exchange`, `io.istio.http.peer_metadata.Config`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerExchange {
    /// Read who a mesh client is from its headers, and take them off.
    pub discover: bool,
    /// Tell mesh endpoints who this proxy's workload is.
    pub propagate: bool,
}

// === impl IstioStats ===

impl Default for IstioStats {
    fn default() -> Self {
        Self {
            host_fallback: true,
            tcp_interval: Duration::from_secs(5),
        }
    }
}
