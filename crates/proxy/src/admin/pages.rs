//! Pages on what traffic goes through: clusters with their endpoints, and listeners.

use std::fmt::Write;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use serde_json::json;

use super::{Admin, Format, stopping};
use crate::model::cluster::Health;

pub(super) async fn clusters(State(admin): State<Admin>, Query(format): Query<Format>) -> impl IntoResponse {
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

pub(super) async fn listeners(State(admin): State<Admin>, Query(format): Query<Format>) -> impl IntoResponse {
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
