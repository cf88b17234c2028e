//! Objects of any kind: read, listed by labels, applied, deleted; and what the user may do with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

use super::{World, fits};

/// A path of the API, taken apart.
struct Place<'a> {
    namespace: Option<&'a str>,
    plural: &'a str,
    name: Option<&'a str>,
}

// === impl Place ===

impl<'a> Place<'a> {
    fn new(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = parts.as_slice() else {
            return None;
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        Some(Self {
            namespace,
            plural: rest.first()?,
            name: rest.get(1).copied(),
        })
    }

    fn has(&self, object: &Value) -> bool {
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        let meta = &object["metadata"];
        self.plural == format!("{kind}s")
            && self.namespace.is_none_or(|namespace| meta["namespace"] == namespace)
            && self.name.is_none_or(|name| meta["name"] == name)
    }
}

pub(super) async fn serve(
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    body: Bytes,
) -> Response {
    match uri.path() {
        "/version" => return Json(version(world.minor.unwrap_or(36))).into_response(),
        "/apis" => return Json(groups(&world)).into_response(),
        path => {
            if let ["", "apis", group, version] = path.split('/').collect::<Vec<_>>().as_slice() {
                return Json(resources(&world, &format!("{group}/{version}"))).into_response();
            }
        }
    }
    let Some(place) = Place::new(uri.path()) else {
        return refuse(StatusCode::NOT_FOUND, "no such path");
    };
    if place.plural == "selfsubjectaccessreviews" {
        return review(&world, &body);
    }
    let verb = match (&method, place.name) {
        (&Method::GET, Some(_)) => "get",
        (&Method::GET, None) => "list",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, _) => "delete",
        _ => return refuse(StatusCode::METHOD_NOT_ALLOWED, "no such verb"),
    };
    let deed = format!("{verb} {}", place.plural);
    if world.forbidden.contains(&deed.as_str()) {
        return refuse(
            StatusCode::FORBIDDEN,
            &format!("{} is forbidden: you cannot {verb}", place.plural),
        );
    }
    if let Some(name) = place.name.filter(|_| verb != "get") {
        world.changes.lock().push(format!("{deed}/{name}"));
    }
    answer(&world, verb, &place, &query, &body)
}

fn answer(world: &World, verb: &str, place: &Place<'_>, query: &BTreeMap<String, String>, body: &[u8]) -> Response {
    let mut objects = world.objects.lock();
    let found = objects.iter().position(|object| place.has(object));
    match (verb, found) {
        ("list", _) => {
            let all = objects.iter().chain(&world.pods);
            let items = all.filter(|object| place.has(object) && fits(object, query));
            let items: Vec<&Value> = items.collect();
            Json(json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})).into_response()
        }
        ("get", Some(index)) => Json(objects[index].clone()).into_response(),
        ("patch", _) => Json(serde_json::from_slice::<Value>(body).unwrap()).into_response(),
        ("delete", Some(index)) => Json(objects.remove(index)).into_response(),
        _ => refuse(StatusCode::NOT_FOUND, "not found"),
    }
}

/// The groups of the objects that there are.
fn groups(world: &World) -> Value {
    let objects = world.objects.lock();
    let versions = objects
        .iter()
        .filter_map(|object| object["apiVersion"].as_str()?.split_once('/'));
    let versions: BTreeMap<&str, &str> = versions.collect();
    let groups = versions.into_iter().map(|(group, version)| {
        let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
        json!({"name": group, "versions": [version], "preferredVersion": version})
    });
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()})
}

fn resources(world: &World, version: &str) -> Value {
    let objects = world.objects.lock();
    let kinds = objects.iter().filter(|object| object["apiVersion"] == version);
    let kinds: BTreeSet<&str> = kinds.filter_map(|object| object["kind"].as_str()).collect();
    let resources = kinds.into_iter().map(|kind| {
        json!({"name": format!("{}s", kind.to_lowercase()), "singularName": "", "namespaced": true, "kind": kind, "verbs": ["list"]})
    });
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources.collect::<Vec<_>>()})
}

fn review(world: &World, body: &[u8]) -> Response {
    let mut review: Value = serde_json::from_slice(body).unwrap();
    let asked = &review["spec"]["resourceAttributes"];
    let deed = format!(
        "{} {}",
        asked["verb"].as_str().unwrap(),
        asked["resource"].as_str().unwrap()
    );
    review["status"] = json!({"allowed": !world.forbidden.contains(&deed.as_str())});
    Json(review).into_response()
}

fn version(minor: u32) -> Value {
    json!({"major": "1", "minor": minor.to_string(), "gitVersion": format!("v1.{minor}.0"), "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})
}

fn refuse(status: StatusCode, message: &str) -> Response {
    let reason = status.canonical_reason().unwrap_or_default().replace(' ', "");
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": reason, "code": status.as_u16()});
    (status, Json(body)).into_response()
}
