//! Debug pages under /debug, at Istio's paths.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use weft_api::resource::Resource;
use weft_mesh::generate::{Generated, generate};
use weft_mesh::resource;
use weft_mesh::resource::layer::Resources;
use weft_mesh::snapshot::MeshSnapshot;
use weft_mesh::view::{ProxySettings, ProxyView};
use weft_proto::ads::Kind;
use weft_proto::descriptors;

use crate::xds::connections::{Connected, Connections};
use crate::xds::findings::refusals;

/// What the pages report on.
#[derive(Clone, Debug)]
pub(crate) struct Debug {
    pub snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    pub connections: Connections,
    /// Settings of generated configuration.
    pub settings: ProxySettings,
}

/// The pages with what they show.
const PAGES: [(&str, &str); 9] = [
    ("/debug/syncz", "what was sent to each proxy and what it accepted"),
    ("/debug/registryz", "services with their ready endpoints"),
    (
        "/debug/diagnosticsz",
        "findings about the configuration that are told, ?now=true with those that are not told yet",
    ),
    (
        "/debug/config_dump",
        "what a proxy is served, ?proxyID=<pod>.<namespace>",
    ),
    (
        "/debug/edsz",
        "the endpoints that a proxy is served, ?proxyID=<pod>.<namespace>",
    ),
    ("/debug/connections", "the connected proxies"),
    ("/debug/configz", "the objects that are in force, with their places"),
    ("/debug/mesh", "mesh-wide settings"),
    ("/debug/list", "these pages"),
];

#[derive(Debug, Deserialize)]
struct ProxyQuery {
    #[serde(rename = "proxyID", default)]
    proxy_id: String,
}

#[derive(Debug, Deserialize)]
struct FindingsQuery {
    /// With what may be gone in a moment.
    #[serde(default)]
    now: bool,
}

// === impl Debug ===

impl Debug {
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/debug/syncz", get(syncz))
            .route("/debug/registryz", get(registryz))
            .route("/debug/diagnosticsz", get(diagnosticsz))
            .route("/debug/config_dump", get(config_dump))
            .route("/debug/edsz", get(edsz))
            .route("/debug/connections", get(connections))
            .route("/debug/configz", get(configz))
            .route("/debug/mesh", get(mesh))
            .route("/debug/list", get(list))
            .with_state(self)
    }
}

/// Per proxy and type what was sent and what was accepted, with Istio's field names.
async fn syncz(State(debug): State<Debug>) -> Json<Value> {
    let item = |proxy: &Connected| {
        let of = |kind: Kind| proxy.types.get(&kind).cloned().unwrap_or_default();
        let resources: serde_json::Map<String, Value> = (proxy.types.iter())
            .map(|(kind, progress)| {
                let sent_at = proxy.sent_at.get(kind).copied().map(moment);
                let value = json!({"sent": progress.sent, "acked": progress.acked, "sentTime": sent_at, "lastError": progress.error()});
                (kind.type_url().to_owned(), value)
            })
            .collect();
        json!({
            "proxy": format!("{}.{}", proxy.node.pod, proxy.node.namespace),
            "proxy_type": match proxy.node.role {
                weft_mesh::node::Role::Sidecar => "sidecar",
                weft_mesh::node::Role::Router => "router",
            },
            "cluster_id": "Kubernetes",
            "istio_version": proxy.node.version,
            "cluster_sent": of(Kind::Cluster).sent, "cluster_acked": of(Kind::Cluster).acked,
            "listener_sent": of(Kind::Listener).sent, "listener_acked": of(Kind::Listener).acked,
            "route_sent": of(Kind::Routes).sent, "route_acked": of(Kind::Routes).acked,
            "endpoint_sent": of(Kind::Endpoints).sent, "endpoint_acked": of(Kind::Endpoints).acked,
            "extensionconfig_sent": "", "extensionconfig_acked": "",
            "generation": proxy.generation,
            "resources": resources,
        })
    };
    Json(Value::Array(debug.connections.all().iter().map(item).collect()))
}

/// Services with their ready endpoints.
async fn registryz(State(debug): State<Debug>) -> Json<Value> {
    let snapshot = debug.snapshots.borrow().clone();
    let service = |service: &Arc<weft_mesh::snapshot::MeshService>| {
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

/// All findings about the configuration, and what proxies refuse of it.
async fn diagnosticsz(State(debug): State<Debug>, Query(query): Query<FindingsQuery>) -> impl IntoResponse {
    let snapshot = debug.snapshots.borrow().clone();
    let unsettled = snapshot.unsettled().filter(|_| query.now);
    let mut findings: Vec<_> = snapshot.all_diagnostics().chain(unsettled).cloned().collect();
    findings.extend(refusals(&debug.connections.all()));
    Json(findings)
}

/// Everything that a proxy is served now, with versions; `proxyID` is `pod.namespace`. Of secrets only the names.
async fn config_dump(State(debug): State<Debug>, Query(query): Query<ProxyQuery>) -> Response {
    let (generation, generated) = match generated(&debug, &query) {
        Ok(found) => found,
        Err(answer) => return *answer,
    };
    let types: serde_json::Map<String, Value> = Kind::ALL
        .into_iter()
        .map(|kind| (kind.short().to_owned(), dump(kind, generated.of(kind))))
        .collect();
    descriptors::release();
    Json(json!({"generation": generation, "resources": types})).into_response()
}

/// The endpoints of every cluster of a proxy.
async fn edsz(State(debug): State<Debug>, Query(query): Query<ProxyQuery>) -> Response {
    let found = generated(&debug, &query);
    let page = found.map(|(_, generated)| dump(Kind::Endpoints, generated.of(Kind::Endpoints)));
    descriptors::release();
    page.map_or_else(|answer| *answer, |page| Json(page).into_response())
}

/// What a proxy is served under the running snapshot, or why that cannot be said.
fn generated(debug: &Debug, query: &ProxyQuery) -> Result<(u64, Generated), Box<Response>> {
    let snapshot = debug.snapshots.borrow().clone();
    let refuse = |status: StatusCode, text: String| Box::new((status, text).into_response());
    let Some((pod, namespace)) = query.proxy_id.rsplit_once('.') else {
        let text = "give the proxy as ?proxyID=<pod>.<namespace>\n".to_owned();
        return Err(refuse(StatusCode::BAD_REQUEST, text));
    };
    // A connected client says itself what it speaks; one that is not connected is described by its registration.
    let connected = debug.connections.all();
    let connected = connected
        .iter()
        .find(|proxy| *proxy.node.pod == *pod && *proxy.node.namespace == *namespace);
    let settings = debug.settings.clone();
    let view = match connected {
        Some(proxy) => ProxyView::of(snapshot.clone(), &proxy.node, settings),
        None => ProxyView::new(snapshot.clone(), namespace, pod, settings),
    };
    let Some(view) = view else {
        let text = format!("no workload {pod} in namespace {namespace}\n");
        return Err(refuse(StatusCode::NOT_FOUND, text));
    };
    Ok((snapshot.generation, generate(&view)))
}

fn dump(kind: Kind, resources: &Resources) -> Value {
    let type_name = kind.type_url().rsplit('/').next().unwrap_or_default();
    let descriptor = descriptors::pool().get_message_by_name(type_name);
    let options = SerializeOptions::new().use_proto_field_name(true);
    let entry = |(name, resource): (&Arc<str>, &resource::Resource)| {
        let mut entry = json!({"name": name, "version": resource.version});
        // Private keys are not for debug pages.
        let message = descriptor
            .clone()
            .filter(|_| kind != Kind::Secret)
            .and_then(|descriptor| DynamicMessage::decode(descriptor, &*resource.bytes).ok());
        if let Some(message) = message
            && let Ok(value) = message.serialize_with_options(serde_json::value::Serializer, &options)
        {
            entry["config"] = value;
        }
        entry
    };
    Value::Array(resources.iter().map(entry).collect())
}

/// The connected proxies, in Istio's shape.
async fn connections(State(debug): State<Debug>) -> Json<Value> {
    let all = debug.connections.all();
    let client = |proxy: &Connected| {
        json!({
            "connectionId": format!("{}.{}-{}", proxy.node.pod, proxy.node.namespace, proxy.id),
            "connectedAt": moment(proxy.since),
            "address": proxy.address.map(|address| address.to_string()),
            "node": proxy.node.id,
        })
    };
    Json(json!({"totalClients": all.len(), "clients": all.iter().map(client).collect::<Vec<_>>()}))
}

/// The objects that are in force. Secrets too, by name alone.
async fn configz(State(debug): State<Debug>) -> Json<Value> {
    let snapshot = debug.snapshots.borrow().clone();
    let inputs = &snapshot.inputs;
    let services = inputs.services.values().cloned().map(Resource::Service);
    let workloads = inputs.local_workloads.values().cloned().map(Resource::LocalWorkload);
    let secrets = inputs.secrets.values().cloned().map(Resource::Secret);
    let objects = services
        .chain(workloads)
        .chain(secrets)
        .chain(inputs.istio())
        .map(|object| {
            let (key, place) = (object.key(), object.place());
            json!({"kind": key.kind.to_string(), "namespace": key.namespace, "name": key.name,
            "file": place.file, "line": place.at.line})
        });
    Json(Value::Array(objects.collect()))
}

/// Mesh-wide settings, with the names of Istio's MeshConfig.
async fn mesh(State(debug): State<Debug>) -> Json<Value> {
    let snapshot = debug.snapshots.borrow().clone();
    let collector = debug
        .settings
        .collector
        .as_ref()
        .map(|(host, port)| format!("{host}:{port}"));
    Json(json!({
        "trustDomain": snapshot.settings.trust_domain,
        "rootNamespace": snapshot.settings.root_namespace,
        "clusterDomain": snapshot.settings.domain,
        "accessLogFile": debug.settings.access_log_file,
        "accessLogService": collector,
    }))
}

async fn list() -> Json<Value> {
    let pages = PAGES
        .into_iter()
        .map(|(path, help)| (path.to_owned(), Value::from(help)));
    Json(Value::Object(pages.collect()))
}

/// RFC 3339.
fn moment(time: std::time::SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

fn address(address: &weft_mesh::snapshot::EndpointAddress) -> String {
    match address {
        weft_mesh::snapshot::EndpointAddress::Ip(ip) => ip.to_string(),
        weft_mesh::snapshot::EndpointAddress::Name(name) => name.to_string(),
    }
}
