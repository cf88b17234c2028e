//! A finished request as an OTLP span, with the attributes that Envoy gives its spans (Envoy, "Tracing"; names as its tracers write
//! them, so that existing dashboards and Kiali find them).

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, Version};
use weft_proto::cluster_name::ClusterName;
use weft_proto::otlp::any_value::Value;
use weft_proto::otlp::span::SpanKind;
use weft_proto::otlp::status::StatusCode;
use weft_proto::otlp::{AnyValue, KeyValue};
use weft_proto::otlp::{Span, Status};

use super::CLIENT_TRACE_ID;
use crate::model::http::{TagValue, Tracing};
use crate::model::listener::Direction;
use crate::stream_info::header_names;
use crate::stream_info::trace_context::TraceContext;
use crate::stream_info::{RequestFacts, StreamInfo};

/// Longest value of an attribute that the client writes, in bytes; paths have a limit of their own.
const VALUE_BYTES_MAX: usize = 1024;

/// Sampled, in the flags of a span (OTLP `SpanFlags`).
const FLAG_SAMPLED: u32 = 1;

/// The span of a request.
pub(super) fn of(info: &StreamInfo, context: &TraceContext, config: &Tracing, node_id: &str) -> Span {
    let outbound = info.connection.direction == Direction::Outbound;
    let started = info.start_time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let lasted = info
        .finished_at
        .map_or(Duration::ZERO, |end| end.saturating_duration_since(info.started_at));
    let mut attributes = vec![text("component", "proxy"), text("node_id", node_id)];
    if let Some(request) = &info.request {
        describe_request(request, info, config, &mut attributes);
    }
    describe_answer(info, &mut attributes);
    let failed = info.response_code == 0 || info.response_code >= if outbound { 400 } else { 500 };
    if info.response_code == 0 || info.response_code >= 500 {
        attributes.push(text("error", "true"));
    }
    Span {
        trace_id: context.trace_id.to_be_bytes().to_vec(),
        span_id: context.span_id.to_be_bytes().to_vec(),
        parent_span_id: context.parent_id.map_or_else(Vec::new, |id| id.to_be_bytes().to_vec()),
        trace_state: context.state.as_ref().map(lossy).unwrap_or_default(),
        flags: FLAG_SAMPLED,
        name: name(info, outbound),
        kind: if outbound { SpanKind::Client } else { SpanKind::Server } as i32,
        start_time_unix_nano: nanos(started),
        end_time_unix_nano: nanos(started + lasted),
        attributes,
        // A server's span of a 4xx is unset (OpenTelemetry semantic conventions, HTTP spans, "Status").
        status: failed.then(|| Status {
            code: StatusCode::Error as i32,
            message: String::new(),
        }),
        ..Span::default()
    }
}

/// Where the call goes: Istio's operation `host:port/*` of the service, else that of the virtual host. Without either, Envoy's name
/// of the direction.
fn name(info: &StreamInfo, outbound: bool) -> String {
    if let Some(cluster) = &info.upstream_cluster
        && let Some(service) = cluster.services.first()
        && let Some(port) = ClusterName::parse(&cluster.name).and_then(ClusterName::port)
    {
        return format!("{}:{port}/*", service.host);
    }
    match &info.virtual_host {
        Some(host) => format!("{host}/*"),
        None if outbound => "egress".to_owned(),
        None => "ingress".to_owned(),
    }
}

fn describe_request(request: &RequestFacts, info: &StreamInfo, config: &Tracing, out: &mut Vec<KeyValue>) {
    let header = |name: &HeaderName| {
        request
            .headers
            .iter()
            .find(|(kept, _)| kept == name)
            .map(|(_, value)| value)
    };
    if let Some(id) = header(&header_names::REQUEST_ID) {
        out.push(text("guid:x-request-id", lossy(id)));
    }
    if let Some(id) = header(&CLIENT_TRACE_ID) {
        out.push(text("guid:x-client-trace-id", lossy(id)));
    }
    let path = header(&header_names::ORIGINAL_PATH).map_or_else(|| request.path.as_str().to_owned(), lossy);
    let path = cut(&path, config.path_tag_bytes_max);
    let (scheme, host) = (request.scheme.as_str(), lossy(&request.authority));
    out.push(text("http.url", format!("{scheme}://{host}{path}")));
    out.push(text("http.method", request.method.as_str()));
    out.push(text("http.protocol", protocol(request.version)));
    out.push(text(
        "user_agent",
        header(&http::header::USER_AGENT).map(lossy).unwrap_or_default(),
    ));
    out.push(text("peer.address", info.remote_addr.ip().to_string()));
    out.push(text("request_size", info.bytes_received.to_string()));
    for tag in &config.tags {
        let value = match &tag.value {
            TagValue::Literal(value) => value.to_string(),
            TagValue::RequestHeader { name, default } => header(name).map_or_else(|| default.to_string(), lossy),
            TagValue::Environment { default, .. } => default.to_string(),
        };
        if !value.is_empty() {
            out.push(text(&tag.name, cut(&value, VALUE_BYTES_MAX)));
        }
    }
}

fn describe_answer(info: &StreamInfo, out: &mut Vec<KeyValue>) {
    out.push(text("http.status_code", info.response_code.to_string()));
    out.push(text("response_flags", info.flags.to_string()));
    out.push(text("response_size", info.bytes_sent.to_string()));
    if let Some(cluster) = &info.upstream_cluster {
        out.push(text("upstream_cluster", &*cluster.name));
        let shown = cluster.alt_stat_name.as_ref().unwrap_or(&cluster.name);
        out.push(text("upstream_cluster.name", &**shown));
    }
    if let Some(host) = &info.upstream_host {
        out.push(text("upstream_address", &**host));
    }
    if let Some(code) = info.grpc_status {
        out.push(text("grpc.status_code", code.to_string()));
    }
    if info.attempts > 1 {
        out.push(text("retry_count", (info.attempts - 1).to_string()));
    }
}

pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.into())),
        }),
    }
}

/// Text of a header that a stranger wrote.
fn lossy(value: &HeaderValue) -> String {
    let value = String::from_utf8_lossy(value.as_bytes());
    cut(&value, VALUE_BYTES_MAX).to_owned()
}

/// At most so many bytes, and whole characters.
fn cut(value: &str, bytes_max: usize) -> &str {
    &value[..value.floor_char_boundary(bytes_max)]
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
