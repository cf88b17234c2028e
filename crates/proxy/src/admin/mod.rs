//! The admin server: Envoy's paths for operators, on its own address. Paths that change something take POST alone, as Envoy's do.

mod certs;
mod config_dump;
mod control;
mod logging;
mod pages;
mod server;
mod stats;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::time::Instant;
use weft_base::log::LogControl;
use weft_base::operators;
use weft_base::shutdown::Shutdown;

use crate::dataplane::Proxy;
use crate::journal;
use crate::model::bootstrap::Node;

pub(crate) use self::config_dump::DumpSource;
pub(crate) use self::stats::prometheus_page;

/// What the pages report on and change. Clones share one state; the proxy is weak, so that a server does not keep a stopped one.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    proxy: Weak<Proxy>,
    shutdown: Shutdown,
    log: LogControl,
    node: Arc<Node>,
    started: Instant,
    health_failed: Arc<AtomicBool>,
}

/// What queries ask for.
#[derive(Debug, Default, Deserialize)]
struct Format {
    #[serde(default)]
    format: String,
}

/// State of the server, with Envoy's names (`envoy.admin.v3.ServerInfo.State`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerState {
    Live,
    Draining,
    Initializing,
}

// === impl ServerState ===

impl ServerState {
    fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::Initializing => "INITIALIZING",
        }
    }
}

// === impl Admin ===

impl Admin {
    /// Pages on a proxy that has just started.
    pub(crate) fn new(proxy: &Arc<Proxy>, node: Node, log: LogControl, shutdown: &Shutdown) -> Self {
        let everybody = log.enables(journal::TARGET, tracing::Level::DEBUG);
        proxy.journals().everybody(everybody);
        Self {
            proxy: Arc::downgrade(proxy),
            shutdown: shutdown.clone(),
            log,
            node: Arc::new(node),
            started: Instant::now(),
            health_failed: Arc::default(),
        }
    }

    /// The proxy, until it has stopped.
    pub(crate) fn proxy(&self) -> Option<Arc<Proxy>> {
        self.proxy.upgrade()
    }

    /// Ends the process in order.
    pub(crate) fn quit(&self) {
        self.shutdown.start();
    }

    /// State, and what is still waited for.
    pub(crate) fn state(&self) -> (ServerState, Vec<&'static str>) {
        if self.shutdown.is_started() || self.health_failed.load(Ordering::Relaxed) {
            return (ServerState::Draining, Vec::new());
        }
        let pending = self
            .proxy()
            .map(|proxy| proxy.readiness().pending())
            .unwrap_or_default();
        if pending.is_empty() {
            (ServerState::Live, pending)
        } else {
            (ServerState::Initializing, pending)
        }
    }
}

/// Binds `address` and serves the pages until the proxy drains.
pub(crate) fn serve(
    address: SocketAddr,
    admin: Admin,
    dump: DumpSource,
    shutdown: &Shutdown,
) -> std::io::Result<SocketAddr> {
    let router = Router::new()
        .route("/", get(server::index))
        .route("/help", get(server::help))
        .route("/ready", get(ready))
        .route("/server_info", get(server::info))
        .route("/memory", get(server::memory))
        .route("/stats", get(stats::stats))
        .route("/stats/prometheus", get(stats::prometheus))
        .route("/clusters", get(pages::clusters))
        .route("/listeners", get(pages::listeners))
        .route("/logging", post(logging::logging))
        .route("/healthcheck/fail", post(control::fail_health))
        .route("/healthcheck/ok", post(control::pass_health))
        .route("/drain_listeners", post(control::drain_listeners))
        .route("/quitquitquit", post(control::quit))
        .with_state(admin)
        .merge(
            Router::new()
                .route("/config_dump", get(config_dump))
                .route("/certs", get(certs::certs))
                .with_state(dump),
        );
    weft_base::serve::http("admin", address, operators::protect_at(address, router), shutdown)
}

/// `/ready`: 200 once everything that was waited for is there and until the drain.
pub(crate) async fn ready(State(admin): State<Admin>) -> Response {
    match admin.state() {
        (ServerState::Live, _) => (StatusCode::OK, "LIVE\n").into_response(),
        (ServerState::Draining, _) => (StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n").into_response(),
        (ServerState::Initializing, pending) => {
            let text = format!("waiting for {}\n", pending.join(", "));
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn config_dump(State(dump): State<DumpSource>, RawQuery(query): RawQuery) -> Response {
    let asked = query.unwrap_or_default();
    let endpoints = asked
        .split('&')
        .any(|word| word.split('=').next() == Some("include_eds"));
    // Takes some tens of milliseconds of computing; the control runtime has other things to do meanwhile.
    match tokio::task::spawn_blocking(move || dump.page(endpoints)).await {
        Ok(page) => Json(page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn stopping() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping\n").into_response()
}
