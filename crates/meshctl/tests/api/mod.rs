//! A small API server: pods and other objects of one mesh, logs, and connections to ports of pods over WebSocket as a kubelet
//! speaks them.

mod objects;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// What a port of a pod answers: a body by path. A pod without the port refuses the connection.
type Pages = BTreeMap<(String, u16), BTreeMap<String, String>>;

/// What the server has.
#[derive(Default)]
pub(crate) struct World {
    /// Minor version of the server's Kubernetes 1; that of today where nothing is said.
    pub(crate) minor: Option<u32>,
    pub(crate) pods: Vec<Value>,
    pub(crate) pages: Pages,
    /// Objects of all other kinds.
    pub(crate) objects: Mutex<Vec<Value>>,
    /// What the user may not do, as `verb plural`.
    pub(crate) forbidden: Vec<&'static str>,
    /// What was changed, as `VERB plural/name`.
    pub(crate) changes: Mutex<Vec<String>>,
}

/// The server and a home directory whose kubeconfig leads to it.
pub(crate) struct Api {
    pub(crate) world: Arc<World>,
    home: tempfile::TempDir,
    tasks: JoinSet<std::io::Result<()>>,
}

// === impl World ===

impl World {
    pub(crate) fn pod(&mut self, namespace: &str, name: &str, labels: Value, containers: &[&str]) {
        let containers: Vec<Value> = containers.iter().map(|name| json!({"name": name})).collect();
        self.pods.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"containers": containers},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }));
    }

    pub(crate) fn object(&mut self, object: Value) {
        self.objects.get_mut().push(object);
    }

    pub(crate) fn page(&mut self, pod: &str, port: u16, path: &str, body: impl ToString) {
        let pages = self.pages.entry((pod.to_owned(), port)).or_default();
        pages.insert(path.to_owned(), body.to_string());
    }
}

// === impl Api ===

impl Api {
    /// Serves until it is dropped.
    pub(crate) async fn start(world: World) -> Self {
        let world = Arc::new(world);
        let pods = "/api/v1/namespaces/{namespace}/pods";
        let router = Router::new()
            .route(pods, get(list_pods))
            .route(&format!("{pods}/{{pod}}/log"), get(log))
            .route(&format!("{pods}/{{pod}}/portforward"), get(forward))
            .fallback(objects::serve)
            .with_state(Arc::clone(&world));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await });
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("kubeconfig"), kubeconfig(address)).unwrap();
        Self { world, home, tasks }
    }

    /// Nobody answers any more.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// A command of meshctl that knows the cluster and no mesh of this machine.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
        command
            .args(words)
            .env_remove("WEFT_STATE_DIR")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env("XDG_STATE_HOME", self.home.path().join("state"))
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::null());
        command
    }

    /// Runs meshctl to its end.
    pub(crate) async fn run(&self, words: &[&str]) -> Output {
        let mut command = self.command(words);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }
}

fn kubeconfig(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "prod"}}],
    })
    .to_string()
}

/// Whether an object has all `key=value` of a selector.
fn fits(object: &Value, query: &BTreeMap<String, String>) -> bool {
    let selector = query.get("labelSelector").map_or("", String::as_str);
    let mut terms = selector.split(',').filter_map(|term| term.split_once('='));
    terms.all(|(key, value)| object["metadata"]["labels"][key] == value)
}

async fn list_pods(
    State(world): State<Arc<World>>,
    Path(namespace): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    let of_namespace = |pod: &&Value| pod["metadata"]["namespace"] == namespace && fits(pod, &query);
    let items: Vec<&Value> = world.pods.iter().filter(of_namespace).collect();
    Json(json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}))
}

/// The log says what was asked for.
async fn log(Path((_, pod)): Path<(String, String)>, Query(query): Query<BTreeMap<String, String>>) -> String {
    let asked: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{pod} {}\nlast line", asked.join(" "))
}

#[expect(clippy::disallowed_methods, reason = "the task ends with its connection")]
async fn forward(
    State(world): State<Arc<World>>,
    Path((_, pod)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    mut request: Request,
) -> Response {
    let port: u16 = query["ports"].parse().unwrap();
    let pages = world.pages.get(&(pod, port)).cloned();
    let key = &request.headers()[header::SEC_WEBSOCKET_KEY];
    let headers = [
        (header::CONNECTION, "upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes())),
        (header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io".to_owned()),
    ];
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgraded.await.unwrap());
        carry(
            WebSocketStream::from_raw_socket(stream, Role::Server, None).await,
            port,
            pages,
        )
        .await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Channel 0 has the bytes, channel 1 the error; the first message of each is the port, least byte first.
async fn carry(mut socket: WebSocket, port: u16, pages: Option<BTreeMap<String, String>>) {
    let [low, high] = port.to_le_bytes();
    for channel in [0, 1] {
        let hello = Bytes::from(vec![channel, low, high]);
        socket.send(Message::Binary(hello)).await.unwrap();
    }
    let Some(pages) = pages else {
        let text = [&[1], format!("connection refused to {port}").as_bytes()].concat();
        socket.send(Message::Binary(text.into())).await.unwrap();
        return close(socket).await;
    };
    let mut request = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        request.extend_from_slice(&bytes[1..]);
        let text = String::from_utf8_lossy(&request);
        if !text.contains("\r\n\r\n") {
            continue;
        }
        let path = text.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match pages.get(path) {
            Some(body) => ("200 OK", body.as_str()),
            None => ("404 Not Found", "no such page"),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        // In pieces, as a network would.
        for piece in [head.as_bytes(), body.as_bytes()] {
            let message = [&[0], piece].concat();
            socket.send(Message::Binary(message.into())).await.unwrap();
        }
        return close(socket).await;
    }
}

/// Closes as a kubelet does, which says so before the connection ends.
async fn close(mut socket: WebSocket) {
    let _ = socket.send(Message::Close(None)).await;
    while let Some(Ok(_)) = socket.next().await {}
}
