//! Access logs and the format language that they share with header values.

use std::path::PathBuf;
use std::sync::Arc;

use super::matcher::{Fraction, HeaderKey, HeaderMatcher};

/// One access log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Which requests; `None` is all.
    pub filter: Option<LogFilter>,
    /// Where to and how.
    pub sink: LogSink,
}

/// Where a log goes.
#[derive(Clone, Debug)]
pub enum LogSink {
    /// A file (`/dev/stdout` and `/dev/stderr` included), one line per request.
    File { path: PathBuf, format: LogFormat },
    /// Standard output or error.
    Stream {
        /// To standard error instead of output.
        stderr: bool,
        format: LogFormat,
    },
    /// Envoy's access-log service.
    Grpc {
        /// Cluster of the service.
        cluster: Arc<str>,
        /// Name of the log.
        log_name: Arc<str>,
        /// Entries are TCP (connection) entries.
        tcp: bool,
        /// Request headers to add.
        request_headers: Vec<::http::HeaderName>,
        /// Response headers to add.
        response_headers: Vec<::http::HeaderName>,
        /// Trailers to add.
        response_trailers: Vec<::http::HeaderName>,
    },
}

/// The line of a file log.
#[derive(Clone, Debug)]
pub enum LogFormat {
    /// Text; ends with a newline where the configuration says so.
    Text(Format),
    /// JSON, one object per line, keys in the order given.
    Json(JsonValue),
}

/// A JSON template.
#[derive(Clone, Debug)]
pub enum JsonValue {
    /// An object; keys in order.
    Object(Vec<(Arc<str>, Self)>),
    List(Vec<Self>),
    /// A string with operators; a single operator of a number stays a number.
    Text(Format),
    Number(f64),
    /// A truth value.
    Bool(bool),
    Null,
}

/// A parsed format string: literal text and operators.
#[derive(Clone, Debug, Default)]
pub struct Format {
    /// Parts in order.
    pub parts: Vec<FormatPart>,
    /// An operator without a value prints nothing instead of `-`.
    pub omit_empty: bool,
}

/// A part of a format string.
#[derive(Clone, Debug)]
pub enum FormatPart {
    /// Text as it is.
    Literal(Arc<str>),
    /// `%OPERATOR%`, with the bound `:Z` on its length.
    Operator {
        operator: Operator,
        /// Longest value in bytes.
        length_max: Option<usize>,
    },
}

/// Operators of Envoy's access-log format
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>).
#[derive(Clone, Debug)]
pub enum Operator {
    /// `%START_TIME%` with its optional strftime-like format.
    StartTime(Option<TimeFormat>),
    /// `%BYTES_RECEIVED%`.
    BytesReceived,
    /// `%BYTES_SENT%`.
    BytesSent,
    /// `%PROTOCOL%`.
    Protocol,
    /// `%UPSTREAM_PROTOCOL%`.
    UpstreamProtocol,
    /// `%RESPONSE_CODE%`.
    ResponseCode,
    /// `%RESPONSE_CODE_DETAILS%`.
    ResponseCodeDetails,
    /// `%CONNECTION_TERMINATION_DETAILS%`.
    ConnectionTerminationDetails,
    /// `%RESPONSE_FLAGS%`.
    ResponseFlags,
    /// `%RESPONSE_FLAGS_LONG%`.
    ResponseFlagsLong,
    /// `%DURATION%`, in milliseconds.
    Duration,
    /// `%REQUEST_DURATION%`, to the last byte of the request.
    RequestDuration,
    /// `%RESPONSE_DURATION%`, to the first byte of the answer.
    ResponseDuration,
    /// `%RESPONSE_TX_DURATION%`, from its first to its last byte.
    ResponseTxDuration,
    /// `%REQ(X?Y)%`.
    RequestHeader(HeaderKey, Option<HeaderKey>),
    /// `%RESP(X?Y)%`.
    ResponseHeader(HeaderKey, Option<HeaderKey>),
    /// `%TRAILER(X?Y)%`.
    ResponseTrailer(HeaderKey, Option<HeaderKey>),
    /// `%GRPC_STATUS%` and `%GRPC_STATUS_NUMBER%` (true).
    GrpcStatus {
        /// As a number.
        number: bool,
    },
    /// `%UPSTREAM_HOST%`.
    UpstreamHost,
    /// `%UPSTREAM_CLUSTER%` (alternative name) and `%UPSTREAM_CLUSTER_RAW%` (true).
    UpstreamCluster {
        /// The name as configured.
        raw: bool,
    },
    /// `%UPSTREAM_LOCAL_ADDRESS%`.
    UpstreamLocalAddress,
    /// `%UPSTREAM_REMOTE_ADDRESS%`.
    UpstreamRemoteAddress,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    UpstreamTransportFailureReason,
    /// `%UPSTREAM_REQUEST_ATTEMPT_COUNT%`.
    UpstreamAttemptCount,
    /// `%DOWNSTREAM_LOCAL_ADDRESS%` and its variants.
    DownstreamLocalAddress(AddressPart),
    /// `%DOWNSTREAM_REMOTE_ADDRESS%` and its variants.
    DownstreamRemoteAddress(AddressPart),
    /// `%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%` and its variants.
    DownstreamDirectRemoteAddress(AddressPart),
    /// `%REQUESTED_SERVER_NAME%`.
    RequestedServerName,
    /// `%DOWNSTREAM_PEER_URI_SAN%`.
    DownstreamPeerUriSan,
    /// `%DOWNSTREAM_LOCAL_URI_SAN%`.
    DownstreamLocalUriSan,
    /// `%DOWNSTREAM_PEER_SUBJECT%`.
    DownstreamPeerSubject,
    /// `%DOWNSTREAM_TLS_VERSION%`.
    DownstreamTlsVersion,
    /// `%DOWNSTREAM_TLS_CIPHER%`.
    DownstreamTlsCipher,
    /// `%ROUTE_NAME%`.
    RouteName,
    /// `%VIRTUAL_CLUSTER_NAME%`'s neighbour: the matched virtual host (`%VHOST_NAME%`).
    VirtualHostName,
    /// `%HOSTNAME%` of the machine.
    Hostname,
    /// `%CONNECTION_ID%`.
    ConnectionId,
    /// `%STREAM_ID%`.
    StreamId,
    /// `%TRACE_ID%`.
    TraceId,
    /// `%FILTER_CHAIN_NAME%`.
    FilterChainName,
    /// `%ENVIRONMENT(X)%`, read at start.
    Environment(Arc<str>),
    /// `%METADATA(ROUTE:weft:object)%`: the rule that decided, as `object rule[n] file:line`.
    RouteOrigin,
    /// `%DYNAMIC_METADATA(NAMESPACE:KEY*)%`.
    DynamicMetadata {
        namespace: Arc<str>,
        /// Keys down to the value; none is all of the namespace.
        path: Vec<Arc<str>>,
    },
    /// `%FILTER_STATE(KEY:PLAIN|TYPED)%`.
    FilterState {
        key: Arc<str>,
        /// As JSON instead of text.
        typed: bool,
    },
    /// `%PROTOCOL%`-like text of the peer's principal (weft's own `%PEER_PRINCIPAL%`).
    PeerPrincipal,
    /// `%%`.
    Percent,
}

/// Which part of an address is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPart {
    /// Address and port.
    Full,
    /// Without the port.
    WithoutPort,
    /// The port alone.
    Port,
}

/// A parsed time format: strftime with Envoy's `%3f`, `%6f`, `%9f` and `%s` additions.
#[derive(Clone, Debug)]
pub struct TimeFormat {
    /// The text given.
    pub source: Arc<str>,
}

/// Which requests are logged (Envoy `AccessLogFilter`).
#[derive(Clone, Debug)]
pub enum LogFilter {
    /// The status compared.
    Status(Comparison),
    /// The duration in milliseconds compared.
    Duration(Comparison),
    /// No health checks.
    NotHealthCheck,
    /// A share of requests.
    Fraction(Fraction),
    /// A request header.
    Header(HeaderMatcher),
    /// One of these response flags; empty is any.
    ResponseFlags(Vec<Arc<str>>),
    /// One of these gRPC statuses.
    GrpcStatus {
        codes: Vec<i32>,
        /// All but these.
        exclude: bool,
    },
    /// All of them.
    And(Vec<Self>),
    /// Any of them.
    Or(Vec<Self>),
}

/// A comparison with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    pub op: ComparisonOp,
    pub value: u32,
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonOp {
    Eq,
    /// Greater or equal.
    Ge,
    /// Less or equal.
    Le,
    Ne,
}
