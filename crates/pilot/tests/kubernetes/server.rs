//! An API server that does what the test says: discovery, lists, watches, and failures of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

/// The kinds that it has from the start: group, version, plural, custom or not.
const KINDS: &[(&str, &str, &str)] = &[
    ("", "v1", "services"),
    ("", "v1", "pods"),
    ("", "v1", "nodes"),
    ("", "v1", "namespaces"),
    ("", "v1", "configmaps"),
    ("discovery.k8s.io", "v1beta1", "endpointslices"),
    ("networking.istio.io", "v1", "virtualservices"),
];

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    world: Arc<World>,
}

struct World {
    state: Mutex<Objects>,
    /// Counts changes, so that watches look again.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Objects {
    kinds: Vec<(String, String, String)>,
    objects: BTreeMap<(String, String), Value>,
    /// Version, plural, event.
    log: Vec<(u64, String, Value)>,
    version: u64,
    compacted: u64,
    /// Grows when all watches are cut.
    epoch: u64,
    down: bool,
    not_ready: bool,
    probes: u64,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let state = Objects {
            kinds: KINDS
                .iter()
                .map(|(group, version, plural)| ((*group).to_owned(), (*version).to_owned(), (*plural).to_owned()))
                .collect(),
            version: 10,
            ..Objects::default()
        };
        let world = Arc::new(World {
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(world.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { addr, world }
    }

    fn change(&self, change: impl FnOnce(&mut Objects)) {
        change(&mut self.world.state.lock());
        self.world.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn put(&self, plural: &str, mut object: Value) {
        self.change(|state| {
            state.version += 1;
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            let key = (
                plural.to_owned(),
                object["metadata"]["name"].as_str().unwrap().to_owned(),
            );
            let kind = if state.objects.insert(key, object.clone()).is_some() {
                "MODIFIED"
            } else {
                "ADDED"
            };
            let event = json!({"type": kind, "object": object});
            state.log.push((state.version, plural.to_owned(), event));
        });
    }

    pub(crate) fn delete(&self, plural: &str, name: &str) {
        self.change(|state| {
            state.version += 1;
            let object = state.objects.remove(&(plural.to_owned(), name.to_owned())).unwrap();
            let event = json!({"type": "DELETED", "object": object});
            state.log.push((state.version, plural.to_owned(), event));
        });
    }

    /// The past is forgotten: watches from before must start over.
    pub(crate) fn compact(&self) {
        self.change(|state| state.compacted = state.version);
    }

    pub(crate) fn install(&self, group: &str, version: &str, plural: &str) {
        self.change(|state| {
            state
                .kinds
                .push((group.to_owned(), version.to_owned(), plural.to_owned()))
        });
    }

    pub(crate) fn down(&self) {
        self.change(|state| {
            state.down = true;
            state.epoch += 1;
        });
    }

    /// Serves lists, but says that it is not ready and knows no custom kinds.
    pub(crate) fn up_but_not_ready(&self) {
        self.change(|state| {
            state.down = false;
            state.not_ready = true;
            state.probes = 0;
        });
    }

    pub(crate) fn ready(&self) {
        self.change(|state| state.not_ready = false);
    }

    /// Waits until readiness was asked for so often.
    pub(crate) async fn probed(&self, times: u64) {
        let mut changes = self.world.changes.subscribe();
        while self.world.state.lock().probes < times {
            changes.changed().await.unwrap();
        }
    }
}

async fn answer(State(world): State<Arc<World>>, uri: Uri, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    if path == ["readyz"] {
        let mut state = world.state.lock();
        state.probes += 1;
        let bad = state.down || state.not_ready;
        drop(state);
        world.changes.send_modify(|count| *count += 1);
        return if bad {
            failure(StatusCode::INTERNAL_SERVER_ERROR)
        } else {
            "ok".into_response()
        };
    }
    if world.state.lock().down {
        return failure(StatusCode::SERVICE_UNAVAILABLE);
    }
    match path.as_slice() {
        ["apis"] => groups(&world.state.lock()),
        ["api", version] => resources(&world.state.lock(), "", version),
        ["apis", group, version] => resources(&world.state.lock(), group, version),
        [.., plural] if query.get("watch").is_some_and(|watch| watch == "true") => {
            let from = query.get("resourceVersion").and_then(|version| version.parse().ok());
            follow(world, (*plural).to_owned(), from.unwrap_or(0))
        }
        [.., plural] => list(&world.state.lock(), plural),
        [] => failure(StatusCode::NOT_FOUND),
    }
}

fn failure(status: StatusCode) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "scripted", "reason": "x", "code": status.as_u16()});
    (status, axum::Json(body)).into_response()
}

fn groups(state: &Objects) -> Response {
    let mut found: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (group, version, _) in state.kinds.iter().filter(|(group, _, _)| !group.is_empty()) {
        if state.not_ready && group.ends_with("istio.io") {
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
        .filter(|(own, known, _)| own == group && known == version);
    let resources: Vec<Value> = of_group
        .map(|(_, _, plural)| json!({"name": plural, "singularName": "", "namespaced": true, "kind": "X", "verbs": ["list", "watch"]}))
        .collect();
    let group_version = format!("{group}/{version}");
    let group_version = group_version.trim_start_matches('/');
    axum::Json(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}),
    )
    .into_response()
}

fn list(state: &Objects, plural: &str) -> Response {
    let of_kind = state.objects.iter().filter(|((kind, _), _)| kind == plural);
    let items: Vec<&Value> = of_kind.map(|(_, object)| object).collect();
    axum::Json(json!({
        "kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": state.version.to_string()}, "items": items,
    }))
    .into_response()
}

/// Streams what happened to a kind since a version, until all watches are cut.
fn follow(world: Arc<World>, plural: String, from: u64) -> Response {
    let epoch = world.state.lock().epoch;
    let changes = world.changes.subscribe();
    let next = move |(mut changes, mut seen): (watch::Receiver<u64>, u64)| {
        let (world, plural) = (world.clone(), plural.clone());
        async move {
            loop {
                let lines = {
                    let state = world.state.lock();
                    if state.epoch != epoch {
                        return None;
                    }
                    if seen < state.compacted {
                        let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410}});
                        seen = u64::MAX;
                        vec![gone]
                    } else {
                        let news = state
                            .log
                            .iter()
                            .filter(|(version, kind, _)| *version > seen && *kind == plural);
                        let news: Vec<Value> = news.map(|(_, _, event)| event.clone()).collect();
                        seen = seen.max(state.version);
                        news
                    }
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
