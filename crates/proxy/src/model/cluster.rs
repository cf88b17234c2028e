//! Clusters and their endpoints.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weft_base::backoff::Backoff;

use super::http::{Http1Options, Http2Options};
use super::metadata::{Origin, ServiceRef, WorkloadRef};
use super::outlier::OutlierDetection;
use super::tls::UpstreamTls;

/// A group of equivalent endpoints (Envoy `config.cluster.v3.Cluster`).
#[derive(Clone, Debug)]
pub struct Cluster {
    pub name: Arc<str>,
    /// Name in statistics, where it differs.
    pub alt_stat_name: Option<Arc<str>>,
    /// How endpoints are found.
    pub discovery: Discovery,
    /// Which endpoint is chosen.
    pub balancer: Balancer,
    /// Bound on connecting, TLS included. Envoy's default is 5 s.
    pub connect_timeout: Duration,
    /// Limits at default priority.
    pub limits: CircuitBreaker,
    /// Protocol spoken to endpoints.
    pub protocol: UpstreamProtocol,
    /// Closes a pooled connection without requests for so long. Envoy's default is an hour; zero never does.
    pub idle_timeout: Duration,
    /// Ends a connection after so long.
    pub connection_duration_max: Option<Duration>,
    /// Requests on one connection before it is closed; zero is without bound.
    pub requests_per_connection_max: u32,
    /// How connections are secured.
    pub transport: Transport,
    /// What requests say of the TLS of their connections.
    pub host_tls: Option<HostTls>,
    pub keepalive: Option<TcpKeepalive>,
    /// Source addresses of connections: the first of the endpoint's family is taken. Empty leaves it to the system.
    pub bind_addresses: Vec<std::net::IpAddr>,
    /// Passive health checks.
    pub outlier: Option<OutlierDetection>,
    /// Share of healthy endpoints, in percent, below which health is ignored. Envoy's default is 50.
    pub panic_threshold_percent: u32,
    /// Services that it leads to.
    pub services: Vec<ServiceRef>,
    /// Subset of the destination rule.
    pub subset: Option<Arc<str>>,
    /// Where it comes from.
    pub origin: Option<Origin>,
}

/// What protects connections to a cluster, read apart from all else of it.
#[derive(Clone, Debug)]
pub enum Security {
    Taken(Box<(Transport, Option<HostTls>)>),
    Refused,
}

/// How endpoints are found.
#[derive(Clone, Debug)]
pub enum Discovery {
    Static(LoadAssignment),
    /// Over EDS (ADS) under this name.
    Eds(Arc<str>),
    /// Every address of every name is an endpoint.
    StrictDns {
        /// Names and ports.
        names: Vec<DnsEndpoint>,
        /// How it is resolved.
        options: DnsOptions,
    },
    /// The first address of the name, whatever the others are.
    LogicalDns {
        /// Name and port.
        name: Box<DnsEndpoint>,
        /// How it is resolved.
        options: DnsOptions,
    },
    /// The address that the client meant.
    OriginalDst {
        /// Take it from `x-envoy-original-dst-host` (or another header) where present.
        header: Option<::http::HeaderName>,
        /// Replace the port.
        port_override: Option<u16>,
    },
}

// === impl Discovery ===

impl Discovery {
    /// Whether endpoints come from looking names up.
    pub fn is_dns(&self) -> bool {
        matches!(self, Self::StrictDns { .. } | Self::LogicalDns { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsOptions {
    /// How often a name is resolved again. Envoy's default is 5 s.
    pub refresh: Duration,
    /// An answer says itself how long it holds, if it does at all.
    pub ttl_counts: bool,
    /// Pauses after looks that failed; `None` is the usual one.
    pub failure_pauses: Option<Backoff>,
    pub family: DnsFamily,
}

/// Address families of a DNS cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6, else IPv4.
    #[default]
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4, else IPv6.
    V4Preferred,
    All,
}

/// A name to resolve.
#[derive(Clone, Debug)]
pub struct DnsEndpoint {
    /// Host name (or address).
    pub host: Arc<str>,
    pub port: u16,
    /// What each of its addresses gets.
    pub template: Endpoint,
    /// Locality and priority of its addresses.
    pub locality: Locality,
    /// Weight of the locality.
    pub locality_weight: Option<u32>,
    /// Priority, 0 first.
    pub priority: u32,
}

/// Endpoints by locality (Envoy `ClusterLoadAssignment`).
#[derive(Clone, Debug, Default)]
pub struct LoadAssignment {
    /// Name of the cluster or EDS resource.
    pub name: Arc<str>,
    pub localities: Vec<LocalityEndpoints>,
    /// Overprovisioning factor in percent. Envoy's default is 140.
    pub overprovisioning_percent: u32,
}

/// Endpoints of one locality and priority.
#[derive(Clone, Debug, Default)]
pub struct LocalityEndpoints {
    pub locality: Locality,
    /// 0 is used first.
    pub priority: u32,
    /// Weight against others of the priority.
    pub weight: Option<u32>,
    pub endpoints: Vec<Endpoint>,
}

/// Region, zone and sub-zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    pub region: Arc<str>,
    pub zone: Arc<str>,
    pub sub_zone: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddress,
    /// Host name, for `auto_host_rewrite`.
    pub hostname: Arc<str>,
    /// Weight, at least 1.
    pub weight: u32,
    /// Health as discovery knows it.
    pub health: Health,
    /// Labels that choose its transport (`envoy.transport_socket_match`).
    pub transport_labels: Vec<(Arc<str>, Arc<str>)>,
    /// The workload behind it.
    pub workload: Option<Arc<WorkloadRef>>,
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Socket(SocketAddr),
    /// A Unix socket.
    Pipe(PathBuf),
}

/// Health as discovery knows it (Envoy `HealthStatus`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Unknown or healthy.
    #[default]
    Healthy,
    /// Used only where too few are healthy.
    Degraded,
    Unhealthy,
    /// Gets no new traffic.
    Draining,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// In turn, by weight.
    RoundRobin,
    /// The one with fewest requests in flight among `choices` picked at random.
    LeastRequest {
        /// How many are compared, at least 2.
        choices: u32,
    },
    /// At random, by weight.
    Random,
    /// The discovery type decides (original destination).
    ClusterProvided,
}

/// Limits of one cluster (Envoy `CircuitBreakers.Thresholds`). Defaults are Envoy's: 1024, 1024, 1024, 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Connections to all endpoints.
    pub connections_max: u32,
    /// Requests that wait for a connection.
    pub pending_max: u32,
    /// Requests in flight.
    pub requests_max: u32,
    /// Retries in flight, where there is no budget.
    pub retries_max: u32,
    /// Retries as a share of requests.
    pub retry_budget: Option<RetryBudget>,
    /// Report what remains.
    pub track_remaining: bool,
}

/// Retries allowed as a share of the requests in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Percent of active and pending requests. Envoy's default is 20.
    pub percent: f64,
    /// Always allowed. Envoy's default is 3.
    pub min_concurrency: u32,
}

impl Eq for RetryBudget {}

/// The protocol spoken to endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1(Http1Options),
    /// HTTP/2, with prior knowledge where there is no TLS.
    Http2(Http2Options),
    Auto {
        /// Options of HTTP/1.
        http1: Http1Options,
        /// Options of HTTP/2.
        http2: Http2Options,
    },
    /// What the client spoke.
    Downstream {
        /// Options of HTTP/1.
        http1: Http1Options,
        /// Options of HTTP/2.
        http2: Http2Options,
    },
}

/// How connections are secured.
#[derive(Clone, Debug)]
pub struct Transport {
    /// Chosen by an endpoint's labels, the first whose labels are all there.
    pub matches: Vec<TransportMatch>,
    /// Where none fits; `None` is plaintext.
    pub default: Option<Arc<UpstreamTls>>,
}

/// What a request's host means for TLS (Envoy `UpstreamHttpProtocolOptions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTls {
    /// It is sent as server name.
    pub server_name: bool,
    /// The server's certificate must have it among its names.
    pub certificate_name: bool,
    /// A header whose value counts instead, in requests that have it.
    pub header: Option<::http::HeaderName>,
}

/// One entry of `transport_socket_matches`.
#[derive(Clone, Debug)]
pub struct TransportMatch {
    /// Name, for statistics.
    pub name: Arc<str>,
    /// Labels the endpoint must have; empty fits all.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// The context; `None` is plaintext.
    pub tls: Option<Arc<UpstreamTls>>,
}

/// TCP keep-alive; `None` leaves the system's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
}
