//! `networking.istio.io` DestinationRule: versions of a service and how clients talk to it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::matching::{ExportTo, Percent};
use crate::meta::{Labels, Position};

/// Subsets and client-side policy of a host (istio.io, "Destination Rule").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationRule {
    /// Host as written; a short name is relative to the object's namespace.
    pub host: String,
    /// Who may see the rule.
    pub export_to: ExportTo,
    /// Client workloads that the rule is for; `None` is all.
    pub workload_selector: Option<Labels>,
    /// Policy of the host.
    pub traffic_policy: Option<TrafficPolicy>,
    pub subsets: Vec<Subset>,
}

/// A named part of a service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// Where it is written.
    pub at: Position,
    /// Name, unique in the rule.
    pub name: String,
    /// Labels that endpoints must have.
    pub labels: Labels,
    /// Overrides the host's policy field by field.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// Client-side policy with exceptions for ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// For all ports that have no entry of their own.
    pub settings: PolicySettings,
    /// Replaces `settings` for a port of the service, without inheriting from it.
    pub ports: BTreeMap<u16, PolicySettings>,
    /// Retries as a share of requests.
    pub retry_budget: Option<RetryBudget>,
}

/// The policy fields that exist per host, per subset and per port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySettings {
    /// Choice of the endpoint.
    pub load_balancer: Option<LoadBalancer>,
    pub connection_pool: Option<ConnectionPool>,
    /// Passive health checks.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the host.
    pub tls: Option<ClientTls>,
    /// Asks for something before TLS that this mesh cannot do (a tunnel, the PROXY protocol), so that no connection may be made.
    pub closed: bool,
}

/// Choice of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalancer {
    /// The mesh default (`UNSPECIFIED`), which is least request.
    Default,
    /// The less loaded of two; also `LEAST_CONN`.
    LeastRequest,
    RoundRobin,
    Random,
}

/// Limits of connections and requests to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// `tcp.maxConnections`.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout`; `None` is 10 s.
    pub connect_timeout: Option<Duration>,
    /// `tcp.tcpKeepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// `tcp.maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `tcp.idleTimeout`; `None` is one hour.
    pub tcp_idle_timeout: Option<Duration>,
    /// `http.http1MaxPendingRequests`.
    pub http1_max_pending_requests: Option<u32>,
    /// `http.http2MaxRequests`.
    pub http2_max_requests: Option<u32>,
    /// `http.maxRequestsPerConnection`; 0 is no limit.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxRetries`.
    pub max_retries: Option<u32>,
    /// `http.idleTimeout`; `None` is one hour.
    pub http_idle_timeout: Option<Duration>,
    /// `http.h2UpgradePolicy`.
    pub h2_upgrade: H2Upgrade,
    /// `http.useClientProtocol`.
    pub use_client_protocol: bool,
    /// `http.maxConcurrentStreams`.
    pub max_concurrent_streams: Option<u32>,
}

/// Whether HTTP/1.1 ports are spoken to in HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum H2Upgrade {
    /// The mesh default, which is no.
    #[default]
    Default,
    DoNotUpgrade,
    Upgrade,
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

/// Passive health checks. `None` is the default in the comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 5xx in a row; 5, and 0 turns it off.
    pub consecutive_5xx_errors: Option<u32>,
    /// 502, 503, 504 in a row; off.
    pub consecutive_gateway_errors: Option<u32>,
    /// Count connect failures apart from answers.
    pub split_external_local_origin_errors: bool,
    /// Failures of the local side in a row; 5 when split.
    pub consecutive_local_origin_failures: Option<u32>,
    /// Time between sweeps; 10 s.
    pub interval: Option<Duration>,
    /// First ejection; 30 s.
    pub base_ejection_time: Option<Duration>,
    /// Most endpoints ejected, percent; 10.
    pub max_ejection_percent: Option<u32>,
    /// Below this share of healthy endpoints ejection is ignored, percent; 0.
    pub min_health_percent: Option<u32>,
}

/// TLS towards the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Where it is written.
    pub at: Position,
    pub mode: ClientTlsMode,
    /// Chain file, for `Mutual`.
    pub client_certificate: Option<String>,
    /// Key file, for `Mutual`.
    pub private_key: Option<String>,
    /// CA file; the system's roots where absent.
    pub ca_certificates: Option<String>,
    /// Server name; the host where absent.
    pub sni: Option<String>,
    /// Names, one of which the server's certificate must have.
    pub subject_alt_names: Vec<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
}

/// `tls.mode` of a DestinationRule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTlsMode {
    /// Plain text, even where mTLS would be automatic.
    Disable,
    /// TLS without a client certificate.
    Simple,
    /// TLS with a client certificate from files.
    Mutual,
    IstioMutual,
    /// TLS with something that this mesh cannot do, so that no connection may be made.
    Unusable,
}

/// Retries as a share of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Percent of active requests; 20.
    pub percent: Percent,
    /// Always allowed; 3.
    pub min_concurrency: u32,
}

// === impl TrafficPolicy ===

impl TrafficPolicy {
    /// Lays this policy over `base`, for one port: fields that are set win, and an entry for the port replaces all of them
    /// (istio.io, "Destination Rule": port settings do not inherit).
    pub fn over(&self, base: &PolicySettings, port: u16) -> PolicySettings {
        if let Some(own) = self.ports.get(&port) {
            return own.clone();
        }
        let set = &self.settings;
        PolicySettings {
            load_balancer: set.load_balancer.or(base.load_balancer),
            connection_pool: set.connection_pool.clone().or_else(|| base.connection_pool.clone()),
            outlier_detection: set.outlier_detection.clone().or_else(|| base.outlier_detection.clone()),
            tls: set.tls.clone().or_else(|| base.tls.clone()),
            closed: set.closed || base.closed,
        }
    }
}

// === impl PolicySettings ===

impl PolicySettings {
    /// Whether no connection may be made, because the mesh cannot protect it as it should be.
    pub fn is_closed(&self) -> bool {
        self.closed || self.tls.as_ref().is_some_and(|tls| tls.mode == ClientTlsMode::Unusable)
    }
}

// === impl DestinationRule ===

impl DestinationRule {
    /// The policy for a port of the host, seen through a subset if one is named.
    pub fn policy(&self, subset: Option<&str>, port: u16) -> PolicySettings {
        let mut settings = PolicySettings::default();
        if let Some(policy) = &self.traffic_policy {
            settings = policy.over(&settings, port);
        }
        if let Some(policy) = subset
            .and_then(|name| self.subset(name))
            .and_then(|s| s.traffic_policy.as_ref())
        {
            settings = policy.over(&settings, port);
        }
        settings
    }

    /// The retry budget, the subset's before the host's.
    pub fn retry_budget(&self, subset: Option<&str>) -> Option<RetryBudget> {
        subset
            .and_then(|name| self.subset(name))
            .and_then(|s| s.traffic_policy.as_ref()?.retry_budget)
            .or_else(|| self.traffic_policy.as_ref().and_then(|policy| policy.retry_budget))
    }

    /// A subset by name.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }
}
