//! Route configurations: virtual hosts, matches and actions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regex::Regex;

use super::access_log::Format;
use super::filters::Override;
use super::listener::WeightedTarget;
use super::matcher::{Fraction, HeaderMatcher, QueryMatcher};
use super::metadata::Origin;
pub use super::refusal::{HostRefusal, Refused};

/// A route configuration (Envoy `config.route.v3.RouteConfiguration`).
#[derive(Clone, Debug)]
pub struct RouteConfig {
    pub name: Arc<str>,
    pub virtual_hosts: Vec<VirtualHost>,
    /// Header changes of every request and response.
    pub headers: HeaderMutations,
    /// Headers that only the mesh may set; removed from requests of outside clients.
    pub internal_only_headers: Vec<::http::HeaderName>,
    /// Header changes of the most specific level win instead of the least specific.
    pub most_specific_header_mutations_wins: bool,
    /// The port of the host plays no part in choosing a virtual host.
    pub ignore_port_in_host_matching: bool,
    /// What filters are told of every request.
    pub filters: Vec<Override>,
    /// What it says beside virtual hosts was refused.
    pub refused: bool,
}

/// A virtual host; the default one has nothing.
#[derive(Clone, Debug, Default)]
pub struct VirtualHost {
    /// Unique name within the configuration.
    pub name: Arc<str>,
    /// Domains, lower case: exact, `*.suffix`, `prefix.*`, `*`.
    pub domains: Vec<Arc<str>>,
    /// Routes in order; the first match wins.
    pub routes: Vec<Route>,
    /// Routes from this position on are those of before: only requests whose own route [goes as before](Route::goes_as_before) meet them.
    pub before_from: Option<usize>,
    /// Redirect plain requests to https.
    pub require_tls: RequireTls,
    pub headers: HeaderMutations,
    /// Retries of routes that say nothing themselves.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Tell upstream how often it was tried (`x-envoy-attempt-count`).
    pub include_request_attempt_count: bool,
    /// Tell the client.
    pub include_attempt_count_in_response: bool,
    /// What filters are told of its requests.
    pub filters: Vec<Override>,
    /// Where it comes from.
    pub origin: Option<Origin>,
    /// What of it was refused; `None` where all was taken.
    pub refused: Option<Box<HostRefusal>>,
}

/// `require_tls` of a virtual host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequireTls {
    #[default]
    None,
    /// Required of clients outside.
    ExternalOnly,
    All,
}

#[derive(Clone, Debug)]
pub struct Route {
    /// Name, for logs.
    pub name: Arc<str>,
    pub matches: RouteMatch,
    /// What is done.
    pub action: RouteAction,
    /// Its cluster waits for endpoints, so that its requests go as before, where something was there before.
    pub waits: bool,
    pub headers: HeaderMutations,
    /// What filters are told of its requests.
    pub filters: Vec<Override>,
    /// Where it comes from.
    pub origin: Option<Origin>,
}

/// Criteria of a route; all must hold.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    pub path: PathMatch,
    /// Request headers, methods included (`:method`).
    pub headers: Vec<HeaderMatcher>,
    pub query: Vec<QueryMatcher>,
    /// Only gRPC requests.
    pub grpc: bool,
    /// Only this share of requests (`runtime_fraction` with its default).
    pub fraction: Option<Fraction>,
}

/// How a path (without query) is matched.
#[derive(Clone, Debug)]
pub enum PathMatch {
    Exact {
        path: Arc<str>,
        /// Compare with case.
        case_sensitive: bool,
    },
    Prefix {
        path: Arc<str>,
        /// Compare with case.
        case_sensitive: bool,
    },
    /// Equal, or continues with a slash (`path_separated_prefix`).
    SeparatedPrefix {
        /// The prefix, without a trailing slash.
        path: Arc<str>,
        /// Compare with case.
        case_sensitive: bool,
    },
    /// The whole path matches.
    Regex(Regex),
    /// A CONNECT request.
    Connect,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum RouteAction {
    /// Forward to a cluster.
    Forward(Box<Forward>),
    /// Answer with a redirect.
    Redirect(Box<Redirect>),
    /// Answer at once.
    Direct(DirectResponse),
    /// It was refused, and nothing was there before it: an error is the answer, never a route after it.
    Refused(Refused),
}

/// Forwarding of a request.
#[derive(Clone, Debug)]
pub struct Forward {
    pub target: Target,
    /// Answer where the cluster does not exist.
    pub cluster_not_found_status: ::http::StatusCode,
    /// Change of the path.
    pub path_rewrite: Option<PathRewrite>,
    /// Change of the host.
    pub host_rewrite: Option<HostRewrite>,
    /// Tell upstream the host before the change in `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    /// The whole answer must have come by then; zero is without bound. Envoy's default is 15 s.
    pub timeout: Duration,
    /// Ends the stream when nothing flows for so long; `None` takes the listener's.
    pub idle_timeout: Option<Duration>,
    /// Most that a client's `grpc-timeout` may ask for; `None` ignores the header, zero leaves it without bound.
    pub grpc_timeout_max: Option<Duration>,
    /// Ends the stream after so long, whatever flows.
    pub stream_duration_max: Option<Duration>,
    pub retry: Option<Arc<RetryPolicy>>,
    /// Upgrades that this route turns on or off.
    pub upgrades: Vec<super::http::Upgrade>,
}

/// The cluster of a request.
#[derive(Clone, Debug)]
pub enum Target {
    Cluster(Arc<str>),
    /// The one that a request header names.
    Header(::http::HeaderName),
    /// One of several by weight.
    Weighted(Vec<WeightedCluster>),
}

/// One of several clusters.
#[derive(Clone, Debug)]
pub struct WeightedCluster {
    /// Cluster and weight.
    pub target: WeightedTarget,
    /// Header changes of requests that go there.
    pub headers: HeaderMutations,
    /// Change of the host.
    pub host_rewrite: Option<Arc<str>>,
    /// What filters are told of requests that go there.
    pub filters: Vec<Override>,
}

/// Change of a path.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// Replace the matched prefix (or the whole exact path).
    Prefix(Arc<str>),
    /// Replace every match of the expression; the substitution uses RE2's `\1`, held here as the regex crate's form.
    Regex {
        /// What to replace.
        pattern: Regex,
        /// By what, with `${1}`.
        substitution: Arc<str>,
    },
    /// Replace the path whole, keeping the query (`path_rewrite` as a literal).
    Full(Arc<str>),
}

/// Change of a host.
#[derive(Clone, Debug)]
pub enum HostRewrite {
    /// A fixed host.
    Literal(Arc<str>),
    /// The host name of the chosen endpoint (`auto_host_rewrite`, DNS clusters).
    Endpoint,
    /// The value of a request header.
    Header(::http::HeaderName),
    /// From the path by an expression.
    PathRegex {
        /// What to replace.
        pattern: Regex,
        substitution: Arc<str>,
    },
}

#[derive(Clone, Debug)]
pub struct Redirect {
    pub scheme: Option<Arc<str>>,
    /// Scheme becomes https.
    pub https: bool,
    pub host: Option<Arc<str>>,
    pub port: Option<u16>,
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: ::http::StatusCode,
    /// Cut the query off.
    pub strip_query: bool,
}

/// An answer without an upstream.
#[derive(Clone, Debug)]
pub struct DirectResponse {
    pub status: ::http::StatusCode,
    /// Body; empty where unset.
    pub body: Bytes,
}

/// Header changes of one level.
#[derive(Clone, Debug, Default)]
pub struct HeaderMutations {
    /// Added to or set in requests, in order.
    pub request_add: Vec<HeaderAdd>,
    /// Removed from requests.
    pub request_remove: Vec<::http::HeaderName>,
    /// Added to or set in responses, in order.
    pub response_add: Vec<HeaderAdd>,
    /// Removed from responses.
    pub response_remove: Vec<::http::HeaderName>,
}

/// A header to add or set. `host` and `:authority`, `:path`, `:method` may be changed in requests as Envoy allows.
#[derive(Clone, Debug)]
pub struct HeaderAdd {
    pub name: super::matcher::HeaderKey,
    /// Value, with format operators (`%DOWNSTREAM_REMOTE_ADDRESS%`).
    pub value: Format,
    /// What happens to one that is there.
    pub action: AppendAction,
    /// Keep the header when its value comes out empty.
    pub keep_empty_value: bool,
}

/// Envoy `HeaderValueOption.HeaderAppendAction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendAction {
    /// Append, or add where there is none.
    #[default]
    AppendOrAdd,
    /// Add only where there is none.
    AddIfAbsent,
    /// Overwrite, or add where there is none.
    OverwriteOrAdd,
    /// Overwrite only where there is one.
    OverwriteIfExists,
}

/// Retries (Envoy `config.route.v3.RetryPolicy`).
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Which outcomes are tried again.
    pub on: RetryOn,
    /// Retries after the first attempt.
    pub retries_max: u32,
    /// Bound on one attempt; `None` takes the route's timeout, zero is without bound.
    pub per_try_timeout: Option<Duration>,
    /// Ends an attempt when nothing flows for so long.
    pub per_try_idle_timeout: Option<Duration>,
    /// Statuses for `retriable-status-codes`.
    pub status_codes: Vec<::http::StatusCode>,
    /// Response headers for `retriable-headers`.
    pub response_headers: Vec<HeaderMatcher>,
    /// Only requests with one of these headers are tried again; empty asks for none.
    pub request_headers: Vec<HeaderMatcher>,
    /// Choose another endpoint than the ones that failed (`previous_hosts`).
    pub avoid_previous_hosts: bool,
    /// How often another endpoint is looked for.
    pub host_selection_attempts_max: u32,
    /// First back-off; later ones double, with full jitter. Envoy's default is 25 ms.
    pub backoff_base: Duration,
    /// Longest back-off. Envoy's default is ten times the first.
    pub backoff_max: Duration,
}

/// The retry-on conditions, Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on` in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// `5xx`: any 5xx, or no answer at all.
    pub server_error: bool,
    /// `gateway-error`: 502, 503, 504.
    pub gateway_error: bool,
    /// `reset`: no answer at all.
    pub reset: bool,
    /// `reset-before-request`: reset before any of the request was sent.
    pub reset_before_request: bool,
    /// `connect-failure`.
    pub connect_failure: bool,
    /// `envoy-ratelimited`.
    pub envoy_ratelimited: bool,
    /// `retriable-4xx`: 409.
    pub retriable_4xx: bool,
    /// `refused-stream`.
    pub refused_stream: bool,
    /// `retriable-status-codes`.
    pub retriable_status_codes: bool,
    /// `retriable-headers`.
    pub retriable_headers: bool,
    /// `http3-post-connect-failure`.
    pub http3_post_connect_failure: bool,
    /// gRPC `cancelled`.
    pub grpc_cancelled: bool,
    /// gRPC `deadline-exceeded`.
    pub grpc_deadline_exceeded: bool,
    /// gRPC `internal`.
    pub grpc_internal: bool,
    /// gRPC `resource-exhausted`.
    pub grpc_resource_exhausted: bool,
    /// gRPC `unavailable`.
    pub grpc_unavailable: bool,
}

// === impl RouteAction ===

impl RouteAction {
    /// The clusters that requests are spread over by weight; empty where they are not.
    pub fn weighted(&self) -> &[WeightedCluster] {
        match self {
            Self::Forward(forward) => match &forward.target {
                Target::Weighted(clusters) => clusters,
                Target::Cluster(_) | Target::Header(_) => &[],
            },
            Self::Redirect(_) | Self::Direct(_) | Self::Refused(_) => &[],
        }
    }
}

// === impl Route ===

impl Route {
    /// The clusters that it names; one that a request's header names is not known.
    pub fn cluster_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, several) = match &self.action {
            RouteAction::Forward(forward) => match &forward.target {
                Target::Cluster(name) => (Some(name), &[][..]),
                Target::Weighted(clusters) => (None, clusters.as_slice()),
                Target::Header(_) => (None, &[][..]),
            },
            RouteAction::Redirect(_) | RouteAction::Direct(_) | RouteAction::Refused(_) => (None, &[][..]),
        };
        let several = several.iter().map(|weighted| &weighted.target.cluster);
        one.into_iter().chain(several)
    }
}

// === impl VirtualHost ===

impl VirtualHost {
    /// The clusters that its routes name; those that a request's header names are not known.
    pub fn cluster_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.iter().flat_map(Route::cluster_names)
    }
}
