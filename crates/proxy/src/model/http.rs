//! The HTTP connection manager of a filter chain and the protocol options of both sides.

use std::sync::Arc;
use std::time::Duration;

use super::access_log::{AccessLog, LogFilter};
use super::filters::ListedFilter;
use super::matcher::Fraction;
use super::route::{HeaderAdd, RouteConfig};

/// How connections of a chain are served as HTTP (Envoy `HttpConnectionManager`).
#[derive(Clone, Debug)]
pub struct HttpConnectionManager {
    /// Prefix of its statistics.
    pub stat_prefix: Arc<str>,
    pub codec: Codec,
    /// Where routes come from.
    pub routes: RouteSource,
    /// Filters before the router, in order.
    pub filters: Vec<ListedFilter>,
    /// Names of filters that nobody knows and that are marked optional: they are left out.
    pub left_out: Vec<Arc<str>>,
    pub access_logs: Vec<AccessLog>,
    /// Spans of requests.
    pub tracing: Option<Tracing>,
    /// Value of the `server` response header and what to do with one from upstream.
    pub server_header: ServerHeader,
    /// Closes a connection without requests for so long. Envoy's default is an hour; zero never does.
    pub idle_timeout: Duration,
    /// Ends a stream without activity for so long. Envoy's default is five minutes; zero never does.
    pub stream_idle_timeout: Duration,
    /// The whole request must have arrived by then; zero is without bound.
    pub request_timeout: Duration,
    /// The request headers must have arrived by then; zero is without bound.
    pub request_headers_timeout: Duration,
    /// How long a connection that ends still takes what its client sends, so that the client gets the answer. Envoy's default is a
    /// second; zero closes at once.
    pub delayed_close_timeout: Duration,
    /// `Expect: 100-continue` and the interim answer to it pass, instead of being the proxy's own matter.
    pub proxy_100_continue: bool,
    /// Time between the first drain notice and the end of a connection.
    pub drain_timeout: Duration,
    /// Ends a connection after so long.
    pub connection_duration_max: Option<Duration>,
    /// Ends a stream after so long.
    pub stream_duration_max: Option<Duration>,
    /// Requests served on one connection before it is drained; zero is without bound.
    pub requests_per_connection_max: u32,
    /// Most request headers; Envoy's default is 100.
    pub header_count_max: u32,
    /// Most bytes of request headers; Envoy's default is 60 KiB.
    pub header_bytes_max: usize,
    /// Append the peer's address to `x-forwarded-for` and trust it for the client address.
    pub use_remote_address: bool,
    /// Trusted hops in `x-forwarded-for`.
    pub trusted_hops: u32,
    /// Leave `x-forwarded-for` untouched.
    pub skip_xff_append: bool,
    /// Make `x-request-id` where it is missing.
    pub generate_request_id: bool,
    /// Keep a client's `x-request-id` at an edge.
    pub preserve_external_request_id: bool,
    /// Answer with the request id.
    pub always_set_request_id_in_response: bool,
    /// What to do with `x-forwarded-client-cert`.
    pub client_cert: ForwardClientCert,
    /// Add `via`.
    pub via: Option<Arc<str>>,
    /// Resolve dot segments and decode unreserved characters (RFC 3986, section 6).
    pub normalize_path: bool,
    /// Merge adjacent slashes.
    pub merge_slashes: bool,
    /// What an escaped slash in a path does.
    pub escaped_slashes: EscapedSlashes,
    /// Cut the port off the host before matching.
    pub strip_port: StripPort,
    /// Cut a trailing dot off the host.
    pub strip_trailing_host_dot: bool,
    /// Upgrades accepted, lower case (`websocket`, `connect`).
    pub upgrades: Vec<Upgrade>,
    /// HTTP/1 options.
    pub http1: Http1Options,
    /// HTTP/2 options.
    pub http2: Http2Options,
    /// `x-envoy-upstream-service-time` and the other response headers of the router are left out.
    pub suppress_envoy_headers: bool,
    /// Headers of the proxy's own answers; the first entry that fits an answer applies.
    pub local_replies: Vec<LocalReply>,
}

/// What of a connection manager decides whom and what policies and routes take a request for. It is taken also where something else of
/// the manager is refused.
#[derive(Clone, Debug)]
pub struct Edge {
    pub use_remote_address: bool,
    pub trusted_hops: u32,
    pub skip_xff_append: bool,
    pub client_cert: ForwardClientCert,
    pub normalize_path: bool,
    pub merge_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
    pub strip_port: StripPort,
    pub strip_trailing_host_dot: bool,
}

// === impl HttpConnectionManager ===

impl HttpConnectionManager {
    /// The same manager with another edge.
    pub fn with_edge(self, edge: &Edge) -> Self {
        Self {
            use_remote_address: edge.use_remote_address,
            trusted_hops: edge.trusted_hops,
            skip_xff_append: edge.skip_xff_append,
            client_cert: edge.client_cert.clone(),
            normalize_path: edge.normalize_path,
            merge_slashes: edge.merge_slashes,
            escaped_slashes: edge.escaped_slashes,
            strip_port: edge.strip_port,
            strip_trailing_host_dot: edge.strip_trailing_host_dot,
            ..self
        }
    }
}

/// What is added to some of the proxy's own answers
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/local_reply>).
#[derive(Clone, Debug)]
pub struct LocalReply {
    pub filter: LogFilter,
    /// What is added, in this order.
    pub headers: Vec<HeaderAdd>,
}

/// Codec of downstream connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// By ALPN, else by the first bytes.
    #[default]
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// Where a connection manager gets its routes.
#[derive(Clone, Debug)]
pub enum RouteSource {
    /// In the listener.
    Inline(Arc<RouteConfig>),
    /// A route configuration by name over RDS (ADS).
    Rds(Arc<str>),
}

/// Spans of requests (Envoy `HttpConnectionManager.Tracing` with an OpenTelemetry provider).
#[derive(Clone, Debug)]
pub struct Tracing {
    /// Cluster of the OTLP collector.
    pub collector_cluster: Arc<str>,
    /// Service name of the spans; the node's cluster where unset.
    pub service_name: Option<Arc<str>>,
    /// Share of requests without a parent that are sampled.
    pub random_sampling: Fraction,
    /// Upper bound on all sampling.
    pub overall_sampling: Fraction,
    /// Share sampled when a client asks by `x-client-trace-id`.
    pub client_sampling: Fraction,
    /// Tags with a fixed value or a header's.
    pub tags: Vec<CustomTag>,
    /// Longest path tag in bytes.
    pub path_tag_bytes_max: usize,
}

/// A tag added to every span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomTag {
    pub name: Arc<str>,
    /// Where the value comes from.
    pub value: TagValue,
}

/// Where a tag's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagValue {
    Literal(Arc<str>),
    /// A request header, with a default.
    RequestHeader {
        name: ::http::HeaderName,
        /// Value where it is missing; empty leaves the tag out.
        default: Arc<str>,
    },
    /// An environment variable of the proxy, read at start.
    Environment {
        name: Arc<str>,
        /// Value where it is missing.
        default: Arc<str>,
    },
}

/// The `server` response header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    /// Replace whatever upstream sent.
    Overwrite(Arc<str>),
    /// Set it where upstream sent none.
    AppendIfAbsent(Arc<str>),
    PassThrough,
}

/// `forward_client_cert_details` with the details to forward.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardClientCert {
    /// What happens to the header.
    pub mode: XfccMode,
    /// Add the certificate's subject.
    pub subject: bool,
    /// Add the whole certificate.
    pub cert: bool,
    /// Add the chain.
    pub chain: bool,
    /// Add DNS names.
    pub dns: bool,
    /// Add URI names.
    pub uri: bool,
}

/// What happens to `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XfccMode {
    #[default]
    Sanitize,
    /// Keep it when the connection is mutual TLS.
    ForwardOnly,
    /// Append when the connection is mutual TLS.
    AppendForward,
    /// Replace when the connection is mutual TLS.
    SanitizeSet,
    /// Keep it always.
    AlwaysForwardOnly,
}

/// What an escaped slash (`%2F`, `%5C`) in a path does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    #[default]
    Keep,
    /// Is answered with 400.
    Reject,
    /// Is decoded and the client redirected.
    UnescapeAndRedirect,
    /// Is decoded and the request forwarded.
    UnescapeAndForward,
}

/// Cutting the port off the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripPort {
    #[default]
    No,
    /// Where it is the listener's.
    Matching,
    Any,
}

/// An upgrade that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Lower-case protocol, or `connect`.
    pub protocol: Arc<str>,
    /// Whether it is on where the route says nothing.
    pub enabled: bool,
    /// The proxy itself agrees to a CONNECT and passes its bytes on as they are (`connect_config`).
    pub ends_here: bool,
}

/// HTTP/1 options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http1Options {
    /// Take absolute-form targets (`GET http://host/ HTTP/1.1`).
    pub allow_absolute_url: bool,
    /// Take HTTP/1.0 requests.
    pub accept_http10: bool,
    /// Take methods that Envoy's codec does not know.
    pub custom_methods: bool,
    /// Host of an HTTP/1.0 request without one.
    pub default_host_http10: Option<Arc<str>>,
    /// Keep header names as the peer wrote them.
    pub preserve_case: bool,
    pub enable_trailers: bool,
}

/// HTTP/2 options and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// Concurrent streams per connection.
    pub concurrent_streams_max: u32,
    /// Initial stream window in bytes.
    pub stream_window_bytes: u32,
    /// Initial connection window in bytes.
    pub connection_window_bytes: u32,
    /// Interval of keep-alive pings.
    pub keepalive_interval: Option<Duration>,
    /// Closes when a ping is not answered in so long.
    pub keepalive_timeout: Duration,
    /// Take extended CONNECT (RFC 8441).
    pub allow_connect: bool,
}

// === impl Http2Options ===

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            concurrent_streams_max: 1024,
            stream_window_bytes: 16 << 20,
            connection_window_bytes: 24 << 20,
            keepalive_interval: None,
            keepalive_timeout: Duration::from_secs(20),
            allow_connect: false,
        }
    }
}
