//! An API server that does what the test says: discovery, lists, watches, writes, and failures of each.
//!
//! It answers over a socket, or without one to clients that it makes itself: with those, time can be paused.

mod read;
mod write;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

pub(crate) const SERVICES: &str = "services";
pub(crate) const RULES: &str = "virtualservices.networking.istio.io";
pub(crate) const LEASES: &str = "leases.coordination.k8s.io";

/// The kinds that it has from the start: version, and name with group.
const KINDS: &[(&str, &str)] = &[
    ("v1", SERVICES),
    ("v1", "pods"),
    ("v1", "nodes"),
    ("v1", "namespaces"),
    ("v1", "configmaps"),
    ("v1", "secrets"),
    ("v1", "endpointslices.discovery.k8s.io"),
    ("v1", RULES),
];

#[derive(Clone)]
pub(crate) struct Server {
    world: Arc<World>,
}

struct World {
    state: Mutex<Objects>,
    /// Counts changes, so that watches look again.
    changes: watch::Sender<u64>,
}

/// A kind as it is named here, `plural.group`, and the name of an object.
type Id = (String, String);

#[derive(Default)]
struct Objects {
    /// Version, and name with group.
    kinds: Vec<(String, String)>,
    objects: BTreeMap<Id, Value>,
    /// Version, kind, event.
    log: Vec<(u64, String, Value)>,
    version: u64,
    compacted: u64,
    /// Grows when all watches are cut.
    epoch: u64,
    down: bool,
    not_ready: bool,
    probes: u64,
    rules: Vec<Rule>,
    writes: Vec<Write>,
    /// Kinds that were listed, and how often a watch of each was told that it is too old.
    listed: BTreeMap<String, u64>,
}

/// A request that was to change something, with what it was answered, or nothing if it was not.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) client: &'static str,
    pub(crate) answer: Option<u16>,
    /// The object afterwards.
    pub(crate) object: Value,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered with this status.
    Refuse(u16),
    /// It never arrives.
    Hang,
    /// It is done, and the answer never arrives.
    LoseAnswer,
    /// It is done, and the answer takes so long.
    SlowAnswer(Duration),
    /// Somebody else changes the object just before.
    Overtake,
}

/// Which requests fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) client: &'static str,
    /// Empty for all.
    pub(crate) method: &'static str,
    /// Part of the path.
    pub(crate) path: &'static str,
    pub(crate) fault: Fault,
    /// How many are left.
    pub(crate) times: usize,
}

/// One who asks.
#[derive(Clone)]
struct Caller {
    client: &'static str,
    world: Arc<World>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let kinds = KINDS
            .iter()
            .map(|(version, kind)| ((*version).to_owned(), (*kind).to_owned()));
        let state = Objects {
            kinds: kinds.collect(),
            version: 10,
            ..Objects::default()
        };
        let world = Arc::new(World {
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        });
        Self { world }
    }

    /// Serves on a socket.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = self.router("");
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        addr
    }

    /// A client without a socket, whose requests rules find by its name.
    pub(crate) fn client(&self, name: &'static str) -> kube::Client {
        kube::Client::new(self.router(name), "default")
    }

    fn router(&self, client: &'static str) -> Router {
        let world = self.world.clone();
        Router::new().fallback(answer).with_state(Caller { client, world })
    }

    fn change(&self, change: impl FnOnce(&mut Objects)) {
        change(&mut self.world.state.lock());
        self.world.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn put(&self, kind: &str, object: Value) {
        self.change(|state| {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            state.put((kind.to_owned(), name), object);
        });
    }

    pub(crate) fn delete(&self, kind: &str, name: &str) {
        self.change(|state| {
            state.version += 1;
            let object = state.objects.remove(&(kind.to_owned(), name.to_owned())).unwrap();
            let event = json!({"type": "DELETED", "object": object});
            state.log.push((state.version, kind.to_owned(), event));
        });
    }

    /// The past is forgotten: watches from before must start over.
    pub(crate) fn compact(&self) {
        self.change(|state| state.compacted = state.version);
    }

    /// All watches end.
    pub(crate) fn cut(&self) {
        self.change(|state| state.epoch += 1);
    }

    /// A kind, by its name with group.
    pub(crate) fn install(&self, version: &str, kind: &str) {
        self.change(|state| {
            let kind = (version.to_owned(), kind.to_owned());
            if !state.kinds.contains(&kind) {
                state.kinds.push(kind);
            }
        });
    }

    pub(crate) fn down(&self) {
        self.change(|state| {
            state.down = true;
            state.epoch += 1;
        });
    }

    pub(crate) fn up(&self) {
        self.change(|state| state.down = false);
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
        self.wait(|state| (state.probes >= times).then_some(())).await;
    }

    /// Waits until so many requests were to change something.
    pub(crate) async fn written(&self, times: usize) {
        self.wait(|state| (state.writes.len() >= times).then_some(())).await;
    }

    /// Waits for an object that fits.
    pub(crate) async fn until(&self, kind: &str, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let id = (kind.to_owned(), name.to_owned());
        self.wait(|state| state.objects.get(&id).filter(|object| fits(object)).cloned())
            .await
    }

    async fn wait<T>(&self, found: impl Fn(&Objects) -> Option<T>) -> T {
        let mut changes = self.world.changes.subscribe();
        loop {
            let found = found(&self.world.state.lock());
            if let Some(found) = found {
                return found;
            }
            changes.changed().await.unwrap();
        }
    }

    /// From now on requests fail in this way, the first rule that fits counts.
    pub(crate) fn fail(&self, rule: Rule) {
        self.world.state.lock().rules.push(rule);
    }

    /// No request of a client fails any more.
    pub(crate) fn mend(&self, client: &str) {
        self.world.state.lock().rules.retain(|rule| rule.client != client);
    }

    /// All requests so far that were to change something.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.world.state.lock().writes.clone()
    }

    /// The kinds that were listed, and how often a watch of each was told that it is too old.
    pub(crate) fn listed(&self) -> BTreeMap<String, u64> {
        self.world.state.lock().listed.clone()
    }
}

// === impl Objects ===

impl Objects {
    /// Stores an object under a new version, and tells the watches.
    fn put(&mut self, id: Id, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let kind = id.0.clone();
        let known = self.objects.insert(id, object.clone()).is_some();
        let event = json!({"type": if known { "MODIFIED" } else { "ADDED" }, "object": object});
        self.log.push((self.version, kind, event));
        object
    }

    /// What goes wrong with a request.
    fn fault(&mut self, client: &str, method: &Method, path: &str) -> Option<Fault> {
        let fits = |rule: &&mut Rule| {
            let method = rule.method.is_empty() || rule.method == method.as_str();
            rule.client == client && method && path.contains(rule.path) && rule.times > 0
        };
        let rule = self.rules.iter_mut().find(fits)?;
        rule.times -= 1;
        Some(rule.fault)
    }
}

async fn answer(
    State(caller): State<Caller>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    body: Bytes,
) -> Response {
    let fault = caller.world.state.lock().fault(caller.client, &method, uri.path());
    if fault == Some(Fault::Hang) {
        return std::future::pending().await;
    }
    let response = if method == Method::GET {
        match fault {
            Some(Fault::Refuse(status)) => failure(status),
            _ => read::answer(&caller.world, uri.path(), &query),
        }
    } else {
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        let response = write::answer(&caller, &method, uri.path(), body, fault);
        caller.world.changes.send_modify(|count| *count += 1);
        response
    };
    match fault {
        Some(Fault::LoseAnswer) => std::future::pending().await,
        Some(Fault::SlowAnswer(time)) => tokio::time::sleep(time).await,
        Some(Fault::Refuse(_) | Fault::Hang | Fault::Overtake) | None => {}
    }
    response
}

fn failure(code: u16) -> Response {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "scripted", "reason": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}

/// The kind of a path (`plural.group`) and what follows: the name of an object, and a part of it.
fn target(path: &str) -> Option<(String, Vec<&str>)> {
    let mut parts = path.trim_matches('/').split('/');
    let group = match parts.next()? {
        "api" => "",
        _ => parts.next()?,
    };
    let _version = parts.next()?;
    let mut rest: Vec<&str> = parts.collect();
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    let plural = (!rest.is_empty()).then(|| rest.remove(0))?;
    let kind = if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    };
    Some((kind, rest))
}
