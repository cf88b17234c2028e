//! One watch: lists a kind, follows it, and starts over when the server asks for it.

use futures_util::StreamExt;
use kube::Api;
use kube::core::{DynamicObject, ObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as start};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use weft_api::meta::Kind;
use weft_base::kubernetes::is_status;

use super::kinds::WatchId;
use super::mirror::News;

/// What a watch said.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) watch: WatchId,
    /// What it said.
    pub(super) news: News,
}

/// Parts of annotation names that mean something to the mesh; other annotations change often and are dropped.
const ANNOTATIONS: [&str; 3] = ["istio.io/", "weft.mesh/", "gateway.networking.k8s.io/"];

/// Follows a watch for ever; errors are logged and tried again with growing pauses.
pub(super) async fn follow(
    (api, selector): (Api<DynamicObject>, Option<String>),
    watch: WatchId,
    version: String,
    messages: mpsc::Sender<Message>,
) {
    let config = watcher::Config {
        field_selector: selector,
        ..watcher::Config::default()
    };
    let mut stream = std::pin::pin!(start(api, config).default_backoff());
    let mut failing = false;
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => {
                if std::mem::replace(&mut failing, false) {
                    tracing::info!(%watch, "the watch works again");
                }
                event
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%watch, %error, "the watch failed, starting it again");
                }
                if is_refusal(&error) {
                    let (watch, news) = (watch.clone(), News::Refused);
                    if messages.send(Message { watch, news }).await.is_err() {
                        return;
                    }
                }
                continue;
            }
        };
        let document = |object| Box::new(document(watch.kind, &version, object));
        let news = match event {
            Event::Init => News::Restarted,
            Event::InitApply(object) => News::Listed(document(object)),
            Event::InitDone => News::Complete,
            Event::Apply(object) => News::Changed(document(object)),
            Event::Delete(object) => News::Deleted {
                namespace: object.metadata.namespace.unwrap_or_default(),
                name: object.metadata.name.unwrap_or_default(),
            },
        };
        let watch = watch.clone();
        if messages.send(Message { watch, news }).await.is_err() {
            return;
        }
    }
}

/// Whether the server does not let us look.
fn is_refusal(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => is_status(error, 403),
        watcher::Error::WatchError(status) => status.code == 403,
        watcher::Error::NoResourceVersion => false,
    }
}

/// The object as a document: with its kind, which items of lists do not have, and without what changes for no reason.
pub fn document(kind: Kind, version: &str, object: DynamicObject) -> Value {
    let mut document = Map::new();
    document.insert("apiVersion".to_owned(), kind.api_version(version).into());
    document.insert("kind".to_owned(), kind.as_str().into());
    document.insert("metadata".to_owned(), metadata(kind, object.metadata));
    if let Value::Object(rest) = object.data {
        let kept = |name: &str| name != "status" || kind == Kind::Pod;
        document.extend(rest.into_iter().filter(|(name, _)| kept(name)));
    }
    Value::Object(document)
}

fn metadata(kind: Kind, metadata: ObjectMeta) -> Value {
    let mut kept = Map::new();
    let mut text = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            kept.insert(name.to_owned(), value.into());
        }
    };
    text("name", metadata.name);
    text("namespace", metadata.namespace);
    let time = |time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        let value = serde_json::to_value(time?).ok()?;
        value.as_str().map(str::to_owned)
    };
    text("creationTimestamp", time(metadata.creation_timestamp));
    text("deletionTimestamp", time(metadata.deletion_timestamp));
    text("uid", metadata.uid.filter(|_| kind == Kind::Pod));
    if let Some(generation) = metadata.generation.filter(|_| kind != Kind::Pod) {
        kept.insert("generation".to_owned(), generation.into());
    }
    let texts = |map: std::collections::BTreeMap<String, String>| -> Value {
        map.into_iter()
            .map(|(key, value)| (key, Value::from(value)))
            .collect::<Map<_, _>>()
            .into()
    };
    if let Some(labels) = metadata.labels {
        kept.insert("labels".to_owned(), texts(labels));
    }
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| ANNOTATIONS.iter().any(|part| name.contains(part)));
    if !annotations.is_empty() {
        kept.insert("annotations".to_owned(), texts(annotations));
    }
    if let Some(owners) = metadata.owner_references.filter(|_| kind == Kind::Pod) {
        let owners = owners.into_iter().map(|owner| {
            serde_json::json!({"kind": owner.kind, "name": owner.name, "controller": owner.controller.unwrap_or(false)})
        });
        kept.insert("ownerReferences".to_owned(), owners.collect());
    }
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weft_api::parse::parse;
    use weft_mesh::snapshot::{Inputs, MeshSettings, MeshSnapshot, build};

    use super::*;
    use crate::source::kube::mirror::Mirror;

    /// Objects in JSON, which is YAML as well.
    const OBJECTS: &[&str] = &[
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "callme", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "selector": {"app": "callme"}, "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]}}"#,
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/region": "eu"}}, "spec": {}}"#,
        r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "callme-1", "namespace": "default", "labels": {"app": "callme", "version": "v1"}, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "callme", "uid": "1", "controller": true}]}, "spec": {"nodeName": "n1", "containers": [{"name": "app", "ports": [{"name": "web", "containerPort": 8080}]}, {"name": "istio-proxy"}]}, "status": {"phase": "Running", "podIP": "10.1.0.5", "podIPs": [{"ip": "10.1.0.5"}], "conditions": [{"type": "Ready", "status": "True"}]}}"#,
        r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "callme-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "callme"}}, "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": ["10.1.0.5"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "callme-1", "namespace": "default"}}]}"#,
        r#"{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "callme", "namespace": "default", "annotations": {"networking.istio.io/x": "y"}}, "spec": {"hosts": ["callme"], "http": [{"match": [{"uri": {"prefix": "/a"}}], "route": [{"destination": {"host": "callme", "subset": "v1"}, "weight": 100}], "timeout": "3s", "retries": {"attempts": 2}}]}}"#,
        r#"{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "callme", "namespace": "default"}, "spec": {"host": "callme", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}}"#,
        r#"{"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "default", "namespace": "istio-system"}, "spec": {"mtls": {"mode": "STRICT"}}}"#,
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": "accessLogFile: /dev/stdout\nconnectTimeout: 3s\n"}}"#,
    ];

    /// The object as a server has it, with what changes on every write.
    fn on_server(text: &str) -> DynamicObject {
        let mut value: Value = serde_json::from_str(text).unwrap();
        value["metadata"]["resourceVersion"] = "4711".into();
        value["metadata"]["managedFields"] = serde_json::json!([{"manager": "kubectl"}]);
        value["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = text.into();
        if value["kind"] == "VirtualService" {
            value["status"] = serde_json::json!({"observedGeneration": 1});
        }
        serde_json::from_value(value).unwrap()
    }

    /// Everything of a snapshot but where things are written.
    fn shown(snapshot: &MeshSnapshot) -> String {
        let parts = (
            (
                &snapshot.services,
                &snapshot.workloads,
                &snapshot.backends,
                &snapshot.endpoints,
                &snapshot.inbound,
            ),
            (
                &snapshot.virtual_services,
                &snapshot.destination_rules,
                &snapshot.peer_authentications,
            ),
            (&snapshot.inputs.mesh_configs, &snapshot.inputs.namespaces),
        );
        let text = format!("{parts:#?}");
        let mut kept = Vec::new();
        let mut skip_to: Option<usize> = None;
        for line in text.lines() {
            let indent = line.len() - line.trim_start().len();
            if let Some(depth) = skip_to {
                if indent <= depth {
                    skip_to = None;
                }
                continue;
            }
            if ["spec_fields: {", "place: Place {", "at: Position {"]
                .iter()
                .any(|start| line.trim_start() == *start)
            {
                skip_to = Some(indent);
                continue;
            }
            if line.trim_start() != "spec_fields: {}," {
                kept.push(line);
            }
        }
        kept.join("\n")
    }

    fn snapshot(inputs: Inputs) -> MeshSnapshot {
        build(inputs, &Arc::new(MeshSettings::default()), 1, None)
    }

    #[test]
    fn files_and_the_server_give_the_same_mesh() {
        let parsed = parse("mesh.yaml", &OBJECTS.join("\n---\n"));
        assert_eq!(parsed.diagnostics, []);
        let mut from_files = Inputs::default();
        for resource in &parsed.resources {
            from_files.apply(resource);
        }
        let mut mirror = Mirror::new("test".into());
        mirror.discovered();
        for text in OBJECTS {
            let object = on_server(text);
            let value: Value = serde_json::from_str(text).unwrap();
            let version = value["apiVersion"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned();
            let kind = parsed.resources.iter().map(weft_api::resource::Resource::kind);
            let kind = kind.into_iter().find(|kind| value["kind"] == kind.as_str()).unwrap();
            let watch = WatchId { kind, only: None };
            mirror.expect(watch.clone());
            mirror.take(&watch, News::Restarted);
            mirror.take(&watch, News::Listed(Box::new(document(kind, &version, object))));
            mirror.take(&watch, News::Complete);
        }
        let event = mirror.event().unwrap();
        assert_eq!(event.diagnostics, []);
        let mut from_server = Inputs::default();
        for resource in &event.upserted {
            from_server.apply(resource);
        }
        let (files, server) = (snapshot(from_files), snapshot(from_server));
        assert_eq!(shown(&files), shown(&server));
        assert!(
            shown(&files).contains("callme-1") && files.endpoints.iter().any(|(_, found)| !found.port(80).is_empty())
        );
    }

    #[test]
    fn what_only_metadata_say_is_no_change() {
        let text = OBJECTS[4];
        let mut other = on_server(text);
        other.metadata.resource_version = Some("4712".to_owned());
        other
            .metadata
            .annotations
            .get_or_insert_default()
            .insert("team".to_owned(), "x".to_owned());
        let document = |object| document(Kind::VirtualService, "v1", object);
        assert_eq!(document(on_server(text)), document(other));
    }
}
