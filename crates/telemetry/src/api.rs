//! The JSON API and the page that draws it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::graph::{EdgeView, Graph};
use crate::record::End;

/// The page, with nothing that has to be loaded from elsewhere.
const PAGE: &str = include_str!("page.html");

/// Window where none is asked for.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
struct Parameters {
    window: Option<String>,
}

/// `/` is the page, `/api/graph?window=60s` the graph.
pub fn router(graph: Arc<Mutex<Graph>>) -> Router {
    Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/api/graph", get(show))
        .with_state(graph)
}

async fn show(State(graph): State<Arc<Mutex<Graph>>>, Query(parameters): Query<Parameters>) -> Json<Value> {
    let seconds = parameters
        .window
        .as_deref()
        .and_then(|text| text.trim_end_matches('s').parse().ok());
    let window = seconds
        .map_or(WINDOW, Duration::from_secs)
        .clamp(Duration::from_secs(5), WINDOW);
    let (edges, overflowed) = {
        let graph = graph.lock();
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

/// Counts since the start; rate, errors and latencies within the window.
fn describe(edge: &EdgeView, window: Duration) -> Value {
    let end = |end: &End| json!({"workload": end.workload, "namespace": end.namespace});
    let recent = &edge.recent;
    json!({
        "source": end(&edge.source),
        "destination": end(&edge.destination),
        "requests": edge.total.requests,
        "errors": edge.total.errors,
        "rps": recent.requests as f64 / window.as_secs_f64(),
        "error_rate": share(recent.errors, recent.requests).unwrap_or(0.0),
        "p50_ms": recent.latency.quantile_ms(0.5),
        "p99_ms": recent.latency.quantile_ms(0.99),
        "mtls_share": share(edge.total.mtls, edge.total.requests),
    })
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
