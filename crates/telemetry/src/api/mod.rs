//! The JSON API and the page that draws it.

mod traces;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::graph::{EdgeView, Graph, SLOT};
use crate::history::Point;
use crate::record::End;
use crate::traces::Traces;

/// The page's files, with nothing that has to be loaded from elsewhere.
const FILES: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_str!("../page/style.css"),
    ),
    ("/main.js", SCRIPT, include_str!("../page/main.js")),
    ("/dom.js", SCRIPT, include_str!("../page/dom.js")),
    ("/graph.js", SCRIPT, include_str!("../page/graph.js")),
    ("/traces.js", SCRIPT, include_str!("../page/traces.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page loads and runs nothing but its own files.
const POLICY: &str =
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Window where none is asked for.
const WINDOW: Duration = Duration::from_secs(60);

/// What the API reports on.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub graph: Arc<Mutex<Graph>>,
    pub traces: Arc<Mutex<Traces>>,
}

#[derive(Debug, Deserialize)]
struct Parameters {
    window: Option<String>,
}

/// An edge by its ends.
#[derive(Debug, Deserialize)]
struct EdgeParameters {
    source: String,
    #[serde(default)]
    source_namespace: String,
    destination: String,
    #[serde(default)]
    destination_namespace: String,
}

/// The page at `/`; `/api/graph?window=60s`, `/api/graph/history?source=..&destination=..`, `/api/traces`, `/api/traces/{id}`.
pub(crate) fn router(sources: Sources) -> Router {
    let mut router = Router::new();
    for (path, kind, content) in FILES {
        let answer = move || async move {
            let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)];
            (headers, content)
        };
        router = router.route(path, get(answer));
    }
    router
        .route("/api/graph", get(show))
        .route("/api/graph/history", get(history))
        .route("/api/traces", get(traces::list))
        .route("/api/traces/{id}", get(traces::one))
        .with_state(sources)
}

async fn show(State(sources): State<Sources>, Query(parameters): Query<Parameters>) -> Json<Value> {
    let seconds = parameters
        .window
        .as_deref()
        .and_then(|text| text.trim_end_matches('s').parse().ok());
    let window = seconds
        .map_or(WINDOW, Duration::from_secs)
        .clamp(Duration::from_secs(5), WINDOW);
    let (edges, overflowed) = {
        let graph = sources.graph.lock();
        (graph.edges(window, Instant::now()), graph.overflowed())
    };
    let within: Vec<&EdgeView> = edges.iter().filter(|edge| edge.source != End::unknown()).collect();
    let requests: u64 = within.iter().map(|edge| edge.total.requests).sum();
    let protected: u64 = within.iter().map(|edge| edge.total.mtls).sum();
    Json(json!({
        "window_seconds": window.as_secs(),
        "edges": edges.iter().map(|edge| describe(edge, window)).collect::<Vec<_>>(),
        "totals": {
            "requests": edges.iter().map(|edge| edge.total.requests).sum::<u64>(),
            "mesh_requests": requests,
            "mtls_share": share(protected, requests),
            "overflowed_requests": overflowed,
        },
    }))
}

/// The last quarter of an hour of one edge, slot by slot; slots without requests are left out.
async fn history(State(sources): State<Sources>, Query(edge): Query<EdgeParameters>) -> Response {
    let end = |workload: String, namespace: String| End {
        workload: workload.into(),
        namespace: namespace.into(),
    };
    let source = end(edge.source, edge.source_namespace);
    let destination = end(edge.destination, edge.destination_namespace);
    let found = sources.graph.lock().history(&source, &destination, Instant::now());
    let Some((current, points)) = found else {
        return (StatusCode::NOT_FOUND, "no such edge\n").into_response();
    };
    let seconds = SLOT.as_secs_f64();
    let point = |point: &Point| {
        json!({
            "seconds_ago": (current - point.slot) as f64 * seconds,
            "rps": point.requests as f64 / seconds,
            "error_rate": share(point.errors + point.connection_errors, point.requests + point.connections).unwrap_or(0.0),
            "connections_per_second": point.connections as f64 / seconds,
            "bytes_per_second": point.bytes as f64 / seconds,
            "p50_ms": point.p50_ms,
            "p99_ms": point.p99_ms,
        })
    };
    let points: Vec<Value> = points.iter().map(point).collect();
    Json(json!({"slot_seconds": SLOT.as_secs(), "points": points})).into_response()
}

fn refuse(reason: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response()
}

/// Counts since the start; rate, errors and latencies within the window.
fn describe(edge: &EdgeView, window: Duration) -> Value {
    let end = |end: &End| json!({"workload": end.workload, "namespace": end.namespace});
    let recent = &edge.recent;
    let connections = &edge.total.connections;
    let bytes = recent.connections.received.saturating_add(recent.connections.sent);
    json!({
        "source": end(&edge.source),
        "destination": end(&edge.destination),
        "requests": edge.total.requests,
        "errors": edge.total.errors,
        "rps": recent.requests as f64 / window.as_secs_f64(),
        "error_rate": recent.shares().map_or(0.0, |(errors, _)| errors),
        "connections": connections.count,
        "connection_errors": connections.errors,
        "received_bytes": connections.received,
        "sent_bytes": connections.sent,
        "connections_per_second": recent.connections.count as f64 / window.as_secs_f64(),
        "bytes_per_second": bytes as f64 / window.as_secs_f64(),
        "p50_ms": recent.latency.quantile_ms(0.5),
        "p99_ms": recent.latency.quantile_ms(0.99),
        "mtls_share": edge.total.shares().map(|(_, mtls)| mtls),
    })
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
