//! The status port, Istio's agent in the proxy: readiness, metrics of proxy and application on one page, and the application's probes.

mod application;
mod fetch;
mod place;
mod probe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use weft_base::shutdown::Shutdown;

use crate::admin::{self, Admin};

pub(crate) use self::application::Application;

/// How long the application may take for its metrics where Prometheus does not say; its own default.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// Header with the seconds that Prometheus waits.
const SCRAPE_TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

#[derive(Clone, Debug)]
struct Status {
    admin: Admin,
    application: Arc<Application>,
}

/// Serves the status port, and readiness on an address of its own.
pub(crate) fn serve(
    status: SocketAddr,
    readiness: SocketAddr,
    admin: Admin,
    application: Application,
    shutdown: &Shutdown,
) -> std::io::Result<()> {
    let healthz = Router::new()
        .route("/healthz/ready", get(admin::ready))
        .with_state(admin.clone());
    let state = Status {
        admin,
        application: Arc::new(application),
    };
    let router = Router::new()
        .route("/stats/prometheus", get(metrics))
        .route("/metrics", get(metrics))
        .route("/app-health/{container}/{probe}", get(probe_application))
        .route("/app-lifecycle/{container}/{hook}", any(probe_application))
        .route("/quitquitquit", post(quit))
        .route("/drain", post(drain))
        .with_state(state)
        .merge(healthz.clone());
    weft_base::serve::http("status", status, router, shutdown)?;
    weft_base::serve::http("readiness", readiness, healthz, shutdown)?;
    Ok(())
}

/// The proxy's metrics, then the application's. That the application does not answer is counted, and hides nothing of the proxy's.
async fn metrics(State(status): State<Status>, headers: HeaderMap) -> Response {
    let asked = headers.get(SCRAPE_TIMEOUT_HEADER).and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|text| text.parse::<f64>().ok());
    let limit = asked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let limit = limit.map_or(SCRAPE_TIMEOUT, |limit| limit.min(SCRAPE_TIMEOUT));
    let more = status.application.metrics(limit).await;
    admin::prometheus_page(&status.admin, more)
}

/// Does the probe that Kubernetes would have done, from within the pod.
async fn probe_application(
    State(status): State<Status>,
    Path(_): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(probe) = status.application.probe(uri.path()) else {
        return (StatusCode::NOT_FOUND, "no such probe\n").into_response();
    };
    match probe.run(&method, &headers).await {
        Ok(code) => code.into_response(),
        Err(error) => {
            tracing::debug!(path = uri.path(), %error, "probe failed");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

/// Ends the process; only for those within the pod.
async fn quit(State(status): State<Status>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        return elsewhere();
    }
    status.admin.quit();
    "OK\n".into_response()
}

/// Sends the callers of the workload away until the process ends, as its pod is about to; only for those within the pod.
async fn drain(State(status): State<Status>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        return elsewhere();
    }
    if let Some(proxy) = status.admin.proxy() {
        proxy.send_callers_away();
    }
    "OK\n".into_response()
}

fn elsewhere() -> Response {
    (StatusCode::FORBIDDEN, "only requests from localhost are allowed\n").into_response()
}
