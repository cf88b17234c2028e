//! Bodies that are much larger than the proxy's memory: they pass, and the proxy holds no more of them than its buffers and windows.
//!
//! `WEFT_LARGE_BODY_MIB` is their size in MiB; 10240 makes them 10 GiB.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::bootstrap::{bootstrap, cluster, http_listener, http2_cluster, tcp_listener};
use crate::support::ports;
use crate::support::process::Process;
use crate::support::weft;

const LIMIT: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;
const CHUNK: &[u8] = &[0; 64 << 10];

/// Most that the proxy may grow by while a body passes: windows of HTTP/2 on both sides, and some.
const GROWTH_MIB: u64 = 56;

type Stream = UnsyncBoxBody<Bytes, Infallible>;

fn body_bytes() -> Result<u64> {
    let mib = std::env::var("WEFT_LARGE_BODY_MIB").map_or(Ok(256), |text| text.parse());
    Ok(mib.context("WEFT_LARGE_BODY_MIB is not a number")? * MIB)
}

/// Zeros, made as they are asked for and counted in `made`.
fn zeros(bytes: u64, made: Arc<AtomicU64>) -> Stream {
    let chunks = bytes / CHUNK.len() as u64;
    let frames = (0..chunks).map(move |_| {
        made.fetch_add(CHUNK.len() as u64, Ordering::Relaxed);
        Ok(Frame::data(Bytes::from_static(CHUNK)))
    });
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

async fn count(mut body: impl Body<Data = Bytes, Error = hyper::Error> + Unpin) -> Result<u64> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

/// Takes any body and says how long it was; for an empty one it sends zeros, as many as the path says.
async fn answer(request: Request<Incoming>, made: Arc<AtomicU64>) -> Result<Response<Stream>> {
    let asked = request.uri().path().trim_start_matches("/zeros/").parse();
    let got = count(request.into_body()).await?;
    Ok(match asked {
        Ok(bytes) => Response::new(zeros(bytes, made)),
        Err(_) => {
            let text = Bytes::from(got.to_string());
            let frame = stream::iter([Ok(Frame::data(text))]);
            Response::new(StreamBody::new(frame).boxed_unsync())
        }
    })
}

/// A server of HTTP/1.1 and h2c; gives its address and how much of its answers was made.
async fn serve(tasks: &mut JoinSet<()>) -> Result<(SocketAddr, Arc<AtomicU64>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let made = Arc::new(AtomicU64::new(0));
    let counter = made.clone();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let counter = counter.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| answer(request, counter.clone()));
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that goes in the middle is part of the tests.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok((address, made))
}

/// HTTP on one listener, with the upstream's protocol by path, and TCP on another.
fn forwarding(http: SocketAddr, tcp: SocketAddr, upstream: SocketAddr) -> String {
    let routes = json!([
        {"match": {"prefix": "/h2/"}, "route": {"cluster": "h2", "timeout": "0s", "prefix_rewrite": "/"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "h1", "timeout": "0s"}}]);
    let listeners = [http_listener("http", http, &routes), tcp_listener("tcp", tcp, "h1")];
    bootstrap(&listeners, &[cluster("h1", upstream), http2_cluster("h2", upstream)])
}

/// The running parts.
struct Parts {
    proxy: Process,
    http: SocketAddr,
    tcp: SocketAddr,
    made: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Parts {
    async fn start(dir: &Path) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let (upstream, made) = serve(&mut tasks).await?;
        let (http, tcp) = (ports::free()?, ports::free()?);
        let file = dir.join("bootstrap.json");
        std::fs::write(&file, forwarding(http, tcp, upstream))?;
        let mut proxy = weft::start(&file, dir)?;
        let listens = || async { TcpStream::connect(tcp).await.is_ok() };
        proxy.wait_until("its listeners", LIMIT, listens).await?;
        Ok(Self {
            proxy,
            http,
            tcp,
            made,
            _tasks: tasks,
        })
    }

    /// A line of the proxy's `/proc/PID/status`, in KiB.
    fn memory(&self, name: &str) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.proxy.id()?))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let word = line.and_then(|line| line.split_ascii_whitespace().next());
        Ok(word.context("no such line")?.parse()?)
    }

    /// Runs something, and fails if the proxy's memory grows by more than it may at any moment of it.
    async fn flat<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        // The peak starts anew (proc(5), clear_refs).
        std::fs::write(format!("/proc/{}/clear_refs", self.proxy.id()?), "5")?;
        let before = self.memory("VmRSS")?;
        let done = work.await.with_context(|| what.to_owned())?;
        let growth = self.memory("VmHWM")?.saturating_sub(before) / 1024;
        ensure!(growth <= GROWTH_MIB, "{what}: the proxy grew by {growth} MiB");
        Ok(done)
    }
}

/// Sends one request over a connection of its own, which is kept by `tasks`.
async fn send(
    stream: TcpStream,
    http2: bool,
    request: Request<Stream>,
    tasks: &mut JoinSet<()>,
) -> Result<Response<Incoming>> {
    let io = TokioIo::new(stream);
    if http2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tasks.spawn(async move { drop(connection.await) });
        return Ok(sender.send_request(request).await?);
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tasks.spawn(async move { drop(connection.await) });
    Ok(sender.send_request(request).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_pass_in_flat_memory() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let parts = Parts::start(dir.path()).await?;
    let bytes = body_bytes()?;
    for (name, target, http2, prefix) in [
        ("HTTP/1.1", parts.http, false, ""),
        ("HTTP/2", parts.http, true, "/h2"),
        ("HTTP/2 to HTTP/1.1", parts.http, true, ""),
        ("TCP", parts.tcp, false, ""),
    ] {
        let mut tasks = JoinSet::new();
        let upload = async {
            let body = zeros(bytes, Arc::default());
            let request = Request::post(format!("http://x{prefix}/upload"))
                .header("host", "x")
                .body(body)?;
            let answer = send(TcpStream::connect(target).await?, http2, request, &mut tasks).await?;
            let said = answer.into_body().collect().await?.to_bytes();
            ensure!(
                said == bytes.to_string(),
                "{} of {bytes} bytes came",
                String::from_utf8_lossy(&said)
            );
            Ok(())
        };
        parts.flat(&format!("upload, {name}"), upload).await?;
        let download = async {
            let path = format!("http://x{prefix}/zeros/{bytes}");
            let request = Request::get(path).header("host", "x").body(zeros(0, Arc::default()))?;
            let answer = send(TcpStream::connect(target).await?, http2, request, &mut tasks).await?;
            let got = count(answer.into_body()).await?;
            ensure!(got == bytes, "{got} of {bytes} bytes came");
            Ok(())
        };
        parts.flat(&format!("download, {name}"), download).await?;
    }
    parts.proxy.stop(LIMIT).await
}

/// Resolves once a counter stands still.
async fn still(counter: &AtomicU64) -> u64 {
    let mut last = (0, 0);
    loop {
        let now = counter.load(Ordering::Relaxed);
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        if now > 0 && last.1 == 30 {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_its_upstream_and_nobody_else() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let parts = Parts::start(dir.path()).await?;
    let bytes = 256 * MIB;
    for (name, target, prefix) in [
        ("HTTP/1.1", parts.http, ""),
        ("HTTP/1.1 to HTTP/2", parts.http, "/h2"),
        ("TCP", parts.tcp, ""),
    ] {
        parts.made.store(0, Ordering::Relaxed);
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(64 << 10)?;
        let stream = socket.connect(target).await?;
        let mut tasks = JoinSet::new();
        let stalled = async {
            let path = format!("http://x{prefix}/zeros/{bytes}");
            let request = Request::get(path).header("host", "x").body(zeros(0, Arc::default()))?;
            let answer = send(stream, false, request, &mut tasks).await?;
            // The head is here, and nobody reads on.
            let made = still(&parts.made).await / MIB;
            ensure!(made <= GROWTH_MIB, "the upstream has sent {made} MiB that nobody reads");
            let path = format!("http://x{prefix}/zeros/{}", 4 * MIB);
            let request = Request::get(path).header("host", "x").body(zeros(0, Arc::default()))?;
            let other = send(TcpStream::connect(target).await?, false, request, &mut tasks).await?;
            ensure!(count(other.into_body()).await? == 4 * MIB, "another client is held up");
            let got = count(answer.into_body()).await?;
            ensure!(got == bytes, "{got} of {bytes} bytes came once it read");
            Ok(())
        };
        parts.flat(&format!("stalled, {name}"), stalled).await?;
    }
    parts.proxy.stop(LIMIT).await
}
