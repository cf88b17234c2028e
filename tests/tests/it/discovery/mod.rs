//! A proxy and a control plane that refuses, delays and leaves out: nothing that was closed is open meanwhile.

mod config;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weft_proto::ads::Kind;

use self::config::{bootstrap, listener, manager, open, strict, typed};
use crate::support::ads::Ads;
use crate::support::mesh::get;
use crate::support::process::Process;
use crate::support::{ports, weft};

const LIMIT: Duration = Duration::from_secs(20);

/// A proxy, the service that it follows, and the address of its listener.
struct Scene {
    ads: Ads,
    proxy: Process,
    admin: SocketAddr,
    listen: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn start() -> Result<Self> {
        let ads = Ads::start().await?;
        let (admin, listen) = (ports::free()?, ports::free()?);
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("bootstrap.json");
        std::fs::write(&file, bootstrap(ads.address, admin).to_string())?;
        let mut proxy = weft::start(&file, dir.path())?;
        let listening = || async { TcpStream::connect(admin).await.is_ok() };
        proxy.wait_until("the admin page", LIMIT, listening).await?;
        Ok(Self {
            ads,
            proxy,
            admin,
            listen,
            _dir: dir,
        })
    }

    async fn is_ready(&self) -> Result<bool> {
        Ok(get(self.admin, "/ready", "localhost").await?.status() == 200)
    }

    /// Sends resources that are taken.
    async fn give(&mut self, kind: Kind, resources: &[Value]) -> Result<()> {
        let refused = self.ads.send(kind, resources).await?;
        ensure!(refused.is_none(), "{refused:?}");
        Ok(())
    }

    /// Whether a request in plaintext is answered.
    async fn answers_plaintext(&self) -> Result<bool> {
        let Ok(mut stream) = TcpStream::connect(self.listen).await else {
            return Ok(false);
        };
        // A peer that closes while this is written is seen below.
        let _ = stream
            .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .await;
        let mut answer = Vec::new();
        // One that waits for a handshake says nothing.
        let _ = tokio::time::timeout(Duration::from_millis(300), stream.read_to_end(&mut answer)).await;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    }

    async fn stop(self) -> Result<()> {
        self.proxy.stop(LIMIT).await
    }
}

/// STRICT versions of a listener, each with what of it is refused.
fn refused_versions(at: SocketAddr) -> Vec<(&'static str, Value)> {
    let nothing = json!({});
    let usual = || strict(&nothing, &nothing, &nothing);
    let bad_log = json!([typed(
        "log",
        "extensions.access_loggers.stream.v3.StdoutAccessLog",
        json!({"log_format": {"text_format_source": {"inline_string": "%NO_SUCH_THING%"}}})
    )]);
    let router = typed("router", "extensions.filters.http.router.v3.Router", json!({}));
    let unknown = typed("x", "extensions.filters.http.lua.v3.Lua", json!({}));
    let mut named = usual();
    named["filter_chain_match"] = json!({"server_names": ["x*.example.com"]});
    vec![
        ("freebind", listener(at, &[usual()], &json!({"freebind": true}))),
        ("access_log", listener(at, &[usual()], &json!({"access_log": bad_log}))),
        (
            "listener_filters",
            listener(at, &[usual()], &json!({"listener_filters": [router]})),
        ),
        (
            "transport_socket_connect_timeout",
            listener(
                at,
                &[strict(
                    &nothing,
                    &nothing,
                    &json!({"transport_socket_connect_timeout": "-1s"}),
                )],
                &nothing,
            ),
        ),
        (
            "ocsp_staple_policy",
            listener(
                at,
                &[strict(
                    &nothing,
                    &json!({"ocsp_staple_policy": "MUST_STAPLE"}),
                    &nothing,
                )],
                &nothing,
            ),
        ),
        (
            "access_log",
            listener(
                at,
                &[strict(&json!({"access_log": bad_log}), &nothing, &nothing)],
                &nothing,
            ),
        ),
        (
            "append_x_forwarded_port",
            listener(
                at,
                &[strict(&json!({"append_x_forwarded_port": true}), &nothing, &nothing)],
                &nothing,
            ),
        ),
        (
            "http_filters",
            listener(
                at,
                &[strict(&json!({"http_filters": [unknown, router]}), &nothing, &nothing)],
                &nothing,
            ),
        ),
        (
            "route_config",
            listener(
                at,
                &[strict(
                    &json!({"route_config": {"name": "r", "validate_clusters": true}}),
                    &nothing,
                    &nothing,
                )],
                &nothing,
            ),
        ),
        ("server_names", listener(at, &[usual(), named], &nothing)),
        ("the same match", listener(at, &[usual(), open()], &nothing)),
    ]
}

/// A listener becomes STRICT in the same version in which something of it is refused: plaintext is let in no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_waits_for_nothing_that_is_refused() -> Result<()> {
    let mut scene = Scene::start().await?;
    let at = scene.listen;
    let nothing = json!({});
    scene.give(Kind::Cluster, &[]).await?;
    for (place, version) in refused_versions(at) {
        scene.give(Kind::Listener, &[listener(at, &[open()], &nothing)]).await?;
        ensure!(scene.answers_plaintext().await?, "it is open");
        let said = scene.ads.send(Kind::Listener, &[version]).await?;
        let said = said.with_context(|| format!("{place} should be refused"))?;
        ensure!(said.contains(place), "{said} should name {place}");
        ensure!(!scene.answers_plaintext().await?, "{place}: plaintext is let in");
    }
    // Neither does it wait for routes that never come.
    scene.give(Kind::Listener, &[listener(at, &[open()], &nothing)]).await?;
    ensure!(scene.answers_plaintext().await?, "it is open");
    let rds = json!({"route_config": null, "rds": {"route_config_name": "never",
        "config_source": {"ads": {}, "resource_api_version": "V3"}}});
    let waits = listener(at, &[strict(&rds, &nothing, &nothing)], &nothing);
    scene.give(Kind::Listener, &[waits]).await?;
    ensure!(
        !scene.answers_plaintext().await?,
        "plaintext is let in until routes come"
    );
    scene.stop().await
}

/// A client that keeps its connection in plaintext is answered once more, as its request may be on its way, and has to come anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_ends_connections_in_plaintext() -> Result<()> {
    let mut scene = Scene::start().await?;
    let nothing = json!({});
    scene.give(Kind::Cluster, &[]).await?;
    // Other changes end no connection.
    for (chain, closes) in [
        (json!({"filters": [manager(&json!({"via": "x"}))]}), false),
        (strict(&nothing, &nothing, &nothing), true),
    ] {
        scene
            .give(Kind::Listener, &[listener(scene.listen, &[open()], &nothing)])
            .await?;
        let mut stream = TcpStream::connect(scene.listen).await?;
        let first = exchange(&mut stream).await?;
        ensure!(
            first.starts_with("HTTP/1.1 200") && !first.contains("connection: close"),
            "{first}"
        );
        scene
            .give(Kind::Listener, &[listener(scene.listen, &[chain], &nothing)])
            .await?;
        let second = exchange(&mut stream).await?;
        ensure!(second.starts_with("HTTP/1.1 200"), "{second}");
        ensure!(second.contains("connection: close") == closes, "{second}");
        if closes {
            let mut rest = Vec::new();
            tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest))
                .await
                .context("it stays open")??;
        }
    }
    // Over HTTP/2 a frame says it.
    let only_open = listener(scene.listen, &[open()], &nothing);
    scene.give(Kind::Listener, &[only_open]).await?;
    let stream = TokioIo::new(TcpStream::connect(scene.listen).await?);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let request = || hyper::Request::get("http://h/").body(Empty::<Bytes>::new());
    ensure!(sender.send_request(request()?).await?.status() == 200);
    let chain = strict(&nothing, &nothing, &nothing);
    scene
        .give(Kind::Listener, &[listener(scene.listen, &[chain], &nothing)])
        .await?;
    ensure!(sender.send_request(request()?).await?.status() == 200);
    let ended = tokio::time::timeout(LIMIT, connections.join_next()).await;
    ended.context("it stays open")?.context("it was there")???;
    scene.stop().await
}

/// A request on a connection that is kept, and the head of its answer.
async fn exchange(stream: &mut TcpStream) -> Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    let mut answer = Vec::new();
    let reading = async {
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, reading).await.context("no answer")??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Answers that come late and in pieces: the proxy is ready when all that they name is in use, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_is_when_all_is_there() -> Result<()> {
    let mut scene = Scene::start().await?;
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    let cluster =
        json!({"name": "c", "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": ads}});
    let rds = json!({"route_config": null, "rds": {"route_config_name": "r", "config_source": ads}});
    let chain = json!({"filters": [manager(&rds)]});
    let later = ports::free()?;
    let mut second = listener(later, &[open()], &json!({}));
    second["name"] = "second".into();
    let routes = json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]});
    let endpoints = json!({"cluster_name": "c"});
    for (kind, piece) in [
        (Kind::Cluster, cluster),
        (Kind::Listener, listener(scene.listen, &[chain], &json!({}))),
        (Kind::Listener, second),
        (Kind::Endpoints, endpoints),
        (Kind::Routes, routes),
    ] {
        ensure!(!scene.is_ready().await?, "it is not ready before {kind:?}");
        scene.give(kind, &[piece]).await?;
    }
    let begun = Instant::now();
    while !scene.is_ready().await? {
        ensure!(begun.elapsed() < Duration::from_secs(5), "it does not get ready");
    }
    ensure!(scene.answers_plaintext().await?, "ready and silent");
    ensure!(TcpStream::connect(later).await.is_ok(), "ready without a listener");
    scene.stop().await
}

/// Secrets that never come hold readiness back for a while; plaintext is not let in, before and after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_secrets_never_let_plaintext_in() -> Result<()> {
    let mut scene = Scene::start().await?;
    let nothing = json!({});
    scene.give(Kind::Cluster, &[]).await?;
    let begun = Instant::now();
    let chain = strict(&nothing, &nothing, &nothing);
    scene
        .give(Kind::Listener, &[listener(scene.listen, &[chain], &nothing)])
        .await?;
    while !scene.is_ready().await? {
        ensure!(!scene.answers_plaintext().await?, "plaintext is let in");
        ensure!(begun.elapsed() < Duration::from_secs(25), "it does not get ready");
    }
    ensure!(
        begun.elapsed() > Duration::from_secs(14),
        "it is ready after {:?}",
        begun.elapsed()
    );
    ensure!(!scene.answers_plaintext().await?, "plaintext is let in");
    scene.stop().await
}
