//! Paths that change something: health, listeners, the end; `logging.rs` has the log level.

use std::sync::atomic::Ordering;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Admin, stopping};

/// `/healthcheck/fail`: the proxy says that it is not ready, and goes on serving.
pub(super) async fn fail_health(State(admin): State<Admin>) -> &'static str {
    admin.health_failed.store(true, Ordering::Relaxed);
    "OK\n"
}

/// `/healthcheck/ok`: the proxy says again what it is.
pub(super) async fn pass_health(State(admin): State<Admin>) -> &'static str {
    admin.health_failed.store(false, Ordering::Relaxed);
    "OK\n"
}

/// `/drain_listeners`: stops listening; with `?graceful` clients are sent away first, for the drain time; `?inboundonly` leaves the others.
pub(super) async fn drain_listeners(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let Some(proxy) = admin.proxy() else {
        return stopping();
    };
    let (mut inbound_only, mut graceful) = (false, false);
    for word in query
        .iter()
        .flat_map(|query| query.split('&'))
        .filter(|word| !word.is_empty())
    {
        match word.split('=').next().unwrap_or_default() {
            "inboundonly" => inbound_only = true,
            "graceful" => graceful = true,
            other => {
                let reason = format!("{other:?} is not supported: inboundonly and graceful are\n");
                return (StatusCode::BAD_REQUEST, reason).into_response();
            }
        }
    }
    proxy.drain_listeners(inbound_only, graceful);
    "OK\n".into_response()
}

/// `/quitquitquit`: ends the process in order.
pub(super) async fn quit(State(admin): State<Admin>) -> &'static str {
    admin.quit();
    "OK\n"
}
