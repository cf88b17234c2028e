//! The end of a proxy that clients still come to: they are answered and sent away before its listeners close.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::bootstrap::{bootstrap, cluster, http_listener, http2_cluster, socket};
use crate::support::client::{Http1, RawRequest};
use crate::support::mesh::get as admin_page;
use crate::support::ports;
use crate::support::process::{Process, built};
use crate::support::wire::Message;

const LIMIT: Duration = Duration::from_secs(20);

/// Routes to one upstream, by HTTP/1.1 and by HTTP/2.
fn forwarding(listen: SocketAddr, upstream: SocketAddr) -> String {
    let routes = json!([
        {"match": {"prefix": "/h1"}, "route": {"cluster": "h1"}},
        {"match": {"prefix": "/h2"}, "route": {"cluster": "h2"}}]);
    let clusters = [cluster("h1", upstream), http2_cluster("h2", upstream)];
    bootstrap(&[http_listener("front", listen, &routes)], &clusters)
}

/// A server of HTTP/1.1 and h2c whose answers are empty.
async fn serve(tasks: &mut JoinSet<()>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    serve_on(listener, tasks);
    Ok(address)
}

pub(super) fn serve_on(listener: TcpListener, tasks: &mut JoinSet<()>) {
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let service = service_fn(async |_| Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new())));
                let server = auto::Builder::new(TokioExecutor::new());
                // The proxy closes it when it likes.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

/// Asks, and tells whether the answer ends the connection.
pub(super) async fn get(client: &mut Http1, path: &str) -> Result<bool> {
    let answer = ask(client, path).await?;
    ensure!(answer.status() == 200, "got {answer:?}");
    Ok(answer.header("connection") == Some("close"))
}

pub(super) async fn ask(client: &mut Http1, path: &str) -> Result<Message> {
    let text = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let request = RawRequest {
        bytes: text.as_bytes(),
        then: &[],
        pause: Duration::ZERO,
        until: "",
        limit: LIMIT,
    };
    client.send(request.bytes).await?;
    client.receive(request).await?.response.context("no answer")
}

/// An HTTP/2 client that comes now is answered, and told to go by GOAWAY: its connection ends by itself.
async fn http2_is_served_once(target: SocketAddr) -> Result<()> {
    let io = TokioIo::new(TcpStream::connect(target).await?);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let request = http::Request::get("http://x/").body(Empty::<Bytes>::new())?;
    let answer = tokio::time::timeout(LIMIT, sender.send_request(request)).await??;
    ensure!(answer.status() == 200, "got {}", answer.status());
    drop(answer);
    let ended = tokio::time::timeout(LIMIT, connections.join_next()).await;
    ended
        .context("the connection stays open")?
        .context("no connection")???;
    Ok(())
}

/// A server that takes one upgrade after the other.
fn upgrade_on(listener: TcpListener, tasks: &mut JoinSet<()>) {
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            // A client that has gone is another test's business.
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer).await;
        }
    });
}

/// What an upgraded connection carries is no HTTP any more, so that the proxy's end does not close it.
#[tokio::test]
async fn upgrades_are_made_while_clients_are_sent_away() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut backend = JoinSet::new();
    let (listen, upstream) = (ports::free()?, ports::free()?);
    upgrade_on(TcpListener::bind(upstream).await?, &mut backend);
    let route = json!({"cluster": "a", "upgrade_configs": [{"upgrade_type": "websocket"}]});
    let routes = json!([{"match": {"prefix": "/"}, "route": route}]);
    let file = dir.path().join("bootstrap.json");
    std::fs::write(
        &file,
        bootstrap(&[http_listener("front", listen, &routes)], &[cluster("a", upstream)]),
    )?;
    let mut command = Command::new(built("weft-proxy")?);
    command.args(["run", "--drain-time", "0s", "--minimum-drain-time", "300s", "-c"]);
    let mut proxy = Process::start("weft-proxy", command.arg(&file), dir.path())?;
    let listens = || async { Http1::connect(listen).await.is_ok() };
    proxy.wait_until("its listener", LIMIT, listens).await?;
    proxy.signal("TERM").await?;
    let log = dir.path().join("weft-proxy.log");
    let drains = || async { std::fs::read_to_string(&log).is_ok_and(|log| log.contains("draining")) };
    proxy.wait_until("its drain", LIMIT, drains).await?;
    let mut client = TcpStream::connect(listen).await?;
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    client.write_all(request).await?;
    let mut head = vec![0; 1024];
    let length = tokio::time::timeout(LIMIT, client.read(&mut head)).await??;
    let head = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
    ensure!(
        head.starts_with("http/1.1 101") && head.contains("\r\nconnection: upgrade\r\n"),
        "{head}"
    );
    drop(client);
    proxy.stop(LIMIT).await
}

/// Idle connections to an upstream, over HTTP/1.1 and HTTP/2, do not use up the drain time.
#[tokio::test]
async fn nothing_is_waited_for_that_serves_nobody() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut backend = JoinSet::new();
    let upstream = serve(&mut backend).await?;
    let listen = ports::free()?;
    let file = dir.path().join("bootstrap.json");
    std::fs::write(&file, forwarding(listen, upstream))?;
    let mut command = Command::new(built("weft-proxy")?);
    command.args(["run", "--drain-time", "300s", "-c"]).arg(&file);
    let mut proxy = Process::start("weft-proxy", &mut command, dir.path())?;
    let listens = || async { Http1::connect(listen).await.is_ok() };
    proxy.wait_until("its listener", LIMIT, listens).await?;
    let mut client = Http1::connect(listen).await?;
    for path in ["/h1", "/h2"] {
        get(&mut client, path).await?;
    }
    proxy.stop(LIMIT).await
}

#[tokio::test]
async fn clients_are_served_and_sent_away_until_listeners_close() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let listen = ports::free()?;
    let file = dir.path().join("bootstrap.json");
    let routes = json!([{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]);
    let admin = ports::free()?;
    let mut config: Value = serde_json::from_str(&bootstrap(&[http_listener("front", listen, &routes)], &[]))?;
    config["admin"] = json!({"address": socket(admin)});
    std::fs::write(&file, config.to_string())?;
    let mut command = Command::new(built("weft-proxy")?);
    // Longer than the test may take: the second signal ends it.
    command.args(["run", "--minimum-drain-time", "300s", "-c"]).arg(&file);
    let mut proxy = Process::start("weft-proxy", &mut command, dir.path())?;
    let listens = || async { Http1::connect(listen).await.is_ok() };
    proxy.wait_until("its listener", LIMIT, listens).await?;
    let (mut used, mut unused) = (Http1::connect(listen).await?, Http1::connect(listen).await?);
    ensure!(!get(&mut used, "/").await?, "a connection is closed before the end");

    proxy.signal("TERM").await?;
    let log = dir.path().join("weft-proxy.log");
    let drains = || async { std::fs::read_to_string(&log).is_ok_and(|log| log.contains("draining")) };
    proxy.wait_until("its drain", LIMIT, drains).await?;
    let ready = admin_page(admin, "/ready", "localhost").await?;
    ensure!(ready.status() == 503, "/ready says {} while it drains", ready.start);
    // Idle connections are still good for a request, and so is a new one; each is the last of its connection.
    let mut new = Http1::connect(listen).await?;
    for (name, client) in [("used", &mut used), ("unused", &mut unused), ("new", &mut new)] {
        ensure!(
            get(client, "/").await.context(name)?,
            "the {name} connection is not closed"
        );
    }
    http2_is_served_once(listen).await?;

    proxy.stop(LIMIT).await?;
    ensure!(Http1::connect(listen).await.is_err(), "the listener is still there");
    Ok(())
}
