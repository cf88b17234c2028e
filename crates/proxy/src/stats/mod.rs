//! Statistics with Envoy's names: a scope (`cluster.<name>`), what is counted in it, and the same as Prometheus has it.

pub(crate) mod counters;
pub(crate) mod prometheus;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;

use self::prometheus::{label, name};
use crate::error::ErrorKind;

/// Kinds of scopes; each has a prefix and, in Prometheus, a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The process: no label.
    Process(&'static str),
    Cluster(Arc<str>),
    /// A connection manager, by its `stat_prefix`.
    Http(Arc<str>),
    /// A listener, by its address or `stat_prefix`.
    Listener(Arc<str>),
    /// A local limit on requests, by its `stat_prefix`.
    LocalRateLimit(Arc<str>),
    /// Rules of access of filter chains, by their `stat_prefix`.
    Rbac(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stat {
    /// What it is about.
    pub scope: Scope,
    /// Name within the scope.
    pub metric: String,
    pub value: u64,
    /// Whether it goes down as well.
    pub gauge: bool,
}

/// What was sent to a cluster (<https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats>);
/// made when the first request comes, since most clusters of a mesh get none.
#[derive(Debug, Default)]
pub struct ClusterStats {
    connections_total: AtomicU64,
    connect_failed: AtomicU64,
    connect_timed_out: AtomicU64,
    requests_total: AtomicU64,
    requests_completed: AtomicU64,
    requests_timed_out: AtomicU64,
    per_try_timed_out: AtomicU64,
    per_try_idled: AtomicU64,
    retried: AtomicU64,
    overflowed: AtomicU64,
    connections_overflowed: AtomicU64,
    waited: AtomicU64,
    none_healthy: AtomicU64,
    by_class: [AtomicU64; 5],
    by_code: [AtomicU64; CODES.len()],
}

/// What came in on a listener.
#[derive(Debug, Default)]
pub struct ListenerStats {
    pub connections_total: AtomicU64,
    pub connections_active: AtomicU64,
    /// Connections that no chain took.
    pub no_chain: AtomicU64,
    /// Connections whose first bytes did not come in time.
    pub inspect_timeouts: AtomicU64,
}

/// Codes that are counted by themselves: those that servers use. Others count in their class alone.
const CODES: [u16; 32] = [
    200, 201, 202, 204, 206, 207, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 415,
    416, 422, 429, 431, 500, 501, 502, 503, 504,
];

// === impl Scope ===

impl Scope {
    fn prefix(&self) -> String {
        match self {
            Self::Process(name) => (*name).to_owned(),
            Self::Cluster(name) => format!("cluster.{name}"),
            Self::Http(name) => format!("http.{name}"),
            Self::Listener(name) => format!("listener.{name}"),
            Self::LocalRateLimit(name) => name.to_string(),
            Self::Rbac(name) => format!("{name}.rbac"),
        }
    }

    /// Prefix of the metric in Prometheus, and the label.
    fn prometheus(&self) -> (String, Option<(&'static str, &str)>) {
        match self {
            Self::Process(scope) => (format!("envoy_{scope}"), None),
            Self::Cluster(name) => ("envoy_cluster".to_owned(), Some(("envoy_cluster_name", name))),
            Self::Http(name) => ("envoy_http".to_owned(), Some(("envoy_http_conn_manager_prefix", name))),
            Self::Listener(name) => ("envoy_listener".to_owned(), Some(("envoy_listener_address", name))),
            Self::Rbac(name) => ("envoy_rbac".to_owned(), Some(("envoy_rbac_prefix", name))),
            Self::LocalRateLimit(name) => ("envoy".to_owned(), Some(("envoy_local_http_ratelimit_prefix", name))),
        }
    }
}

// === impl Stat ===

impl Stat {
    pub fn counter(scope: &Scope, metric: impl Into<String>, value: u64) -> Self {
        Self {
            scope: scope.clone(),
            metric: metric.into(),
            value,
            gauge: false,
        }
    }

    pub fn gauge(scope: &Scope, metric: impl Into<String>, value: u64) -> Self {
        Self {
            gauge: true,
            ..Self::counter(scope, metric, value)
        }
    }

    /// Its name in Envoy.
    pub fn name(&self) -> String {
        format!("{}.{}", self.scope.prefix(), self.metric)
    }

    /// Prometheus' name and labels. Response codes and classes are labels, as Envoy's tag extraction makes them.
    pub fn prometheus(&self) -> (String, String) {
        let (prefix, tag) = self.scope.prometheus();
        let mut labels = String::new();
        let mut metric = self.metric.clone();
        if let Some((head, code)) = self.metric.rsplit_once("_rq_") {
            let class = code.strip_suffix("xx").filter(|class| class.len() == 1);
            if let Some(class) = class {
                label(&mut labels, "envoy_response_code_class", class);
                metric = format!("{head}_rq_xx");
            } else if code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()) {
                label(&mut labels, "envoy_response_code", code);
                metric = format!("{head}_rq");
            }
        }
        if let Some((key, value)) = tag {
            label(&mut labels, key, value);
        }
        (name(&format!("{prefix}_{metric}")), labels)
    }
}

// === impl ClusterStats ===

impl ClusterStats {
    /// A connection is about to be made; one that fails counts, too, as in Envoy.
    pub fn connecting(&self) {
        self.connections_total.fetch_add(1, Relaxed);
    }

    /// A connection failed before it was of use.
    pub fn not_connected(&self, timed_out: bool) {
        self.connect_failed.fetch_add(1, Relaxed);
        if timed_out {
            self.connect_timed_out.fetch_add(1, Relaxed);
        }
    }

    /// The limit on connections does not allow one that is wanted.
    pub fn connections_overflowed(&self) {
        self.connections_overflowed.fetch_add(1, Relaxed);
    }

    /// A request waits for a connection, also one that is being made for it.
    pub fn waits(&self) {
        self.waited.fetch_add(1, Relaxed);
    }

    /// An attempt got an answer.
    pub fn answered(&self) {
        self.requests_total.fetch_add(1, Relaxed);
    }

    /// An attempt failed. Connections that fail are counted by themselves: several requests may have waited for one.
    pub fn failed(&self, kind: ErrorKind) {
        match kind {
            ErrorKind::ConnectFailed | ErrorKind::TlsFailed | ErrorKind::ConnectTimeout => return,
            ErrorKind::Overflow => &self.overflowed,
            ErrorKind::PerTryTimeout => {
                self.requests_total.fetch_add(1, Relaxed);
                &self.per_try_timed_out
            }
            ErrorKind::PerTryIdleTimeout => {
                self.requests_total.fetch_add(1, Relaxed);
                &self.per_try_idled
            }
            ErrorKind::ConnectionTerminated
            | ErrorKind::RefusedStream
            | ErrorKind::StreamReset
            | ErrorKind::UpstreamProtocol
            | ErrorKind::IdleTimeout => &self.requests_total,
            ErrorKind::NoHealthyUpstream => &self.none_healthy,
            // Before an attempt, of the client's making, or counted when the request ends.
            ErrorKind::BadRequest(_)
            | ErrorKind::ClientGone
            | ErrorKind::ClusterNotFound(_)
            | ErrorKind::HeadTimeout
            | ErrorKind::IdleRequest
            | ErrorKind::RequestDurationExceeded
            | ErrorKind::RequestTimeout
            | ErrorKind::RouteNotFound
            | ErrorKind::RouteRefused
            | ErrorKind::StreamDurationExceeded
            | ErrorKind::UpgradeRefused => return,
            ErrorKind::UpstreamTimeout => {
                self.requests_total.fetch_add(1, Relaxed);
                &self.requests_timed_out
            }
        }
        .fetch_add(1, Relaxed);
    }

    /// An answer fell silent for longer than one try allows, and its time is up.
    pub fn fell_silent(&self) {
        self.per_try_idled.fetch_add(1, Relaxed);
    }

    /// A request is tried again.
    pub fn retried(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    /// A request has its answer: the endpoint's, or ours where there is none. Answers that were tried again do not count, as in Envoy.
    pub fn completed(&self, status: StatusCode) {
        let code = status.as_u16();
        self.requests_completed.fetch_add(1, Relaxed);
        if let Some(counter) = self.by_class.get(usize::from(code / 100).wrapping_sub(1)) {
            counter.fetch_add(1, Relaxed);
        }
        if let Ok(at) = CODES.binary_search(&code) {
            self.by_code[at].fetch_add(1, Relaxed);
        }
    }

    /// Everything that was counted.
    pub fn stats(&self, scope: &Scope) -> Vec<Stat> {
        let fixed = [
            ("upstream_cx_total", &self.connections_total),
            ("upstream_cx_connect_fail", &self.connect_failed),
            ("upstream_cx_connect_timeout", &self.connect_timed_out),
            ("upstream_cx_overflow", &self.connections_overflowed),
            ("upstream_cx_none_healthy", &self.none_healthy),
            ("upstream_rq_total", &self.requests_total),
            ("upstream_rq_completed", &self.requests_completed),
            ("upstream_rq_timeout", &self.requests_timed_out),
            ("upstream_rq_per_try_timeout", &self.per_try_timed_out),
            ("upstream_rq_per_try_idle_timeout", &self.per_try_idled),
            ("upstream_rq_retry", &self.retried),
            ("upstream_rq_pending_total", &self.waited),
            ("upstream_rq_pending_overflow", &self.overflowed),
        ];
        let fixed = fixed.into_iter().map(|(metric, count)| (metric.to_owned(), count));
        let classes = self.by_class.iter().zip(1..);
        let classes = classes.map(|(count, class)| (format!("upstream_rq_{class}xx"), count));
        let codes = self.by_code.iter().zip(CODES);
        let codes = codes.map(|(count, code)| (format!("upstream_rq_{code}"), count));
        // Envoy makes these two when the first such answer comes.
        let answered = classes.chain(codes).filter(|(_, count)| count.load(Relaxed) > 0);
        fixed
            .chain(answered)
            .map(|(metric, count)| Stat::counter(scope, metric, count.load(Relaxed)))
            .collect()
    }
}

// === impl ListenerStats ===

impl ListenerStats {
    /// Everything that was counted.
    pub fn stats(&self, scope: &Scope) -> [Stat; 4] {
        [
            Stat::counter(scope, "downstream_cx_total", self.connections_total.load(Relaxed)),
            Stat::gauge(scope, "downstream_cx_active", self.connections_active.load(Relaxed)),
            Stat::counter(scope, "no_filter_chain_match", self.no_chain.load(Relaxed)),
            Stat::counter(scope, "downstream_pre_cx_timeout", self.inspect_timeouts.load(Relaxed)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_envoys() {
        let cluster = Scope::Cluster("outbound|80||a".into());
        for (stat, dotted, metric, labels) in [
            (
                Stat::counter(&cluster, "upstream_rq_2xx", 1),
                "cluster.outbound|80||a.upstream_rq_2xx",
                "envoy_cluster_upstream_rq_xx",
                "envoy_response_code_class=\"2\",envoy_cluster_name=\"outbound|80||a\"",
            ),
            (
                Stat::counter(&cluster, "upstream_rq_503", 1),
                "cluster.outbound|80||a.upstream_rq_503",
                "envoy_cluster_upstream_rq",
                "envoy_response_code=\"503\",envoy_cluster_name=\"outbound|80||a\"",
            ),
            (
                Stat::counter(&cluster, "upstream_rq_total", 1),
                "cluster.outbound|80||a.upstream_rq_total",
                "envoy_cluster_upstream_rq_total",
                "envoy_cluster_name=\"outbound|80||a\"",
            ),
            (
                Stat::gauge(&Scope::Process("server"), "live", 1),
                "server.live",
                "envoy_server_live",
                "",
            ),
            (
                Stat::gauge(&Scope::Listener("127.0.0.1_80".into()), "downstream_cx_active", 1),
                "listener.127.0.0.1_80.downstream_cx_active",
                "envoy_listener_downstream_cx_active",
                "envoy_listener_address=\"127.0.0.1_80\"",
            ),
        ] {
            assert_eq!(stat.name(), dotted);
            assert_eq!(stat.prometheus(), (metric.to_owned(), labels.to_owned()));
        }
    }

    #[test]
    fn attempts_are_counted_as_envoy_does() {
        assert!(CODES.is_sorted());
        let stats = ClusterStats::default();
        for code in [200, 200, 299, 503] {
            stats.answered();
            stats.completed(StatusCode::from_u16(code).unwrap());
        }
        for kind in [
            ErrorKind::ConnectFailed,
            ErrorKind::ConnectTimeout,
            ErrorKind::StreamReset,
            ErrorKind::Overflow,
        ] {
            stats.failed(kind);
        }
        stats.not_connected(false);
        stats.not_connected(true);
        let told = stats.stats(&Scope::Cluster("a".into()));
        let told: Vec<String> = told
            .iter()
            .filter(|stat| stat.value > 0)
            .map(|stat| format!("{} {}", stat.metric, stat.value))
            .collect();
        assert_eq!(
            told,
            [
                "upstream_cx_connect_fail 2",
                "upstream_cx_connect_timeout 1",
                "upstream_rq_total 5",
                "upstream_rq_completed 4",
                "upstream_rq_pending_overflow 1",
                "upstream_rq_2xx 3",
                "upstream_rq_5xx 1",
                "upstream_rq_200 2",
                "upstream_rq_503 1",
            ]
        );
    }
}
