//! What one client sends never becomes another client's request or answer: each attack is followed by a second client, and the upstream
//! tells what has reached it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::bootstrap::{cluster, http_listener, socket};
use crate::support::{ports, weft};

const LIMIT: Duration = Duration::from_secs(20);

/// A server that believes every head: what follows it is the next one, but for the body that it announces.
struct Believer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

// === impl Believer ===

impl Believer {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = seen.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let told = told.clone();
                connections.spawn(async move {
                    // It ends with its connection, which the proxy closes when it likes.
                    let _ = serve(socket, &told).await;
                });
            }
        });
        Ok(Self {
            address,
            seen,
            _tasks: tasks,
        })
    }
}

async fn serve(socket: TcpStream, seen: &Mutex<Vec<String>>) -> Result<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(socket.read_until(b'\n', &mut head).await? > 0, "closed");
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(Ok(0), str::parse)?];
        if path == "/early" {
            seen.lock().push(format!("{path} unread"));
            let answer = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";
            socket.write_all(answer.as_bytes()).await?;
            // Whoever is lent this connection waits in vain.
            tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
            return Ok(());
        }
        socket.read_exact(&mut body).await?;
        if head.contains("transfer-encoding: chunked") {
            loop {
                let mut line = String::new();
                ensure!(socket.read_line(&mut line).await? > 0, "closed");
                let bytes = usize::from_str_radix(line.trim(), 16)?;
                let mut chunk = vec![0; bytes + 2];
                socket.read_exact(&mut chunk).await?;
                if bytes == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..bytes]);
            }
        }
        seen.lock().push(format!("{path} {}", body.len()));
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
        if path == "/surplus" {
            answer.push_str("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison");
        }
        socket.write_all(answer.as_bytes()).await?;
    }
}

fn bootstrap(admin: SocketAddr, front: SocketAddr, backend: SocketAddr) -> Value {
    let retries = json!({"retry_on": "5xx,reset,gateway-error", "num_retries": 2});
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "a", "retry_policy": retries}}]);
    let mut listener = http_listener("front", front, &routes);
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
    json!({
        "admin": {"address": socket(admin)},
        "static_resources": {"listeners": [listener], "clusters": [cluster("a", backend)]},
    })
}

/// Sends `bytes` and reads the head of an answer, and the body that it announces.
async fn ask(to: SocketAddr, bytes: &str) -> Result<(TcpStream, String)> {
    let mut socket = TcpStream::connect(to).await?;
    socket.write_all(bytes.as_bytes()).await?;
    let mut reader = BufReader::new(&mut socket);
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let read = tokio::time::timeout(LIMIT, reader.read_until(b'\n', &mut answer)).await;
        ensure!(read.context("no answer in time")?? > 0, "closed before an answer");
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(Ok(0), str::parse)?];
    reader.read_exact(&mut body).await?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    let said = format!("{status} {}", String::from_utf8_lossy(&body));
    Ok((socket, said.trim_end().to_owned()))
}

/// Attacks, what their sender is answered, and what of them the upstream takes for requests, with the bytes of their bodies.
const ATTACKS: &[(&str, &str, &[&str])] = &[
    (
        "GET /ws HTTP/1.1\r\nhost: e\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 33\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
        "200 /ws",
        &["/ws 33"],
    ),
    (
        "GET /ws HTTP/1.1\r\nhost: e\r\nconnection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nGET\r\n0\r\n\r\n",
        "200 /ws",
        &["/ws 3"],
    ),
    (
        "POST /early HTTP/1.1\r\nhost: e\r\ncontent-length: 1000\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
        "413",
        &["/early unread"],
    ),
    (
        "POST /broken HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        "400 Bad Request",
        &[],
    ),
    (
        "POST /both HTTP/1.1\r\nhost: e\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        "400 Bad Request",
        &[],
    ),
    (
        "GET /surplus HTTP/1.1\r\nhost: e\r\n\r\n",
        "200 /surplus",
        &["/surplus 0"],
    ),
];

#[tokio::test]
async fn a_second_client_gets_its_own_answer() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let believer = Believer::start().await?;
    let (admin, front) = (ports::free()?, ports::free()?);
    let file = dir.path().join("bootstrap.json");
    std::fs::write(&file, bootstrap(admin, front, believer.address).to_string())?;
    let mut proxy = weft::start(&file, dir.path())?;
    let ready = || async {
        let answer = ask(admin, "GET /ready HTTP/1.1\r\nhost: e\r\n\r\n").await;
        answer.is_ok_and(|(_, said)| said.starts_with("200"))
    };
    proxy.wait_until("readiness", LIMIT, ready).await?;
    for (attack, answer, reached) in ATTACKS {
        let (first, said) = ask(front, attack).await.with_context(|| format!("{attack:?}"))?;
        ensure!(said == *answer, "{attack:?}: answered {said:?}");
        for path in ["/second", "/third"] {
            let (_, said) = ask(front, &format!("GET {path} HTTP/1.1\r\nhost: e\r\n\r\n")).await?;
            ensure!(
                said == format!("200 {path}"),
                "{attack:?}: {path} was answered {said:?}"
            );
        }
        drop(first);
        let seen = std::mem::take(&mut *believer.seen.lock());
        let of_attack: Vec<&str> = seen
            .iter()
            .map(String::as_str)
            .filter(|message| !["/second 0", "/third 0"].contains(message))
            .collect();
        ensure!(of_attack == *reached, "{attack:?}: the upstream got {seen:?}");
    }
    proxy.stop(LIMIT).await
}
