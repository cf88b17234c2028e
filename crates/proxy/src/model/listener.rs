//! Listeners, filter chains and what a chain does with a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::access_log::AccessLog;
use super::filters::ListedFilter;
use super::http::{Edge, HttpConnectionManager, RouteSource};
use super::metadata::Origin;
use super::network_filters::NetworkFilterConfig;
use super::route::VirtualHost;
use super::tls::DownstreamTls;

/// One listening socket and its filter chains (Envoy `config.listener.v3.Listener`).
#[derive(Clone, Debug)]
pub struct Listener {
    pub name: Arc<str>,
    /// Its addresses: the first is `address`, then the additional ones. They are bound where `bind_to_port` says so, and are
    /// what original destinations are compared with.
    pub addresses: Vec<SocketAddr>,
    /// Whether a socket is bound at all; a listener that is not gets connections by original destination only.
    pub bind_to_port: bool,
    /// Which side of the workload it serves.
    pub direction: Direction,
    /// Prefix of its statistics; the address where unset.
    pub stat_prefix: Option<Arc<str>>,
    /// Read the TLS ClientHello for server name and ALPN before choosing a chain.
    pub inspect_tls: bool,
    /// Read the first bytes to tell HTTP from other protocols before choosing a chain.
    pub inspect_http: bool,
    /// Take the address that the client meant from the socket (`SO_ORIGINAL_DST`).
    pub original_destination: bool,
    /// Hand connections to the listener bound to the original destination where one exists.
    pub use_original_dst: bool,
    /// A PROXY protocol header is read first.
    pub proxy_protocol: bool,
    /// How long the inspectors may wait for bytes; zero waits for ever.
    pub inspect_timeout: Duration,
    /// Continue with what is known when the inspectors time out, instead of closing.
    pub continue_on_inspect_timeout: bool,
    /// Chains, matched as Envoy does: the most specific match wins.
    pub chains: Vec<FilterChain>,
    /// The chain of a connection that matches none.
    pub default_chain: Option<FilterChain>,
    /// Most bytes buffered per connection.
    pub buffer_bytes_max: usize,
    /// Logs of the listener itself (connections that reach no chain).
    pub access_logs: Vec<AccessLog>,
    /// Where it comes from.
    pub origin: Option<Origin>,
    /// What of it was refused beside chains, which say so themselves.
    pub refused: ListenerRefusal,
}

/// What of a listener was refused.
#[derive(Clone, Debug, Default)]
pub struct ListenerRefusal {
    /// What it says beside its chains.
    pub settings: bool,
    /// Which connections chains may be for whose own match was refused: they are closed, whatever other chain would take them.
    pub matches: Vec<ChainMatch>,
}

/// `traffic_direction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Neither; a front proxy or gateway.
    #[default]
    Unspecified,
    /// Towards the workload beside the proxy.
    Inbound,
    Outbound,
}

/// One filter chain (Envoy `FilterChain`).
#[derive(Clone, Debug)]
pub struct FilterChain {
    /// Name, empty where unset.
    pub name: Arc<str>,
    /// Which connections it takes.
    pub matches: ChainMatch,
    /// TLS to terminate; `None` is plaintext.
    pub tls: Option<DownstreamTls>,
    /// How long the TLS handshake may take, 15 s where nothing is said; zero is without bound.
    pub transport_connect_timeout: Duration,
    /// What it passes before that, in order.
    pub filters: Vec<NetworkFilterConfig>,
    /// What is done with the connection.
    pub action: ChainAction,
}

/// Criteria of a chain; an empty list matches all (Envoy `FilterChainMatch`).
#[derive(Clone, Debug, Default)]
pub struct ChainMatch {
    pub destination_port: Option<u16>,
    /// Destination address ranges.
    pub destination_ranges: Vec<IpNet>,
    /// Server names: exact, or `*.suffix`; lower case.
    pub server_names: Vec<Arc<str>>,
    /// `tls`, `raw_buffer`, or none.
    pub transport: Option<TransportProtocol>,
    /// ALPN or detected application protocols.
    pub application_protocols: Vec<Arc<str>>,
    /// Source address ranges of the connection itself.
    pub direct_source_ranges: Vec<IpNet>,
    /// Source address ranges.
    pub source_ranges: Vec<IpNet>,
    pub source_ports: Vec<u16>,
    /// Restricts to connections from the same or another host.
    pub source_type: SourceType,
}

/// What the TLS inspector found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportProtocol {
    RawBuffer,
    Tls,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceType {
    #[default]
    Any,
    /// The same address, or loopback.
    SameIpOrLoopback,
    External,
}

/// What a chain does with its connections.
#[derive(Clone, Debug)]
pub enum ChainAction {
    Http(Box<HttpConnectionManager>),
    Tcp(Box<TcpProxy>),
    /// It was refused, and nothing was there before it that may go on: connections are closed.
    Refused(Taken),
}

/// What of a refused chain is good beside which connections it takes. With it goes on what the chain did before.
#[derive(Clone, Debug)]
pub enum Taken {
    /// What protects it is refused, so that it is closed whatever it did before.
    Nothing,
    /// How its connections are secured; what they are served is refused.
    Tls,
    /// TLS, and something of a connection manager.
    Http(Box<TakenHttp>),
    /// TLS, and where bytes go.
    Clusters(Vec<WeightedTarget>),
}

/// What of a refused connection manager is good.
#[derive(Clone, Debug)]
pub struct TakenHttp {
    pub routes: Option<RouteSource>,
    /// The filters before the router, and the names of those that are left out.
    pub filters: Option<(Vec<ListedFilter>, Vec<Arc<str>>)>,
    pub edge: Option<Edge>,
}

/// Forwarding of bytes (Envoy `TcpProxy`).
#[derive(Clone, Debug)]
pub struct TcpProxy {
    /// Prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// Where to, with weights; at least one.
    pub clusters: Vec<WeightedTarget>,
    /// Closes when no byte flows for so long; zero never does. Envoy's default is an hour.
    pub idle_timeout: Duration,
    /// How often a failed connect is tried, at least 1.
    pub connect_attempts_max: u32,
    /// Closes after so long.
    pub duration_max: Option<Duration>,
    /// Logs, one line per connection.
    pub access_logs: Vec<AccessLog>,
}

/// A cluster and its share of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedTarget {
    pub cluster: Arc<str>,
    /// Weight; shares are weight over the sum.
    pub weight: u32,
}

// === impl Listener ===

impl Listener {
    /// The route configurations that it gets by name.
    pub fn route_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let chains = self.chains.iter().chain(&self.default_chain);
        chains.filter_map(|chain| match &chain.action {
            ChainAction::Http(manager) => match &manager.routes {
                RouteSource::Rds(name) => Some(name),
                RouteSource::Inline(_) => None,
            },
            ChainAction::Tcp(_) | ChainAction::Refused(_) => None,
        })
    }

    /// The clusters that its own chains name; those of routes that it gets by name are theirs.
    pub fn cluster_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let chains = self.chains.iter().chain(&self.default_chain);
        chains.flat_map(|chain| {
            let (targets, hosts) = match &chain.action {
                ChainAction::Refused(_) => (&[][..], &[][..]),
                ChainAction::Tcp(tcp) => (tcp.clusters.as_slice(), &[][..]),
                ChainAction::Http(manager) => match &manager.routes {
                    RouteSource::Rds(_) => (&[][..], &[][..]),
                    RouteSource::Inline(routes) => (&[][..], routes.virtual_hosts.as_slice()),
                },
            };
            let of_routes = hosts.iter().flat_map(VirtualHost::cluster_names);
            targets.iter().map(|target| &target.cluster).chain(of_routes)
        })
    }
}
