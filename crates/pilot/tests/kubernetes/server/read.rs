//! Requests that change nothing: readiness, discovery, single objects, lists and watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Objects, World, failure, target};

pub(super) fn answer(world: &Arc<World>, path: &str, query: &BTreeMap<String, String>) -> Response {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if parts == ["readyz"] {
        let mut state = world.state.lock();
        state.probes += 1;
        let bad = state.down || state.not_ready;
        drop(state);
        world.changes.send_modify(|count| *count += 1);
        return if bad { failure(500) } else { "ok".into_response() };
    }
    if world.state.lock().down {
        return failure(503);
    }
    match parts.as_slice() {
        ["apis"] => return groups(&world.state.lock()),
        ["api", version] => return resources(&world.state.lock(), "", version),
        ["apis", group, version] => return resources(&world.state.lock(), group, version),
        _ => {}
    }
    let Some((kind, rest)) = target(path) else {
        return failure(404);
    };
    let only = query
        .get("fieldSelector")
        .and_then(|selector| selector.strip_prefix("metadata.name="));
    match rest.as_slice() {
        [name] => match world.state.lock().objects.get(&(kind, (*name).to_owned())) {
            Some(object) => axum::Json(object.clone()).into_response(),
            None => failure(404),
        },
        [] if query.get("watch").is_some_and(|watch| watch == "true") => {
            let from = query.get("resourceVersion").and_then(|version| version.parse().ok());
            follow(Arc::clone(world), kind, only.map(str::to_owned), from.unwrap_or(0))
        }
        [] => list(&mut world.state.lock(), &kind, only),
        _ => failure(404),
    }
}

fn split(kind: &str) -> (&str, &str) {
    kind.split_once('.').unwrap_or((kind, ""))
}

fn groups(state: &Objects) -> Response {
    let mut found: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (version, kind) in &state.kinds {
        let (_, group) = split(kind);
        if group.is_empty() || (state.not_ready && group.ends_with("istio.io")) {
            continue;
        }
        let entry = json!({"groupVersion": format!("{group}/{version}"), "version": version});
        let versions = found.entry(group).or_default();
        if !versions.contains(&entry) {
            versions.push(entry);
        }
    }
    let groups: Vec<Value> = found
        .into_iter()
        .map(|(name, versions)| json!({"name": name, "preferredVersion": versions[0], "versions": versions}))
        .collect();
    axum::Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})).into_response()
}

fn resources(state: &Objects, group: &str, version: &str) -> Response {
    let of_group = state
        .kinds
        .iter()
        .filter(|(known, kind)| split(kind).1 == group && known == version);
    let resources: Vec<Value> = of_group
        .map(|(_, kind)| json!({"name": split(kind).0, "singularName": "", "namespaced": true, "kind": "X", "verbs": ["list", "watch"]}))
        .collect();
    let group_version = format!("{group}/{version}");
    let group_version = group_version.trim_start_matches('/');
    axum::Json(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}),
    )
    .into_response()
}

fn list(state: &mut Objects, kind: &str, only: Option<&str>) -> Response {
    state.listed.entry(kind.to_owned()).or_default();
    let of_kind = state.objects.iter().filter(|((known, _), _)| known == kind);
    let items: Vec<&Value> = of_kind
        .filter(|((_, name), _)| only.is_none_or(|only| only == name))
        .map(|(_, object)| object)
        .collect();
    axum::Json(json!({
        "kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": state.version.to_string()}, "items": items,
    }))
    .into_response()
}

/// Streams what happened to a kind since a version, until all watches are cut.
fn follow(world: Arc<World>, kind: String, only: Option<String>, from: u64) -> Response {
    let epoch = world.state.lock().epoch;
    let changes = world.changes.subscribe();
    let next = move |(mut changes, mut seen): (watch::Receiver<u64>, u64)| {
        let (world, kind, only) = (world.clone(), kind.clone(), only.clone());
        async move {
            loop {
                let lines = {
                    let mut state = world.state.lock();
                    if state.epoch != epoch {
                        return None;
                    }
                    news(&mut state, &kind, only.as_deref(), &mut seen)
                };
                if !lines.is_empty() {
                    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
                    return Some((Ok::<Bytes, std::convert::Infallible>(text.into()), (changes, seen)));
                }
                changes.changed().await.ok()?;
            }
        }
    };
    let stream = futures_util::stream::unfold((changes, from), next);
    Body::from_stream(stream).into_response()
}

/// What happened to a kind since `seen`, or that this is too long ago.
fn news(state: &mut Objects, kind: &str, only: Option<&str>, seen: &mut u64) -> Vec<Value> {
    if *seen < state.compacted {
        *seen = u64::MAX;
        *state.listed.entry(kind.to_owned()).or_default() += 1;
        return vec![
            json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too \
                old", "reason": "Expired", "code": 410}}),
        ];
    }
    let log = state
        .log
        .iter()
        .filter(|(version, known, _)| *version > *seen && known == kind);
    let news = log.filter(|(_, _, event)| only.is_none_or(|only| event["object"]["metadata"]["name"] == only));
    let news = news.map(|(_, _, event)| event.clone()).collect();
    *seen = (*seen).max(state.version);
    news
}
