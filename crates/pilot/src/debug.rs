//! Debug pages under /debug, at Istio's paths.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::generate::generate;
use crate::snapshot::MeshSnapshot;
use crate::view::{ProxySettings, ProxyView};
use crate::xds::resource::{KINDS, Kind, ResourceSet};
use crate::xds::server::{Connected, Connections};

/// What the pages report on.
#[derive(Clone, Debug)]
pub struct Debug {
    /// The mesh.
    pub snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    /// The proxies.
    pub connections: Connections,
    /// Settings of generated configuration.
    pub settings: ProxySettings,
}

#[derive(Debug, Deserialize)]
struct ProxyQuery {
    #[serde(rename = "proxyID", default)]
    proxy_id: String,
}

// === impl Debug ===

impl Debug {
    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/debug/syncz", get(syncz))
            .route("/debug/registryz", get(registryz))
            .route("/debug/diagnosticsz", get(diagnosticsz))
            .route("/debug/config_dump", get(config_dump))
            .with_state(self)
    }
}

/// Per proxy and type what was sent and what was accepted, with Istio's field names.
async fn syncz(State(debug): State<Debug>) -> Json<Value> {
    let item = |proxy: &Connected| {
        let of = |kind: Kind| proxy.types.get(&kind).cloned().unwrap_or_default();
        let resources: serde_json::Map<String, Value> = (proxy.types.iter())
            .map(|(kind, progress)| {
                let value = json!({"sent": progress.sent, "acked": progress.acked, "lastError": progress.error});
                (kind.type_url().to_owned(), value)
            })
            .collect();
        json!({
            "proxy": format!("{}.{}", proxy.node.pod, proxy.node.namespace),
            "proxy_type": match proxy.node.role {
                crate::xds::node::Role::Sidecar => "sidecar",
                crate::xds::node::Role::Router => "router",
            },
            "cluster_id": "Kubernetes",
            "istio_version": proxy.node.version,
            "cluster_sent": of(Kind::Cluster).sent, "cluster_acked": of(Kind::Cluster).acked,
            "listener_sent": of(Kind::Listener).sent, "listener_acked": of(Kind::Listener).acked,
            "route_sent": of(Kind::Routes).sent, "route_acked": of(Kind::Routes).acked,
            "endpoint_sent": of(Kind::Endpoints).sent, "endpoint_acked": of(Kind::Endpoints).acked,
            "generation": proxy.generation,
            "resources": resources,
        })
    };
    Json(Value::Array(debug.connections.all().iter().map(item).collect()))
}

/// Services with their ready endpoints.
async fn registryz(State(debug): State<Debug>) -> Json<Value> {
    let snapshot = debug.snapshots.borrow().clone();
    let service = |service: &Arc<crate::snapshot::MeshService>| {
        let ready = snapshot.endpoints.of(&service.key);
        let ports = service.ports.iter().map(|port| {
            let endpoints = ready.map(|ready| ready.port(port.port)).unwrap_or_default();
            let endpoints: Vec<Value> = endpoints
                .iter()
                .map(|endpoint| {
                    json!({"address": address(&endpoint.address), "port": endpoint.port, "labels": *endpoint.labels,
                        "workload": endpoint.workload_metadata(), "mtls": endpoint.mtls})
                })
                .collect();
            json!({"name": port.name, "port": port.port, "protocol": port.protocol.as_str(), "endpoints": endpoints})
        });
        json!({"hostname": service.key.hostname, "namespace": service.key.namespace, "ports": ports.collect::<Vec<_>>()})
    };
    Json(Value::Array(snapshot.services.iter().map(service).collect()))
}

/// All findings about the configuration.
async fn diagnosticsz(State(debug): State<Debug>) -> impl IntoResponse {
    let snapshot = debug.snapshots.borrow().clone();
    let findings: Vec<_> = snapshot.all_diagnostics().cloned().collect();
    Json(findings)
}

/// Names and versions of everything that a proxy is served now; `proxyID` is `pod.namespace`.
async fn config_dump(State(debug): State<Debug>, Query(query): Query<ProxyQuery>) -> impl IntoResponse {
    let snapshot = debug.snapshots.borrow().clone();
    let Some((pod, namespace)) = query.proxy_id.rsplit_once('.') else {
        return (
            StatusCode::BAD_REQUEST,
            "give the proxy as ?proxyID=<pod>.<namespace>\n",
        )
            .into_response();
    };
    let Some(view) = ProxyView::new(snapshot.clone(), namespace, pod, debug.settings) else {
        return (
            StatusCode::NOT_FOUND,
            format!("no workload {pod} in namespace {namespace}\n"),
        )
            .into_response();
    };
    let generated = generate(&view);
    let entries = |set: &ResourceSet| -> Vec<Value> {
        set.iter()
            .map(|(name, resource)| json!({"name": name, "version": resource.version}))
            .collect()
    };
    let types: serde_json::Map<String, Value> = KINDS
        .into_iter()
        .map(|kind| (kind.short().to_owned(), Value::Array(entries(generated.of(kind)))))
        .collect();
    Json(json!({"generation": snapshot.generation, "resources": types})).into_response()
}

fn address(address: &crate::snapshot::EndpointAddress) -> String {
    match address {
        crate::snapshot::EndpointAddress::Ip(ip) => ip.to_string(),
        crate::snapshot::EndpointAddress::Name(name) => name.to_string(),
    }
}
