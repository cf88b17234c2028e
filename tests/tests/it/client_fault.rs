//! A client's fault stays the client's: a body that breaks off or is malformed is never completed, never tried again and never counts
//! against the endpoint. Envoy is asked the same and logs the same.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::bootstrap::{cluster, http_listener, socket};
use crate::support::process::Process;
use crate::support::{envoy, ports, weft};

const LIMIT: Duration = Duration::from_secs(20);

/// What the client does once the endpoint has the beginning of its body.
#[derive(Clone, Copy)]
enum Then {
    Send(&'static [u8]),
    Close,
    /// Closes with a reset.
    Reset,
}

/// Path, what is sent at first, and what then.
const FAULTS: &[(&str, &[u8], Then)] = &[
    ("/size", CHUNKED, Then::Send(b"xyz\r\n")),
    ("/chunk-closed", CHUNKED, Then::Send(b"5\r\nab")),
    ("/chunked-closed", CHUNKED, Then::Close),
    ("/chunked-reset", CHUNKED, Then::Reset),
    ("/length-closed", b"content-length: 10\r\n\r\nhello", Then::Close),
    ("/length-reset", b"content-length: 10\r\n\r\nhello", Then::Reset),
];

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";

/// The same over HTTP/2: the frames behind the head of stream 1, the second of them once the endpoint has the first.
const HTTP2_FAULTS: &[(&str, &[u8])] = &[
    // RST_STREAM, CANCEL.
    ("/cancelled", b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"),
    // DATA with END_STREAM, five bytes short of what was announced.
    ("/short", b"\x00\x00\x00\x00\x01\x00\x00\x00\x01"),
    // DATA, more than was announced.
    ("/long", b"\x00\x00\x06\x00\x01\x00\x00\x00\x01abcdef"),
];

/// A server that tells heads, beginnings of bodies, and whole messages apart.
struct Recorder {
    address: SocketAddr,
    seen: watch::Sender<Vec<String>>,
    _tasks: JoinSet<()>,
}

// === impl Recorder ===

impl Recorder {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = watch::Sender::new(Vec::new());
        let told = seen.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let told = told.clone();
                connections.spawn(async move {
                    // It ends with its connection, which the proxy closes when it likes.
                    let _ = record(socket, &told).await;
                });
            }
        });
        Ok(Self {
            address,
            seen,
            _tasks: tasks,
        })
    }

    async fn until(&self, event: &str) -> Result<()> {
        let mut seen = self.seen.subscribe();
        let there = seen.wait_for(|seen| seen.iter().any(|seen| seen == event));
        let there = tokio::time::timeout(LIMIT, there).await;
        there.with_context(|| format!("the endpoint has not seen {event:?}"))??;
        Ok(())
    }
}

async fn record(mut socket: TcpStream, seen: &watch::Sender<Vec<String>>) -> Result<()> {
    let mut read = Vec::new();
    let tell = |event: String| seen.send_modify(|seen| seen.push(event));
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            ensure!(socket.read_buf(&mut read).await? > 0, "closed");
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        read.drain(..end + 4);
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        tell(format!("head {path}"));
        let is_whole = |read: &[u8]| {
            let chunked = head.contains("transfer-encoding: chunked");
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            (chunked && read.ends_with(b"0\r\n\r\n")) || (!chunked && read.len() >= length.unwrap_or(0))
        };
        // The end of `hello`, in however many chunks it comes.
        let mut is_told = false;
        while !is_whole(&read) {
            if !is_told && read.contains(&b'o') {
                is_told = true;
                tell(format!("part {path}"));
            }
            ensure!(socket.read_buf(&mut read).await? > 0, "closed");
        }
        tell(format!("whole {path}"));
        read.clear();
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await?;
    }
}

fn bootstrap(admin: SocketAddr, front: SocketAddr, backend: SocketAddr, log: &std::path::Path) -> Value {
    let retries = json!({"retry_on": "5xx,reset,gateway-error", "num_retries": 2});
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "a", "retry_policy": retries}}]);
    let mut listener = http_listener("front", front, &routes);
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let line = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%\n";
    manager["access_log"] = json!([{"name": "envoy.access_loggers.file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": log, "log_format": {"text_format_source": {"inline_string": line}}}}]);
    let mut cluster = cluster("a", backend);
    cluster["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
    cluster["outlier_detection"] =
        json!({"consecutive_5xx": 1, "max_ejection_percent": 100, "base_ejection_time": "600s"});
    json!({
        "admin": {"address": socket(admin)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    })
}

/// The status of a request without a body.
async fn get(to: SocketAddr, path: &str) -> Result<String> {
    let mut socket = TcpStream::connect(to).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, socket.read_to_end(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok(answer.split(' ').nth(1).unwrap_or("none").to_owned())
}

/// Commits the fault and waits until the proxy has done with it.
async fn commit(to: SocketAddr, recorder: &Recorder, path: &str, first: &[u8], then: Then) -> Result<String> {
    let mut socket = TcpStream::connect(to).await?;
    socket
        .write_all(format!("POST {path} HTTP/1.1\r\nhost: e\r\n").as_bytes())
        .await?;
    socket.write_all(first).await?;
    recorder.until(&format!("part {path}")).await?;
    match then {
        Then::Send(bytes) => {
            socket.write_all(bytes).await?;
            if path.ends_with("closed") {
                return Ok("closed".to_owned());
            }
            let mut answer = Vec::new();
            tokio::time::timeout(LIMIT, socket.read_to_end(&mut answer)).await??;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            Ok(answer.split(' ').nth(1).unwrap_or("none").to_owned())
        }
        Then::Close => Ok("closed".to_owned()),
        Then::Reset => {
            socket.set_zero_linger()?;
            Ok("reset".to_owned())
        }
    }
}

/// The same over HTTP/2. What comes back is not read: the upstream and the log tell all.
async fn commit_http2(to: SocketAddr, recorder: &Recorder, path: &str, then: &[u8]) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(to).await?;
    // POST, http, and literals without indexing (RFC 7541, section 6.2.2).
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x01e\x0f\x0d\x0210");
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00".to_vec();
    bytes.extend_from_slice(&[block.len() as u8, 1, 4, 0, 0, 0, 1]);
    bytes.extend_from_slice(&block);
    bytes.extend_from_slice(b"\x00\x00\x05\x00\x00\x00\x00\x00\x01hello");
    socket.write_all(&bytes).await?;
    recorder.until(&format!("part {path}")).await?;
    socket.write_all(then).await?;
    Ok(socket)
}

/// What was seen of all faults through one proxy.
async fn run(
    start: impl Fn(&std::path::Path, &std::path::Path) -> Result<Process>,
    http2: bool,
) -> Result<Vec<String>> {
    let dir = tempfile::tempdir()?;
    let recorder = Recorder::start().await?;
    let (admin, front) = (ports::free()?, ports::free()?);
    let (file, log) = (dir.path().join("bootstrap.json"), dir.path().join("access.log"));
    std::fs::write(&file, bootstrap(admin, front, recorder.address, &log).to_string())?;
    let mut proxy = start(&file, dir.path())?;
    let ready = || async { get(admin, "/ready").await.is_ok_and(|status| status == "200") };
    proxy.wait_until("readiness", LIMIT, ready).await?;
    let mut told = Vec::new();
    for (path, first, then) in FAULTS.iter().filter(|_| !http2) {
        told.push(format!(
            "{path} {}",
            commit(front, &recorder, path, first, *then).await?
        ));
        told.push(format!("{path} then {}", get(front, "/good").await?));
    }
    let mut open = Vec::new();
    for (path, then) in HTTP2_FAULTS.iter().filter(|_| http2) {
        open.push(commit_http2(front, &recorder, path, then).await?);
        told.push(format!("{path} then {}", get(front, "/good").await?));
    }
    drop(open);
    proxy.stop(LIMIT).await?;
    let seen = recorder.seen.borrow().clone();
    told.extend(
        seen.into_iter()
            .filter(|event| !event.ends_with("/good"))
            .map(|event| format!("upstream: {event}")),
    );
    let lines = std::fs::read_to_string(&log)?;
    // Who is gone is noticed when it is: lines of several clients come in any order.
    let mut lines: Vec<String> = lines
        .lines()
        .filter(|line| !line.contains("/good"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    told.extend(lines.into_iter().map(|line| format!("log: {line}")));
    Ok(told)
}

/// What no proxy may do with these faults.
fn check(told: &[String], faults: usize) {
    let count = |wanted: &str| told.iter().filter(|line| line.contains(wanted)).count();
    assert_eq!(count("upstream: whole"), 0, "completed: {told:#?}");
    assert_eq!(count("upstream: head"), faults, "tried again: {told:#?}");
    assert_eq!(count("then 200"), faults, "the endpoint was ejected: {told:#?}");
}

#[tokio::test]
async fn broken_bodies_over_http1_are_as_with_envoy() -> Result<()> {
    let envoys = run(envoy::start, false).await.context("envoy")?;
    let ours = run(weft::start, false).await.context("weft-proxy")?;
    check(&ours, FAULTS.len());
    assert_eq!(ours, envoys);
    Ok(())
}

#[tokio::test]
async fn broken_bodies_over_http2_are_nobody_elses_fault() -> Result<()> {
    let ours = run(weft::start, true).await?;
    check(&ours, HTTP2_FAULTS.len());
    Ok(())
}
