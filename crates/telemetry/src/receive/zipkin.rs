//! Spans in Zipkin's JSON, version 2: `POST /api/v2/spans` (<https://zipkin.io/zipkin-api/#/default/post_spans>).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use serde::Deserialize;

use super::otlp_http::MESSAGE_BYTES_MAX;
use crate::span::{Span, SpanKind, TraceId, short};
use crate::traces::Traces;

/// Service of spans whose local endpoint names none.
const UNKNOWN_SERVICE: &str = "unknown";

/// A span as Zipkin writes it; what is not kept is passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ZipkinSpan {
    trace_id: String,
    id: String,
    parent_id: Option<String>,
    #[serde(default)]
    name: String,
    kind: Option<String>,
    /// Microseconds since 1970.
    timestamp: Option<u64>,
    /// Its length in microseconds.
    duration: Option<u64>,
    local_endpoint: Option<Endpoint>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    service_name: Option<String>,
}

pub fn router(traces: Arc<Mutex<Traces>>) -> Router {
    Router::new()
        .route("/api/v2/spans", post(take))
        .layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX))
        .with_state(traces)
}

async fn take(State(traces): State<Arc<Mutex<Traces>>>, body: Bytes) -> Response {
    match read(&body) {
        Ok(spans) => {
            let mut traces = traces.lock();
            spans.into_iter().for_each(|span| traces.add(span));
            StatusCode::ACCEPTED.into_response()
        }
        Err(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    }
}

/// The spans of a message; all or none. The error says which span is none, and why.
pub fn read(body: &[u8]) -> Result<Vec<Span>, String> {
    let spans: Vec<ZipkinSpan> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let converted = spans.into_iter().enumerate();
    converted
        .map(|(index, span)| convert(span).map_err(|reason| format!("span {index}: {reason}")))
        .collect()
}

fn convert(source: ZipkinSpan) -> Result<Span, String> {
    let trace = TraceId::parse(&source.trace_id);
    let trace = trace.ok_or_else(|| format!("traceId {:?} is not 16 or 32 hexadecimal digits", source.trace_id))?;
    let parent = source
        .parent_id
        .as_deref()
        .map(|id| span_id("parentId", id))
        .transpose()?;
    let service = source.local_endpoint.and_then(|endpoint| endpoint.service_name);
    let kind = match source.kind.as_deref() {
        Some("SERVER") => SpanKind::Server,
        Some("CLIENT") => SpanKind::Client,
        Some("PRODUCER") => SpanKind::Producer,
        Some("CONSUMER") => SpanKind::Consumer,
        _ => SpanKind::Internal,
    };
    let mut span = Span {
        trace,
        id: span_id("id", &source.id)?,
        parent,
        service: Arc::from(short(service.as_deref().unwrap_or(UNKNOWN_SERVICE))),
        name: short(&source.name),
        kind,
        start_ns: source.timestamp.unwrap_or(0).saturating_mul(1000),
        duration_ns: source.duration.unwrap_or(0).saturating_mul(1000),
        failed: source.tags.contains_key("error"),
        attributes: Vec::new(),
    };
    for (key, value) in &source.tags {
        span.add(key, value);
    }
    Ok(span)
}

fn span_id(field: &str, text: &str) -> Result<u64, String> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u64::from_str_radix(text, 16).ok().filter(|id| digits && *id != 0);
    id.ok_or_else(|| format!("{field} {text:?} is not 16 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Result<&str, &str>) {
        let shown = read(body.as_bytes()).map(|spans| {
            let show = |span: &Span| {
                format!(
                    "{} {} {} {}",
                    span.service,
                    span.name,
                    span.kind.as_str(),
                    span.duration_ns
                )
            };
            spans.iter().map(show).collect::<Vec<_>>().join(", ")
        });
        match (&shown, expected) {
            (Ok(shown), Ok(expected)) => assert_eq!(shown, expected, "{body}"),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{body}: {error}"),
            _ => panic!("{body}: {shown:?}"),
        }
    }

    #[test]
    fn spans_are_read_or_refused_by_place() {
        check("[]", Ok(""));
        check(
            r#"[{"traceId":"0af7651916cd43dd","id":"b7ad6b7169203331","name":"get","kind":"SERVER","timestamp":1,"duration":7,
                "localEndpoint":{"serviceName":"a","ipv4":"127.0.0.1"},"tags":{"error":"x"},"shared":true}]"#,
            Ok("a get server 7000"),
        );
        check(
            r#"[{"traceId":"0af7651916cd43dd","id":"b7ad6b7169203331"}]"#,
            Ok("unknown  internal 0"),
        );
        check(
            r#"[{"traceId":"zz","id":"b7ad6b7169203331"}]"#,
            Err("span 0: traceId \"zz\""),
        );
        check(
            r#"[{"traceId":"0af7651916cd43dd","id":"+7ad6b7169203331"}]"#,
            Err("span 0: id"),
        );
        check(r#"[{"traceId":"0af7651916cd43dd"}]"#, Err("missing field `id`"));
        check(r#"{"traceId":"#, Err(""));
        check(r#"[{"traceId":1,"id":2}]"#, Err("invalid type"));
    }
}
