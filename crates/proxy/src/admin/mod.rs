//! The admin server: Envoy's paths for operators, on its own address.

mod config_dump;

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use axum::extract::{Query, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use weft_base::shutdown::Shutdown;

use crate::app::Proxy;
use crate::model::cluster::Health;
use crate::observe::prometheus::Pieces;

pub use self::config_dump::DumpSource;

/// Media type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the pages report on. Weak, so that the server does not keep a stopped proxy alive.
#[derive(Clone, Debug)]
struct Admin {
    proxy: Weak<Proxy>,
    shutdown: Shutdown,
}

#[derive(Debug, Default, Deserialize)]
struct Format {
    #[serde(default)]
    format: String,
    #[serde(default)]
    filter: String,
}

/// Binds `address` and serves the pages until the proxy drains.
pub async fn serve(
    address: SocketAddr,
    proxy: Arc<Proxy>,
    dump: DumpSource,
    shutdown: &Shutdown,
) -> std::io::Result<SocketAddr> {
    let state = Admin {
        proxy: Arc::downgrade(&proxy),
        shutdown: shutdown.clone(),
    };
    drop(proxy);
    let router = Router::new()
        .route("/ready", get(ready))
        .route("/server_info", get(server_info))
        .route("/stats", get(stats))
        .route("/stats/prometheus", get(prometheus))
        .route("/clusters", get(clusters))
        .route("/listeners", get(listeners))
        .route("/quitquitquit", post(quit))
        .with_state(state)
        .merge(Router::new().route("/config_dump", get(config_dump)).with_state(dump));
    weft_base::admin::serve("admin", address, router, shutdown).await
}

/// Serves readiness and metrics for whoever runs the workload, on two addresses as Istio's agent does.
pub async fn serve_status(
    status: SocketAddr,
    readiness: SocketAddr,
    proxy: &Arc<Proxy>,
    shutdown: &Shutdown,
) -> std::io::Result<()> {
    let state = Admin {
        proxy: Arc::downgrade(proxy),
        shutdown: shutdown.clone(),
    };
    let healthz = Router::new().route("/healthz/ready", get(ready));
    let metrics = Router::new()
        .route("/stats/prometheus", get(prometheus))
        .route("/metrics", get(prometheus));
    let status_router = healthz.clone().merge(metrics).with_state(state.clone());
    weft_base::admin::serve("status", status, status_router, shutdown).await?;
    weft_base::admin::serve("readiness", readiness, healthz.with_state(state), shutdown).await?;
    Ok(())
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.shutdown.is_started() {
        return (StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n".to_owned());
    }
    let pending = admin
        .proxy
        .upgrade()
        .map(|proxy| proxy.readiness().pending())
        .unwrap_or_default();
    if !pending.is_empty() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for {}\n", pending.join(", ")),
        );
    }
    (StatusCode::OK, "LIVE\n".to_owned())
}

async fn server_info(State(admin): State<Admin>) -> impl IntoResponse {
    let state = if admin.shutdown.is_started() {
        "DRAINING"
    } else {
        "LIVE"
    };
    Json(json!({"version": concat!("weft-proxy/", env!("CARGO_PKG_VERSION")), "state": state}))
}

async fn stats(State(admin): State<Admin>, Query(format): Query<Format>) -> impl IntoResponse {
    let Some(proxy) = admin.proxy.upgrade() else {
        return stopping();
    };
    let stats = proxy
        .stats()
        .into_iter()
        .filter(|(name, _, _)| name.contains(&format.filter));
    if format.format == "json" {
        let stats: Vec<_> = stats
            .map(|(name, value, _)| json!({"name": name, "value": value}))
            .collect();
        return Json(json!({"stats": stats})).into_response();
    }
    let mut text = String::new();
    for (name, value, _) in stats {
        let _ = writeln!(text, "{name}: {value}");
    }
    text.into_response()
}

/// Envoy's names with `http.<prefix>.` turned into a label.
async fn prometheus(State(admin): State<Admin>) -> impl IntoResponse {
    let Some(proxy) = admin.proxy.upgrade() else {
        return stopping();
    };
    let mut text = String::new();
    let mut last = String::new();
    let mut stats: Vec<(String, String, u64, bool)> = proxy
        .stats()
        .into_iter()
        .filter_map(|(name, value, gauge)| {
            let (prefix, metric) = name.strip_prefix("http.")?.rsplit_once('.')?;
            Some((format!("envoy_http_{metric}"), prefix.to_owned(), value, gauge))
        })
        .collect();
    stats.sort();
    for (metric, prefix, value, gauge) in stats {
        if metric != last {
            let _ = writeln!(text, "# TYPE {metric} {}", if gauge { "gauge" } else { "counter" });
            last.clone_from(&metric);
        }
        let prefix = prefix.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "{metric}{{envoy_http_conn_manager_prefix=\"{prefix}\"}} {value}");
    }
    let pieces = std::iter::once(text).chain(proxy.istio_metrics().pieces());
    let pieces = Pieces::new(pieces).map(Ok::<_, std::convert::Infallible>);
    let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
    ([(header::CONTENT_TYPE, PROMETHEUS)], body).into_response()
}

async fn clusters(State(admin): State<Admin>, Query(format): Query<Format>) -> impl IntoResponse {
    let Some(proxy) = admin.proxy.upgrade() else {
        return stopping();
    };
    let runtime = proxy.runtime().load();
    let mut names: Vec<_> = runtime.clusters.keys().cloned().collect();
    names.sort();
    let mut text = String::new();
    let mut statuses = Vec::new();
    for name in names {
        let Some(cluster) = runtime.clusters.get(&name) else {
            continue;
        };
        let mut hosts = Vec::new();
        for endpoint in &cluster.endpoints().endpoints {
            let active = endpoint.state.active.load(std::sync::atomic::Ordering::Relaxed);
            let health = health(endpoint.model.health, endpoint.is_healthy());
            let _ = writeln!(text, "{name}::{}::rq_active::{active}", endpoint.text);
            let _ = writeln!(text, "{name}::{}::health_flags::{health}", endpoint.text);
            let _ = writeln!(text, "{name}::{}::weight::{}", endpoint.text, endpoint.model.weight);
            hosts.push(json!({
                "address": address_json(&endpoint.text),
                "stats": [{"name": "rq_active", "type": "GAUGE", "value": active.to_string()}],
                "health_status": {"eds_health_status": eds_health(endpoint.model.health)},
                "weight": endpoint.model.weight,
            }));
        }
        statuses.push(json!({"name": name, "host_statuses": hosts}));
    }
    if format.format == "json" {
        return Json(json!({"cluster_statuses": statuses})).into_response();
    }
    text.into_response()
}

async fn listeners(State(admin): State<Admin>, Query(format): Query<Format>) -> impl IntoResponse {
    let Some(proxy) = admin.proxy.upgrade() else {
        return stopping();
    };
    let addresses = proxy.addresses();
    if format.format == "json" {
        let statuses: Vec<_> = addresses
            .iter()
            .flat_map(|(name, bound)| bound.iter().map(move |address| (name, address)))
            .map(|(name, address)| {
                let socket = json!({"address": address.ip().to_string(), "port_value": address.port()});
                json!({"name": name, "local_address": {"socket_address": socket}})
            })
            .collect();
        return Json(json!({"listener_statuses": statuses})).into_response();
    }
    let mut text = String::new();
    for (name, bound) in addresses {
        for address in bound {
            let _ = writeln!(text, "{name}::{address}");
        }
    }
    text.into_response()
}

async fn config_dump(State(dump): State<DumpSource>, RawQuery(query): RawQuery) -> impl IntoResponse {
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

async fn quit(State(admin): State<Admin>) -> &'static str {
    admin.shutdown.start();
    "OK\n"
}

/// An endpoint's text as `core.v3.Address`: `host:port`, or the path of a Unix socket.
fn address_json(text: &str) -> serde_json::Value {
    match text
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
    {
        Some((host, port)) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            json!({"socket_address": {"address": host, "port_value": port}})
        }
        None => json!({"pipe": {"path": text.trim_start_matches("unix://")}}),
    }
}

fn stopping() -> axum::response::Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping\n").into_response()
}

fn health(discovered: Health, healthy: bool) -> &'static str {
    match (discovered, healthy) {
        (Health::Healthy, true) => "healthy",
        (Health::Healthy, false) => "/failed_outlier_check",
        (Health::Degraded, _) => "/eds_status_degraded",
        (Health::Unhealthy | Health::Draining, _) => "/failed_eds_health",
    }
}

fn eds_health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Unhealthy => "UNHEALTHY",
        Health::Draining => "DRAINING",
    }
}
