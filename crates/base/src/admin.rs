//! The small HTTP server that every process has for operators: readiness, metrics, version, log level.
//!
//! A process adds its own routes; the data plane's Envoy-compatible admin pages are its own.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::log::LogControl;
use crate::readiness::Readiness;

/// The media type of the OpenMetrics text that `/metrics` answers with.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the common routes report on.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Name and version, for example `weft-pilot 0.1.0`.
    pub version: &'static str,
    /// Answers `/ready`.
    pub readiness: Readiness,
    /// Answers `/metrics`.
    pub metrics: Arc<Mutex<Registry>>,
    /// Answers `POST /log`; absent where the process's logging is not ours to change.
    pub log: Option<LogControl>,
}

// === impl Admin ===

impl Admin {
    /// The common routes: `/ready`, `/metrics`, `/version`, and `/log` (GET reads the level, POST with the level as body changes it).
    pub fn router(self) -> Router {
        Router::new()
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .route("/version", get(version))
            .route("/log", get(log_level).merge(post(change_log_level)))
            .with_state(self)
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let pending = admin.readiness.pending();
    if pending.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for {}\n", pending.join(", ")),
        )
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    let encoded = prometheus_client::encoding::text::encode(&mut text, &admin.metrics.lock());
    match encoded {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot encode metrics: {error}\n"),
        )
            .into_response(),
    }
}

async fn version(State(admin): State<Admin>) -> String {
    format!("{}\n", admin.version)
}

async fn log_level(State(admin): State<Admin>) -> String {
    admin.log.map(|log| format!("{}\n", log.level())).unwrap_or_default()
}

async fn change_log_level(State(admin): State<Admin>, body: String) -> impl IntoResponse {
    let Some(log) = admin.log else {
        return (
            StatusCode::NOT_FOUND,
            "this process's log level cannot be changed\n".to_owned(),
        );
    };
    match log.change(body.trim()) {
        Ok(()) => (StatusCode::OK, format!("{}\n", log.level())),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}
