//! The cases, and the request that all of them send.

/// Connections of the load generators, and requests in flight.
pub(super) const CONNECTIONS: usize = 32;
/// Requests a second of the latency measurement, over all connections.
pub(super) const PACED_RPS: u32 = 2_000;
/// The host that is asked for.
pub(super) const HOST: &str = "callme.default.svc.cluster.local";
/// The path that is asked for; it is matched by the last of the routes.
pub(super) const PATH: &str = "/orders/42?expand=lines";
/// The user agent sent; one route looks at it and does not match.
pub(super) const USER_AGENT: &str = "bench/1.0";

/// One way through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// One hop, HTTP/1.1 on both sides.
    Http1,
    /// One hop, HTTP/2 without TLS from the client, HTTP/1.1 to the backend.
    Http2,
    /// Two hops of the same proxy with mutual TLS between them, HTTP/1.1 throughout.
    MtlsPair,
    /// One hop that forwards bytes.
    Tcp,
}

// === impl Case ===

impl Case {
    /// Every case, in the order of the report.
    pub(super) const ALL: [Self; 4] = [Self::Http1, Self::Http2, Self::MtlsPair, Self::Tcp];

    /// The name in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::MtlsPair => "mtls-pair",
            Self::Tcp => "tcp",
        }
    }
}
