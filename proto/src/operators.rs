//! Operators of Envoy's format strings that the proxy has: in access logs and in values of headers. Whoever writes a format for proxies has
//! to know them before it is sent, since a proxy refuses all that a format with another operator stands in.
//!
//! What they say is written at <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>.

/// What may stand in the parentheses of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// There are none.
    Absent,
    /// Any text, as in `START_TIME(%Y)`.
    Text,
    /// A header, or two of which the second counts where the first is absent, as in `REQ(X-A?:PATH)`.
    Header,
    /// A name, then keys, by colons, as in `DYNAMIC_METADATA(a.b:c)`.
    Keys,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A name, then perhaps a colon and one of these words, as in `FILTER_STATE(a:PLAIN)`.
    Named(&'static [&'static str]),
}

/// Most bytes of the compiled program of a regular expression that the proxy takes: expressions come from users.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Every operator with the arguments that it may have, ordered by name.
pub const OPERATORS: &[(&str, &[Argument])] = &[
    ("BYTES_RECEIVED", PLAIN),
    ("BYTES_SENT", PLAIN),
    ("CONNECTION_ID", PLAIN),
    ("CONNECTION_TERMINATION_DETAILS", PLAIN),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", PLAIN),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", PLAIN),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", PLAIN),
    ("DOWNSTREAM_LOCAL_ADDRESS", PLAIN),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", PLAIN),
    ("DOWNSTREAM_LOCAL_PORT", PLAIN),
    ("DOWNSTREAM_LOCAL_URI_SAN", PLAIN),
    ("DOWNSTREAM_PEER_SUBJECT", PLAIN),
    ("DOWNSTREAM_PEER_URI_SAN", PLAIN),
    ("DOWNSTREAM_REMOTE_ADDRESS", PLAIN),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", PLAIN),
    ("DOWNSTREAM_REMOTE_PORT", PLAIN),
    ("DOWNSTREAM_TLS_CIPHER", PLAIN),
    ("DOWNSTREAM_TLS_VERSION", PLAIN),
    ("DURATION", PLAIN),
    ("DYNAMIC_METADATA", &[Argument::Keys]),
    ("ENVIRONMENT", &[Argument::Text]),
    ("FILTER_CHAIN_NAME", PLAIN),
    ("FILTER_STATE", &[Argument::Named(&["PLAIN", "TYPED"])]),
    (
        "GRPC_STATUS",
        &[Argument::Absent, Argument::Word(&["CAMEL_STRING", "NUMBER"])],
    ),
    ("GRPC_STATUS_NUMBER", PLAIN),
    ("HOSTNAME", PLAIN),
    ("METADATA", &[Argument::Word(&["ROUTE:weft:object"])]),
    ("PEER_PRINCIPAL", PLAIN),
    ("PROTOCOL", PLAIN),
    ("REQ", &[Argument::Header]),
    ("REQUESTED_SERVER_NAME", PLAIN),
    ("REQUEST_DURATION", PLAIN),
    ("RESP", &[Argument::Header]),
    ("RESPONSE_CODE", PLAIN),
    ("RESPONSE_CODE_DETAILS", PLAIN),
    ("RESPONSE_DURATION", PLAIN),
    ("RESPONSE_FLAGS", PLAIN),
    ("RESPONSE_FLAGS_LONG", PLAIN),
    ("RESPONSE_TX_DURATION", PLAIN),
    ("ROUTE_NAME", PLAIN),
    ("START_TIME", &[Argument::Absent, Argument::Text]),
    ("STREAM_ID", PLAIN),
    ("TRACE_ID", PLAIN),
    ("TRAILER", &[Argument::Header]),
    ("UPSTREAM_CLUSTER", PLAIN),
    ("UPSTREAM_CLUSTER_RAW", PLAIN),
    ("UPSTREAM_HOST", PLAIN),
    ("UPSTREAM_LOCAL_ADDRESS", PLAIN),
    ("UPSTREAM_PROTOCOL", PLAIN),
    ("UPSTREAM_REMOTE_ADDRESS", PLAIN),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", PLAIN),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", PLAIN),
    ("VHOST_NAME", PLAIN),
];

const PLAIN: &[Argument] = &[Argument::Absent];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_in_order() {
        assert!(OPERATORS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
