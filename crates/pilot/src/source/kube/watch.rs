//! One watch: lists a kind, follows it, and starts over when the server asks for it.

use futures_util::StreamExt;
use kube::Api;
use kube::core::{DynamicObject, ObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as start};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use weft_api::meta::Kind;

use super::kinds::{self, WatchId};
use super::mirror::News;

/// What a watch said.
#[derive(Debug)]
pub(super) struct Message {
    /// Which watch.
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
    let api_version = kinds::api_version(watch.kind, &version);
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
                continue;
            }
        };
        let document = |object| Box::new(document(watch.kind, &api_version, object));
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

/// The object as a document: with its kind, which items of lists do not have, and without what changes for no reason.
fn document(kind: Kind, api_version: &str, object: DynamicObject) -> Value {
    let mut document = Map::new();
    document.insert("apiVersion".to_owned(), api_version.into());
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
