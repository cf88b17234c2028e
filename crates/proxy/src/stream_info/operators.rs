//! Writing a format's operators with the facts of a stream.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::LazyLock;

use http::{HeaderMap, StatusCode, Version};
use serde_json::Value;

use super::{Captured, StreamInfo, digits, millis, stream_id, time_format};
use crate::error::grpc_status_of;
use crate::model::access_log::{AddressPart, Format, FormatPart, Operator};
use crate::model::matcher::HeaderKey;
use crate::model::tls::TlsVersion;
use crate::stream_info::request::RequestHead;

/// Where a header operator looks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Headers<'a> {
    /// In the values kept for the log.
    Kept,
    /// In the live request and, once there is one, the live response.
    Live {
        request: &'a RequestHead,
        response: Option<&'a HeaderMap>,
    },
}

/// Writes a whole format. An operator without a value writes `-`, or nothing where the format omits empty values.
pub(crate) fn write_format(format: &Format, info: &StreamInfo, headers: Headers<'_>, out: &mut String) {
    for part in &format.parts {
        match part {
            FormatPart::Literal(text) => out.push_str(text),
            FormatPart::Operator { operator, length_max } => {
                let start = out.len();
                if !write_operator(operator, info, headers, out) && !format.omit_empty {
                    out.push('-');
                }
                if let Some(length) = length_max {
                    truncate(out, start, *length);
                }
            }
        }
    }
}

/// Writes one operator's value; false when it has none, and then nothing is written.
pub(crate) fn write_operator(operator: &Operator, info: &StreamInfo, headers: Headers<'_>, out: &mut String) -> bool {
    let connection = &info.connection;
    match operator {
        Operator::StartTime(format) => {
            time_format::write(format.as_ref(), info.start_time, out);
            true
        }
        Operator::BytesReceived => number(out, info.bytes_received),
        Operator::BytesSent => number(out, info.bytes_sent),
        Operator::Protocol => {
            let version = match headers {
                Headers::Live { request, .. } => Some(request.version),
                Headers::Kept => info.request.as_ref().map(|request| request.version).or(info.protocol),
            };
            version.is_some_and(|version| text(out, protocol(version)))
        }
        Operator::UpstreamProtocol => info
            .upstream_protocol
            .is_some_and(|version| text(out, protocol(version))),
        Operator::ResponseCode => number(out, info.response_code),
        Operator::ResponseCodeDetails => info
            .details
            .as_ref()
            .is_some_and(|details| safe(out, details.as_bytes())),
        Operator::ConnectionTerminationDetails => info
            .termination
            .as_ref()
            .is_some_and(|details| safe(out, details.as_bytes())),
        Operator::ResponseFlags => write!(out, "{}", info.flags).is_ok(),
        Operator::ResponseFlagsLong => list(out, info.flags.long_names()),
        Operator::Duration => info.millis_to(info.finished_at).is_some_and(|ms| number(out, ms)),
        Operator::RequestDuration => info.millis_to(info.request_done_at).is_some_and(|ms| number(out, ms)),
        Operator::ResponseDuration => info.millis_to(info.response_began_at).is_some_and(|ms| number(out, ms)),
        Operator::ResponseTxDuration => match (info.response_began_at, info.finished_at) {
            (Some(began), Some(ended)) => number(out, millis(ended.saturating_duration_since(began))),
            _ => false,
        },
        Operator::RequestHeader(first, second) => {
            either(first, second.as_ref(), |key| request_header(key, info, headers, out))
        }
        Operator::ResponseHeader(first, second) => {
            either(first, second.as_ref(), |key| response_header(key, info, headers, out))
        }
        Operator::ResponseTrailer(first, second) => {
            either(first, second.as_ref(), |key| kept(key, &info.response_trailers, out))
        }
        Operator::GrpcStatus { number: as_number } => {
            grpc_status(info).is_some_and(|status| match (*as_number, grpc_name(status)) {
                (false, Some(name)) => text(out, name),
                _ => number(out, status),
            })
        }
        Operator::UpstreamHost | Operator::UpstreamRemoteAddress => {
            info.upstream_host.as_ref().is_some_and(|host| text(out, host))
        }
        Operator::UpstreamCluster { raw } => info.upstream_cluster.as_ref().is_some_and(|cluster| {
            let alternative = cluster.alt_stat_name.as_ref().filter(|_| !raw);
            text(out, alternative.unwrap_or(&cluster.name))
        }),
        Operator::UpstreamLocalAddress => info.upstream_local.is_some_and(|address| socket(out, address)),
        Operator::UpstreamTransportFailureReason => info
            .transport_failure
            .as_ref()
            .is_some_and(|reason| safe(out, reason.replace(' ', "_").as_bytes())),
        Operator::UpstreamAttemptCount => number(out, info.attempts),
        Operator::DownstreamLocalAddress(_)
        | Operator::DownstreamRemoteAddress(_)
        | Operator::DownstreamDirectRemoteAddress(_)
        | Operator::RequestedServerName
        | Operator::DownstreamPeerUriSan
        | Operator::DownstreamLocalUriSan
        | Operator::DownstreamPeerSubject
        | Operator::DownstreamTlsVersion
        | Operator::DownstreamTlsCipher => write_downstream(operator, info, out),
        Operator::RouteName => info.route_name.as_ref().is_some_and(|name| text(out, name)),
        Operator::VirtualHostName => info.virtual_host.as_ref().is_some_and(|name| text(out, name)),
        Operator::Hostname => text(out, hostname()),
        Operator::ConnectionId => number(out, connection.id),
        Operator::StreamId => stream_id::write(info, headers, out),
        Operator::TraceId => (info.trace.as_ref()).is_some_and(|trace| text(out, &format!("{:032x}", trace.trace_id))),
        Operator::FilterChainName => text(out, &connection.filter_chain),
        Operator::Environment(name) => std::env::var(&**name).is_ok_and(|value| safe(out, value.as_bytes())),
        Operator::RouteOrigin => info
            .route_origin
            .as_ref()
            .is_some_and(|origin| write!(out, "{origin}").is_ok()),
        Operator::DynamicMetadata { .. } | Operator::FilterState { .. } => note(operator, info, out),
        Operator::PeerPrincipal => connection.peer_identity().is_some_and(|id| text(out, &id.principal())),
        Operator::Percent => text(out, "%"),
    }
}

/// Writes what is known of the client's connection.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the caller passes these operators and no others"
)]
fn write_downstream(operator: &Operator, info: &StreamInfo, out: &mut String) -> bool {
    let connection = &info.connection;
    match operator {
        Operator::DownstreamLocalAddress(part) => address(out, connection.local_addr, *part),
        Operator::DownstreamRemoteAddress(part) => address(out, info.remote_addr, *part),
        Operator::DownstreamDirectRemoteAddress(part) => address(out, connection.direct_remote_addr, *part),
        Operator::RequestedServerName => connection
            .server_name
            .as_ref()
            .is_some_and(|name| safe(out, name.as_bytes())),
        Operator::DownstreamPeerUriSan => {
            let peer = connection.tls.as_ref().and_then(|tls| tls.peer.as_ref());
            peer.is_some_and(|peer| list(out, peer.uri_sans.iter().map(|san| &**san)))
        }
        Operator::DownstreamLocalUriSan => {
            let san = connection.tls.as_ref().and_then(|tls| tls.local_uri_san.as_ref());
            san.is_some_and(|san| safe(out, san.as_bytes()))
        }
        Operator::DownstreamPeerSubject => {
            let peer = connection.tls.as_ref().and_then(|tls| tls.peer.as_ref());
            peer.is_some_and(|peer| safe(out, peer.subject.as_bytes()))
        }
        Operator::DownstreamTlsVersion => connection.tls.as_ref().is_some_and(|tls| {
            text(
                out,
                match tls.version {
                    TlsVersion::V1_2 => "TLSv1.2",
                    TlsVersion::V1_3 => "TLSv1.3",
                },
            )
        }),
        Operator::DownstreamTlsCipher => connection.tls.as_ref().is_some_and(|tls| text(out, tls.cipher)),
        other => {
            debug_assert!(false, "{other:?} is no fact of a connection");
            false
        }
    }
}

/// Tries the first key, then the second.
fn either(first: &HeaderKey, second: Option<&HeaderKey>, mut write: impl FnMut(&HeaderKey) -> bool) -> bool {
    write(first) || second.is_some_and(write)
}

fn request_header(key: &HeaderKey, info: &StreamInfo, headers: Headers<'_>, out: &mut String) -> bool {
    if let Headers::Live { request, .. } = headers {
        return request.value(key).is_some_and(|value| safe(out, value));
    }
    let Some(request) = &info.request else {
        return false;
    };
    match key {
        HeaderKey::Method => text(out, request.method.as_str()),
        // A CONNECT names no path.
        HeaderKey::Path if request.method == http::Method::CONNECT => false,
        HeaderKey::Path => safe(out, request.path.as_str().as_bytes()),
        HeaderKey::Authority => safe(out, request.authority.as_bytes()),
        HeaderKey::Scheme => text(out, request.scheme.as_str()),
        HeaderKey::Status => false,
        HeaderKey::Name(_) => kept(key, &request.headers, out),
    }
}

fn response_header(key: &HeaderKey, info: &StreamInfo, headers: Headers<'_>, out: &mut String) -> bool {
    match (key, headers) {
        (HeaderKey::Status, _) => info.response_code != 0 && number(out, info.response_code),
        (HeaderKey::Name(name), Headers::Live { response, .. }) => {
            let value = response.and_then(|response| response.get(name));
            value.is_some_and(|value| safe(out, value.as_bytes()))
        }
        (key, Headers::Kept) => kept(key, &info.response_headers, out),
        (HeaderKey::Method | HeaderKey::Path | HeaderKey::Authority | HeaderKey::Scheme, Headers::Live { .. }) => false,
    }
}

fn kept(key: &HeaderKey, values: &Captured, out: &mut String) -> bool {
    let HeaderKey::Name(wanted) = key else {
        return false;
    };
    let value = values.iter().find(|(name, _)| name == wanted);
    value.is_some_and(|(_, value)| safe(out, value.as_bytes()))
}

/// What a filter left, as JSON; `None` for any other operator as well.
pub(crate) fn noted(operator: &Operator, info: &StreamInfo) -> Option<Value> {
    let notes = info.notes.as_deref()?;
    if let Operator::DynamicMetadata { namespace, path } = operator {
        notes.find(namespace, path).filter(|value| !value.is_null()).cloned()
    } else if let Operator::FilterState { key, typed } = operator {
        let value = notes.state(key)?;
        Some(if *typed {
            value.typed()
        } else {
            Value::from(value.plain())
        })
    } else {
        None
    }
}

/// The same in text: JSON, but for a text of metadata and for filter state that is to be plain.
fn note(operator: &Operator, info: &StreamInfo, out: &mut String) -> bool {
    let is_json = matches!(operator, Operator::FilterState { typed: true, .. });
    match noted(operator, info) {
        None => false,
        // An empty text is a value, too.
        Some(value) => {
            match value.as_str().filter(|_| !is_json) {
                Some(text) => safe(out, text.as_bytes()),
                None => safe(out, value.to_string().as_bytes()),
            };
            true
        }
    }
}

fn text(out: &mut String, value: &str) -> bool {
    out.push_str(value);
    !value.is_empty()
}

fn number(out: &mut String, value: impl itoa::Integer) -> bool {
    digits::integer(out, value);
    true
}

fn socket(out: &mut String, address: SocketAddr) -> bool {
    digits::socket(out, address);
    true
}

fn list<'a>(out: &mut String, values: impl Iterator<Item = &'a str>) -> bool {
    let start = out.len();
    for value in values {
        if out.len() > start {
            out.push(',');
        }
        safe(out, value.as_bytes());
    }
    out.len() > start
}

/// Writes what a peer chose: a control character or a byte that is no text cannot forge or break a line.
pub(super) fn safe(out: &mut String, value: &[u8]) -> bool {
    match std::str::from_utf8(value) {
        Ok(value) if !value.bytes().any(|b| b < 0x20 || b == 0x7f) => out.push_str(value),
        Ok(_) | Err(_) => {
            for chunk in value.utf8_chunks() {
                for c in chunk.valid().chars() {
                    if c.is_control() {
                        let _ = write!(out, "\\x{:02x}", u32::from(c));
                    } else {
                        out.push(c);
                    }
                }
                for byte in chunk.invalid() {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
        }
    }
    !value.is_empty()
}

fn address(out: &mut String, address: SocketAddr, part: AddressPart) -> bool {
    match part {
        AddressPart::Full => socket(out, address),
        AddressPart::WithoutPort => {
            digits::ip(out, address.ip());
            true
        }
        AddressPart::Port => number(out, address.port()),
    }
}

/// The protocol's name as Envoy prints it.
pub(crate) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// The status of a gRPC request: its own, else the one that stands for that of HTTP.
fn grpc_status(info: &StreamInfo) -> Option<u32> {
    info.request.as_ref().filter(|request| request.grpc)?;
    let of_http = || match StatusCode::from_u16(info.response_code) {
        Ok(StatusCode::OK) | Err(_) => UNKNOWN,
        Ok(status) => grpc_status_of(status),
    };
    Some(info.grpc_status.unwrap_or_else(of_http))
}

/// gRPC status of an answer that has none (`UNKNOWN`).
const UNKNOWN: u32 = 2;

/// Names of gRPC statuses (<https://grpc.io/docs/guides/status-codes/>).
fn grpc_name(status: u32) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    NAMES.get(status as usize).copied()
}

fn hostname() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    &NAME
}

fn truncate(out: &mut String, start: usize, length: usize) {
    if out.len() - start <= length {
        return;
    }
    let mut end = start + length;
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
}
