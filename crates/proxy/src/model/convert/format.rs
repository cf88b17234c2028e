//! Parsing of Envoy's format strings, which access logs and header values share.
//!
//! The operators are those of <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>.

use std::sync::Arc;

use weft_proto::operators::OPERATORS;

use crate::model::access_log::{AddressPart, Format, FormatPart, Operator, TimeFormat};
use crate::model::matcher::HeaderKey;

/// Envoy's format where none is configured.
const ENVOY_DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// Why a format string cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::model) enum FormatError {
    /// A percent sign opens an operator that is not closed.
    #[error("operator at byte {0} is not closed, write %% for a percent sign")]
    Unclosed(usize),
    /// The operator is not one that the proxy has.
    #[error("operator %{name}% at byte {at} is not supported")]
    Unknown {
        name: String,
        /// Where it starts.
        at: usize,
    },
    /// Its argument is not usable.
    #[error("operator %{name}% at byte {at}: {reason}")]
    Argument {
        name: String,
        /// Where it starts.
        at: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Parses a format string. With `omit_empty` an operator without a value prints nothing instead of `-`.
pub(in crate::model) fn parse(source: &str, omit_empty: bool) -> Result<Format, FormatError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = source;
    while let Some(start) = rest.find('%') {
        literal.push_str(&rest[..start]);
        let at = source.len() - rest.len() + start;
        let inside = &rest[start + 1..];
        let end = inside.find('%').ok_or(FormatError::Unclosed(at))?;
        if end == 0 {
            literal.push('%');
        } else {
            if !literal.is_empty() {
                parts.push(FormatPart::Literal(Arc::from(std::mem::take(&mut literal))));
            }
            // A time format contains percent signs itself: the operator ends behind its parenthesis then.
            let end = match inside.find('(') {
                Some(open) if open < end => behind_parenthesis(inside).unwrap_or(end),
                _ => end,
            };
            parts.push(operator_part(&inside[..end], at)?);
            rest = &inside[end + 1..];
            continue;
        }
        rest = &inside[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(FormatPart::Literal(Arc::from(literal)));
    }
    Ok(Format { parts, omit_empty })
}

/// Where an operator ends whose parenthesis is closed: at `)%`, or at `):` with a length and `%`.
fn behind_parenthesis(inside: &str) -> Option<usize> {
    inside.match_indices(')').find_map(|(close, _)| {
        let rest = &inside[close + 1..];
        let length = rest.strip_prefix(':').unwrap_or(rest);
        let digits = length.len() - length.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).len();
        let end = close + 1 + (rest.len() - length.len()) + digits;
        let ends = (digits == 0 || length.len() < rest.len()) && inside[end..].starts_with('%');
        ends.then_some(end)
    })
}

/// The format of a file log that names none.
pub(in crate::model) fn envoy_default() -> Format {
    parse(ENVOY_DEFAULT, false).unwrap_or_default()
}

/// `NAME`, `NAME(argument)`, either with `:length`.
fn operator_part(text: &str, at: usize) -> Result<FormatPart, FormatError> {
    let argument_error = |reason| FormatError::Argument {
        name: text.to_owned(),
        at,
        reason,
    };
    let (name, argument, tail) = match text.find('(') {
        None => match text.split_once(':') {
            Some((name, length)) => (name, None, Some(length)),
            None => (text, None, None),
        },
        Some(open) => {
            let close = text
                .rfind(')')
                .ok_or_else(|| argument_error("the parenthesis is not closed"))?;
            let tail = &text[close + 1..];
            let tail = match tail.strip_prefix(':') {
                Some(length) => Some(length),
                None if tail.is_empty() => None,
                None => return Err(argument_error("text follows the parenthesis")),
            };
            (&text[..open], Some(&text[open + 1..close]), tail)
        }
    };
    let length_max = match tail {
        None => None,
        Some(digits) => Some(
            digits
                .parse()
                .map_err(|_| argument_error("the length is not a number"))?,
        ),
    };
    // What is not among the words that the control plane knows would be refused before it came here.
    let known = OPERATORS.iter().any(|(word, _)| *word == name);
    let operator = match argument.filter(|_| known) {
        None => plain(name).filter(|_| known),
        Some(argument) => with_argument(name, argument).map_err(argument_error)?,
    };
    let operator = operator.ok_or_else(|| FormatError::Unknown {
        name: text.to_owned(),
        at,
    })?;
    Ok(FormatPart::Operator { operator, length_max })
}

fn plain(name: &str) -> Option<Operator> {
    use AddressPart::{Full, Port, WithoutPort};
    Some(match name {
        "START_TIME" => Operator::StartTime(None),
        "BYTES_RECEIVED" => Operator::BytesReceived,
        "BYTES_SENT" => Operator::BytesSent,
        "PROTOCOL" => Operator::Protocol,
        "UPSTREAM_PROTOCOL" => Operator::UpstreamProtocol,
        "RESPONSE_CODE" => Operator::ResponseCode,
        "RESPONSE_CODE_DETAILS" => Operator::ResponseCodeDetails,
        "CONNECTION_TERMINATION_DETAILS" => Operator::ConnectionTerminationDetails,
        "RESPONSE_FLAGS" => Operator::ResponseFlags,
        "RESPONSE_FLAGS_LONG" => Operator::ResponseFlagsLong,
        "DURATION" => Operator::Duration,
        "REQUEST_DURATION" => Operator::RequestDuration,
        "RESPONSE_DURATION" => Operator::ResponseDuration,
        "RESPONSE_TX_DURATION" => Operator::ResponseTxDuration,
        "GRPC_STATUS" => Operator::GrpcStatus { number: false },
        "GRPC_STATUS_NUMBER" => Operator::GrpcStatus { number: true },
        "UPSTREAM_HOST" => Operator::UpstreamHost,
        "UPSTREAM_CLUSTER" => Operator::UpstreamCluster { raw: false },
        "UPSTREAM_CLUSTER_RAW" => Operator::UpstreamCluster { raw: true },
        "UPSTREAM_LOCAL_ADDRESS" => Operator::UpstreamLocalAddress,
        "UPSTREAM_REMOTE_ADDRESS" => Operator::UpstreamRemoteAddress,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Operator::UpstreamTransportFailureReason,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Operator::UpstreamAttemptCount,
        "DOWNSTREAM_LOCAL_ADDRESS" => Operator::DownstreamLocalAddress(Full),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Operator::DownstreamLocalAddress(WithoutPort),
        "DOWNSTREAM_LOCAL_PORT" => Operator::DownstreamLocalAddress(Port),
        "DOWNSTREAM_REMOTE_ADDRESS" => Operator::DownstreamRemoteAddress(Full),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Operator::DownstreamRemoteAddress(WithoutPort),
        "DOWNSTREAM_REMOTE_PORT" => Operator::DownstreamRemoteAddress(Port),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Operator::DownstreamDirectRemoteAddress(Full),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Operator::DownstreamDirectRemoteAddress(WithoutPort),
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => Operator::DownstreamDirectRemoteAddress(Port),
        "REQUESTED_SERVER_NAME" => Operator::RequestedServerName,
        "DOWNSTREAM_PEER_URI_SAN" => Operator::DownstreamPeerUriSan,
        "DOWNSTREAM_LOCAL_URI_SAN" => Operator::DownstreamLocalUriSan,
        "DOWNSTREAM_PEER_SUBJECT" => Operator::DownstreamPeerSubject,
        "DOWNSTREAM_TLS_VERSION" => Operator::DownstreamTlsVersion,
        "DOWNSTREAM_TLS_CIPHER" => Operator::DownstreamTlsCipher,
        "ROUTE_NAME" => Operator::RouteName,
        "VHOST_NAME" => Operator::VirtualHostName,
        "HOSTNAME" => Operator::Hostname,
        "CONNECTION_ID" => Operator::ConnectionId,
        "STREAM_ID" => Operator::StreamId,
        "TRACE_ID" => Operator::TraceId,
        "FILTER_CHAIN_NAME" => Operator::FilterChainName,
        "PEER_PRINCIPAL" => Operator::PeerPrincipal,
        _ => return None,
    })
}

fn with_argument(name: &str, argument: &str) -> Result<Option<Operator>, &'static str> {
    Ok(Some(match name {
        "START_TIME" => Operator::StartTime(Some(TimeFormat {
            source: Arc::from(argument),
        })),
        "REQ" => {
            let (first, second) = alternatives(argument)?;
            Operator::RequestHeader(first, second)
        }
        "RESP" => {
            let (first, second) = alternatives(argument)?;
            Operator::ResponseHeader(first, second)
        }
        "TRAILER" => {
            let (first, second) = alternatives(argument)?;
            Operator::ResponseTrailer(first, second)
        }
        "GRPC_STATUS" => match argument {
            "CAMEL_STRING" => Operator::GrpcStatus { number: false },
            "NUMBER" => Operator::GrpcStatus { number: true },
            _ => return Err("only CAMEL_STRING and NUMBER are supported"),
        },
        "ENVIRONMENT" => Operator::Environment(Arc::from(argument)),
        "METADATA" if argument == "ROUTE:weft:object" => Operator::RouteOrigin,
        "DYNAMIC_METADATA" => {
            let mut keys = argument.split(':').map(Arc::from);
            let namespace: Arc<str> = keys
                .next()
                .filter(|name: &Arc<str>| !name.is_empty())
                .ok_or("it needs a namespace")?;
            Operator::DynamicMetadata {
                namespace,
                path: keys.collect(),
            }
        }
        "FILTER_STATE" => {
            let (key, form) = argument.split_once(':').unwrap_or((argument, "TYPED"));
            let typed = match form {
                _ if key.is_empty() => return Err("it needs a key"),
                "TYPED" => true,
                "PLAIN" => false,
                _ => return Err("only PLAIN and TYPED are supported"),
            };
            Operator::FilterState {
                key: Arc::from(key),
                typed,
            }
        }
        _ => return Ok(None),
    }))
}

fn alternatives(argument: &str) -> Result<(HeaderKey, Option<HeaderKey>), &'static str> {
    match argument.split_once('?') {
        None => Ok((header(argument)?, None)),
        Some((first, second)) => Ok((header(first)?, Some(header(second)?))),
    }
}

fn header(name: &str) -> Result<HeaderKey, &'static str> {
    Ok(match name.to_ascii_lowercase().as_str() {
        ":method" => HeaderKey::Method,
        ":path" => HeaderKey::Path,
        ":authority" | "host" => HeaderKey::Authority,
        ":scheme" => HeaderKey::Scheme,
        ":status" => HeaderKey::Status,
        name => HeaderKey::Name(name.parse().map_err(|_| "that is not a header name")?),
    })
}

#[cfg(test)]
mod tests {
    use weft_proto::operators::Argument;

    use super::*;

    fn shape(source: &str) -> Result<String, String> {
        let format = parse(source, false).map_err(|error| error.to_string())?;
        let part = |part: &FormatPart| match part {
            FormatPart::Literal(text) => format!("{text:?}"),
            FormatPart::Operator { operator, length_max } => match length_max {
                Some(length) => format!("{operator:?}:{length}"),
                None => format!("{operator:?}"),
            },
        };
        Ok(format.parts.iter().map(part).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn operators_parse() {
        for (source, expected) in [
            ("", ""),
            ("a%%b", "\"a%b\""),
            ("%PROTOCOL% x", "Protocol \" x\""),
            ("%REQ(X-A?:PATH):10%", "RequestHeader(Name(\"x-a\"), Some(Path)):10"),
            (
                "%START_TIME(%Y/%m %3f)%.",
                "StartTime(Some(TimeFormat { source: \"%Y/%m %3f\" })) \".\"",
            ),
            ("%RESP(:status)%", "ResponseHeader(Status, None)"),
            (
                "%REQ(X-A):10% %REQ(X-B)%",
                "RequestHeader(Name(\"x-a\"), None):10 \" \" RequestHeader(Name(\"x-b\"), None)",
            ),
            ("%GRPC_STATUS(NUMBER)%", "GrpcStatus { number: true }"),
            (
                "%DYNAMIC_METADATA(a.b:c:d):5%",
                "DynamicMetadata { namespace: \"a.b\", path: [\"c\", \"d\"] }:5",
            ),
            ("%FILTER_STATE(a.b)%", "FilterState { key: \"a.b\", typed: true }"),
            ("%FILTER_STATE(a:PLAIN)%", "FilterState { key: \"a\", typed: false }"),
        ] {
            assert_eq!(shape(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn errors_name_the_operator_and_its_place() {
        for (source, expected) in [
            (
                "ab%PROTOCOL",
                "operator at byte 2 is not closed, write %% for a percent sign",
            ),
            ("%NO_SUCH%", "operator %NO_SUCH% at byte 0 is not supported"),
            (
                "x%REQ(a b)%",
                "operator %REQ(a b)% at byte 1: that is not a header name",
            ),
            (
                "%FILTER_STATE(a:FIELD:b)%",
                "operator %FILTER_STATE(a:FIELD:b)% at byte 0: only PLAIN and TYPED are supported",
            ),
            (
                "%REQ(a):x%",
                "operator %REQ(a):x% at byte 0: the length is not a number",
            ),
        ] {
            assert_eq!(shape(source).unwrap_err(), expected, "{source}");
        }
    }

    /// The words that the control plane holds formats against are those that parse here.
    #[test]
    fn all_words_of_the_wire_are_operators() {
        for (name, arguments) in OPERATORS {
            for argument in *arguments {
                let text = match argument {
                    Argument::Absent => String::new(),
                    Argument::Text => "(x)".to_owned(),
                    Argument::Header => "(x-a?:PATH)".to_owned(),
                    Argument::Keys => "(a.b:c)".to_owned(),
                    Argument::Word(words) => format!("({})", words[words.len() - 1]),
                    Argument::Named(words) => format!("(a:{})", words[0]),
                };
                let source = format!("%{name}{text}%");
                assert!(parse(&source, false).is_ok(), "{source}");
            }
        }
    }

    #[test]
    fn the_default_format_parses() {
        assert!(parse(ENVOY_DEFAULT, false).is_ok());
    }
}
