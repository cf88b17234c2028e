//! Why a request did not get an upstream's answer, and what follows from it: one map from each reason to status, flag and details.

mod flags;

use std::fmt;

use http::StatusCode;

pub(crate) use self::flags::ResponseFlags;

/// A request that the proxy answers itself because something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyError {
    pub kind: ErrorKind,
    /// What the system or the peer said, for the log.
    pub reason: Option<Box<str>>,
}

/// What can fail on the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request breaks the protocol or a rule of normalisation.
    BadRequest(BadRequest),
    /// The client went away before the answer.
    ClientGone,
    /// The route's cluster is not known.
    ClusterNotFound(StatusCode),
    /// Connecting to the endpoint failed.
    ConnectFailed,
    /// Connecting took too long.
    ConnectTimeout,
    /// The connection or stream ended before the answer began.
    ConnectionTerminated,
    /// Half a head, and no more of it in time.
    HeadTimeout,
    /// The stream had no activity for too long.
    IdleTimeout,
    /// The same before the request's end.
    IdleRequest,
    /// A limit of the cluster on connections, pending or active requests.
    Overflow,
    /// One attempt was silent for too long.
    PerTryIdleTimeout,
    /// One attempt took too long.
    PerTryTimeout,
    /// The peer refused the stream (HTTP/2 REFUSED_STREAM).
    RefusedStream,
    /// The request took too long to arrive.
    RequestTimeout,
    /// No route matches.
    RouteNotFound,
    /// The route of the request was refused with a configuration, and there is none of before.
    RouteRefused,
    /// The peer reset the stream (HTTP/2 RST_STREAM).
    StreamReset,
    /// The stream lasted longer than allowed.
    StreamDurationExceeded,
    /// The same before the request's end.
    RequestDurationExceeded,
    /// TLS towards the endpoint failed.
    TlsFailed,
    /// The answer took too long.
    UpstreamTimeout,
    /// The answer breaks the protocol.
    UpstreamProtocol,
    /// The cluster has no endpoint to use.
    NoHealthyUpstream,
    /// The upgrade that the client asks for is not on.
    UpgradeRefused,
}

/// Rules that a request can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadRequest {
    /// No host, or more than one.
    Host,
    /// The path is malformed or climbs above the root.
    Path,
    /// An escaped slash where those are refused.
    EscapedSlash,
    /// Too many header bytes or fields.
    HeadersTooLarge,
    /// A header or message framing rule.
    Protocol,
    /// A version that is not served.
    Version,
    /// What is asked for is no path: `*`, or a query alone.
    NoPath,
    /// A QUERY that does not say what kind of content it has.
    QueryContent,
}

// === impl ProxyError ===

impl From<ErrorKind> for ProxyError {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, reason: None }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{}: {reason}", self.kind.details()),
            None => f.write_str(self.kind.details()),
        }
    }
}

impl std::error::Error for ProxyError {}

impl ProxyError {
    /// An error with what the system or peer said.
    pub fn because(kind: ErrorKind, reason: impl fmt::Display) -> Self {
        Self {
            kind,
            reason: Some(reason.to_string().into()),
        }
    }

    /// The body of the local answer; Envoy's texts, which people search for. `retried` tells whether this was a retry's failure.
    pub fn body(&self, retried: bool) -> String {
        let reset = |reason: &str| {
            let latest = if retried { "retried and the latest " } else { "" };
            format!("upstream connect error or disconnect/reset before headers. {latest}reset reason: {reason}")
        };
        match self.kind {
            // Why TLS failed is for the log: clients learn nothing of certificates behind the proxy.
            ErrorKind::ConnectFailed | ErrorKind::TlsFailed => reset("remote connection failure"),
            ErrorKind::ConnectTimeout => reset("connection timeout"),
            ErrorKind::ConnectionTerminated => reset("connection termination"),
            ErrorKind::StreamReset => reset("remote reset"),
            ErrorKind::RefusedStream => reset("remote refused stream reset"),
            ErrorKind::UpstreamProtocol => reset("protocol error"),
            ErrorKind::Overflow => reset("overflow"),
            ErrorKind::NoHealthyUpstream => "no healthy upstream".to_owned(),
            ErrorKind::UpstreamTimeout | ErrorKind::PerTryTimeout | ErrorKind::PerTryIdleTimeout => {
                "upstream request timeout".to_owned()
            }
            ErrorKind::IdleTimeout | ErrorKind::IdleRequest => "stream timeout".to_owned(),
            ErrorKind::RequestTimeout => "request timeout".to_owned(),
            ErrorKind::StreamDurationExceeded | ErrorKind::RequestDurationExceeded => {
                "downstream duration timeout".to_owned()
            }
            ErrorKind::BadRequest(_)
            | ErrorKind::ClientGone
            | ErrorKind::ClusterNotFound(_)
            | ErrorKind::HeadTimeout
            | ErrorKind::RouteNotFound
            | ErrorKind::UpgradeRefused => String::new(),
            ErrorKind::RouteRefused => "the route was refused with its configuration".to_owned(),
        }
    }
}

// === impl ErrorKind ===

impl ErrorKind {
    /// HTTP status of the local answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(BadRequest::HeadersTooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BadRequest(BadRequest::Version) => StatusCode::UPGRADE_REQUIRED,
            Self::BadRequest(BadRequest::NoPath) => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::ClusterNotFound(status) => status,
            Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::UpgradeRefused => StatusCode::FORBIDDEN,
            Self::HeadTimeout | Self::IdleRequest | Self::RequestDurationExceeded | Self::RequestTimeout => {
                StatusCode::REQUEST_TIMEOUT
            }
            Self::IdleTimeout
            | Self::StreamDurationExceeded
            | Self::UpstreamTimeout
            | Self::PerTryTimeout
            | Self::PerTryIdleTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::UpstreamProtocol => StatusCode::BAD_GATEWAY,
            Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::ConnectionTerminated
            | Self::NoHealthyUpstream
            | Self::Overflow
            | Self::RefusedStream
            | Self::RouteRefused
            | Self::StreamReset
            | Self::TlsFailed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// gRPC status of the local answer to a gRPC request
    /// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
    pub fn grpc_status(self) -> u32 {
        if matches!(self, Self::StreamDurationExceeded | Self::RequestDurationExceeded) {
            return 4;
        }
        grpc_status_of(self.status())
    }

    /// Response flag of the access log.
    pub fn flag(self) -> ResponseFlags {
        match self {
            Self::BadRequest(_) => ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
            Self::ClientGone => ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
            Self::ClusterNotFound(_) => ResponseFlags::NO_CLUSTER_FOUND,
            Self::ConnectFailed | Self::ConnectTimeout | Self::TlsFailed => ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
            Self::ConnectionTerminated => ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
            Self::IdleTimeout | Self::IdleRequest => ResponseFlags::STREAM_IDLE_TIMEOUT,
            Self::NoHealthyUpstream => ResponseFlags::NO_HEALTHY_UPSTREAM,
            Self::Overflow => ResponseFlags::UPSTREAM_OVERFLOW,
            Self::PerTryTimeout | Self::PerTryIdleTimeout | Self::UpstreamTimeout => {
                ResponseFlags::UPSTREAM_REQUEST_TIMEOUT
            }
            Self::RefusedStream | Self::StreamReset => ResponseFlags::UPSTREAM_REMOTE_RESET,
            Self::HeadTimeout | Self::RequestTimeout => ResponseFlags::default(),
            Self::RouteNotFound | Self::RouteRefused => ResponseFlags::NO_ROUTE_FOUND,
            Self::StreamDurationExceeded | Self::RequestDurationExceeded => ResponseFlags::default(),
            Self::UpgradeRefused => ResponseFlags::default(),
            Self::UpstreamProtocol => ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
        }
    }

    /// Response code details of the access log, Envoy's words.
    pub fn details(self) -> &'static str {
        match self {
            Self::BadRequest(BadRequest::Host) => "missing_host_header",
            Self::BadRequest(BadRequest::Path) => "path_normalization_failed",
            Self::BadRequest(BadRequest::EscapedSlash) => "path_normalization_failed",
            Self::BadRequest(BadRequest::HeadersTooLarge) => "request_headers_too_large",
            Self::BadRequest(BadRequest::Protocol) => "http1.codec_error",
            Self::BadRequest(BadRequest::Version) => "low_version",
            Self::BadRequest(BadRequest::NoPath) => "absolute_path_rejected",
            Self::BadRequest(BadRequest::QueryContent) => "query_missing_content_type",
            Self::ClientGone => "downstream_remote_disconnect",
            Self::ClusterNotFound(_) => "cluster_not_found",
            Self::ConnectFailed => "upstream_reset_before_response_started{remote_connection_failure}",
            Self::ConnectTimeout => "upstream_reset_before_response_started{connection_timeout}",
            Self::ConnectionTerminated => "upstream_reset_before_response_started{connection_termination}",
            Self::HeadTimeout => "request_header_timeout",
            Self::IdleTimeout | Self::IdleRequest => "stream_idle_timeout",
            Self::NoHealthyUpstream => "no_healthy_upstream",
            Self::Overflow => "upstream_reset_before_response_started{overflow}",
            Self::PerTryIdleTimeout => "upstream_per_try_idle_timeout",
            Self::PerTryTimeout => "upstream_per_try_timeout",
            Self::RefusedStream => "upstream_reset_before_response_started{remote_refused_stream_reset}",
            Self::RequestTimeout => "request_overall_timeout",
            Self::RouteNotFound => "route_not_found",
            Self::RouteRefused => "route_refused",
            Self::StreamDurationExceeded | Self::RequestDurationExceeded => "max_duration_timeout",
            Self::StreamReset => "upstream_reset_before_response_started{remote_reset}",
            Self::TlsFailed => "upstream_reset_before_response_started{remote_connection_failure}",
            Self::UpgradeRefused => "upgrade_failed",
            Self::UpstreamProtocol => "upstream_reset_before_response_started{protocol_error}",
            Self::UpstreamTimeout => "response_timeout",
        }
    }
}

/// The HTTP status that stands for a gRPC status, where the health of an endpoint is judged (Envoy, `grpcToHttpStatus`).
pub(crate) fn status_of_grpc(status: u32) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// The gRPC status that stands for an HTTP status.
pub(crate) fn grpc_status_of(status: StatusCode) -> u32 {
    match status.as_u16() {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
