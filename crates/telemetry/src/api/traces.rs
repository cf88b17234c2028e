//! `/api/traces`: the latest traces, and one trace whole.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Sources, refuse};
use crate::span::{Span, TraceId};
use crate::traces::{Query as TraceQuery, Summary};

/// Traces of a list where no limit is asked for, and the highest.
const LIMIT: (usize, usize) = (50, 1000);

/// What `/api/traces` is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    service: Option<String>,
    min_ms: Option<f64>,
    error: Option<bool>,
    limit: Option<usize>,
}

/// The traces that the parameters ask for, the newest first, and all services that have traces.
pub(super) async fn list(State(sources): State<Sources>, Query(parameters): Query<Parameters>) -> Response {
    let Ok(shortest) = Duration::try_from_secs_f64(parameters.min_ms.unwrap_or(0.0) / 1000.0) else {
        return refuse("min_ms must be a number of milliseconds, not negative");
    };
    let query = TraceQuery {
        service: parameters.service.filter(|service| !service.is_empty()),
        duration_ns_min: u64::try_from(shortest.as_nanos()).unwrap_or(u64::MAX),
        failed_only: parameters.error.unwrap_or(false),
        limit: parameters.limit.unwrap_or(LIMIT.0).min(LIMIT.1),
    };
    let (found, services) = {
        let traces = sources.traces.lock();
        (traces.search(&query), traces.services())
    };
    let found: Vec<Value> = found.iter().map(describe).collect();
    Json(json!({"traces": found, "services": services})).into_response()
}

/// One trace with all of its spans, in the order of their starts.
pub(super) async fn one(State(sources): State<Sources>, Path(id): Path<String>) -> Response {
    let Some(id) = TraceId::parse(&id) else {
        return refuse("a trace id is 16 or 32 hexadecimal digits");
    };
    let trace = sources.traces.lock().get(id).cloned();
    let Some((trace, summary)) = trace.and_then(|trace| trace.summary(id).map(|summary| (trace, summary))) else {
        let text = "no such trace; the oldest make room for new ones\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let mut spans: Vec<&Span> = trace.spans.iter().collect();
    spans.sort_by_key(|span| (span.start_ns, span.parent.is_some()));
    let mut answer = describe(&summary);
    answer["left_out"] = json!(trace.left_out);
    answer["spans"] = spans
        .into_iter()
        .map(|span| describe_span(span, summary.start_ns))
        .collect();
    Json(answer).into_response()
}

fn describe(summary: &Summary) -> Value {
    json!({
        "id": summary.id.to_string(),
        "service": summary.root.0,
        "name": summary.root.1,
        "services": summary.services,
        "start_unix_ms": summary.start_ns / 1_000_000,
        "duration_ms": millis(summary.duration_ns),
        "span_count": summary.spans,
        "error": summary.failed,
    })
}

/// `offset_ms` counts from the start of the trace.
fn describe_span(span: &Span, start_ns: u64) -> Value {
    let attributes: serde_json::Map<String, Value> = (span.attributes.iter())
        .map(|(key, value)| (key.to_string(), json!(value)))
        .collect();
    json!({
        "id": format!("{:016x}", span.id),
        "parent": span.parent.map(|parent| format!("{parent:016x}")),
        "service": span.service,
        "name": span.name,
        "kind": span.kind.as_str(),
        "offset_ms": millis(span.start_ns.saturating_sub(start_ns)),
        "duration_ms": millis(span.duration_ns),
        "error": span.failed,
        "attributes": attributes,
    })
}

fn millis(ns: u64) -> f64 {
    ns as f64 / 1_000_000.0
}
