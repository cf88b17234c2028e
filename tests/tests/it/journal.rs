//! What becomes of one request, as the proxy says it: only of those that are asked for, with the reason of what went wrong.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::bootstrap::{cluster, http_listener, socket};
use crate::support::client::{Http1, RawRequest};
use crate::support::process::Process;
use crate::support::wire::Message;
use crate::support::{ports, weft};

const LIMIT: Duration = Duration::from_secs(20);

/// Two listeners with the same routes, and one whose only chain takes nobody.
struct Stage {
    proxy: Process,
    _backend: Backend,
    admin: SocketAddr,
    front: SocketAddr,
    side: SocketAddr,
    shut: SocketAddr,
}

fn bootstrap(admin: SocketAddr, [front, side, shut]: [SocketAddr; 3], backend: SocketAddr) -> Value {
    let routes = json!([
        {"name": "to-a", "match": {"prefix": "/a"}, "route": {"cluster": "a", "retry_policy": {"retry_on": "5xx", "num_retries": 1}}},
        {"name": "to-empty", "match": {"prefix": "/empty"}, "route": {"cluster": "empty"}},
        {"name": "direct", "match": {"prefix": "/direct"}, "direct_response": {"status": 418}},
        {"name": "moved", "match": {"prefix": "/moved"}, "redirect": {"path_redirect": "/new"}},
    ]);
    let mut empty = cluster("empty", backend);
    empty["load_assignment"]["endpoints"] = json!([]);
    let mut closed = http_listener("shut", shut, &routes);
    closed["filter_chains"][0]["filter_chain_match"] = json!({"destination_port": 1});
    json!({
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": [http_listener("front", front, &routes), http_listener("side", side, &routes), closed],
            "clusters": [cluster("a", backend), empty],
        },
    })
}

// === impl Stage ===

impl Stage {
    async fn start(dir: &Path) -> Result<Self> {
        let backend = Backend::start("a").await?;
        let answers = ["{status: 503}", "{}"].map(serde_saphyr::from_str);
        backend.reset(&answers.into_iter().collect::<Result<Vec<_>, _>>()?);
        let (admin, front, side, shut) = (ports::free()?, ports::free()?, ports::free()?, ports::free()?);
        let file = dir.join("bootstrap.json");
        std::fs::write(
            &file,
            bootstrap(admin, [front, side, shut], backend.address).to_string(),
        )?;
        let mut proxy = weft::start(&file, dir)?;
        let ready = || async {
            ask(admin, "GET /ready", &[])
                .await
                .is_ok_and(|answer| answer.status() == 200)
        };
        proxy.wait_until("readiness", LIMIT, ready).await?;
        Ok(Self {
            proxy,
            _backend: backend,
            admin,
            front,
            side,
            shut,
        })
    }

    /// Asks for `/logging` and gives what it says.
    async fn logging(&self, query: &str) -> Result<String> {
        let page = ask(self.admin, &format!("POST /logging?{query}"), &[]).await?;
        let text = String::from_utf8_lossy(&page.body).into_owned();
        ensure!(page.status() == 200, "{query}: {}\n{text}", page.start);
        Ok(text)
    }

    /// What journals have said so far.
    fn said(&self) -> Vec<String> {
        let log = self.proxy.log();
        let said = log.lines().filter(|line| line.contains(" weft_proxy::journal: "));
        said.map(str::to_owned).collect()
    }

    /// Sends a request to a listener and waits until its journal is over; gives what it says.
    async fn journal(&mut self, to: SocketAddr, path: &str, id: &str) -> Result<(u16, Vec<String>)> {
        let lines = [format!("x-request-id: {id}"), "x-debug: abc".to_owned()];
        let status = ask(to, &format!("GET {path}"), &lines).await?.status();
        let own = format!("id=\"{id}\"");
        let Self { proxy, .. } = self;
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let log = proxy.log();
            let own: Vec<String> = log
                .lines()
                .filter(|line| line.contains(&own))
                .map(str::to_owned)
                .collect();
            if own.iter().any(|line| line.contains(" over ")) {
                return Ok((status, own));
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "{path}: its journal does not end\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn ask(to: SocketAddr, what: &str, lines: &[String]) -> Result<Message> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let bytes = format!("{what} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n{lines}\r\n");
    let mut connection = Http1::connect(to).await?;
    connection.send(bytes.as_bytes()).await?;
    let request = RawRequest {
        bytes: bytes.as_bytes(),
        then: &[],
        pause: Duration::ZERO,
        until: "",
        limit: LIMIT,
    };
    connection
        .receive(request)
        .await?
        .response
        .with_context(|| format!("no answer to {what}"))
}

/// Every stage is said, in this order.
#[track_caller]
fn check(said: &[String], expected: &[&str]) {
    let mut lines = said.iter();
    for stage in expected {
        assert!(
            lines.any(|line| line.contains(stage)),
            "no {stage:?} in its place in {said:#?}"
        );
    }
}

#[tokio::test]
async fn a_request_that_is_asked_for_says_why_it_went_where_it_went() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut stage = Stage::start(dir.path()).await?;
    let marked = ["x-debug: abc".to_owned()];
    ensure!(ask(stage.front, "GET /empty", &marked).await?.status() == 503);
    let page = stage.logging("header=x-debug:abc&level=debug").await?;
    ensure!(page.contains("header=x-debug:abc level=debug"), "{page}");
    for (path, status, expected) in [
        (
            "/empty?q=1",
            503,
            &[
                "request normalised method=GET host=\"localhost\" path=/empty?q=1",
                "route=\"to-empty\"}: weft_proxy::journal: route found virtual_host=all cluster=\"empty\"",
                "attempt failed reason=\"no_healthy_upstream\"",
                "request fails reason=\"no_healthy_upstream\"",
                "answered status=503",
                "over status=503 flags=UH",
            ][..],
        ),
        (
            "/nothing",
            404,
            &[
                "no route found host=\"localhost\" path=\"/nothing\"",
                "request fails reason=\"route_not_found\"",
                "over status=404 flags=NR",
            ],
        ),
        (
            "/a",
            200,
            &[
                "endpoint chosen attempt=1 endpoint=127.0.0.1",
                "status=503 reused=false",
                "the policy tries again",
                "endpoint chosen attempt=2",
                "status=200",
                "answered status=200 details=\"via_upstream\"",
                "attempts=2",
            ],
        ),
        ("/direct", 418, &["the route answers directly", "answered status=418"]),
        (
            "/moved",
            301,
            &["redirected location=\"http://localhost/new\"", "answered status=301"],
        ),
    ] {
        // One that is not asked for goes the same way before it.
        if path != "/a" {
            let other = ["x-debug: abd".to_owned()];
            ensure!(ask(stage.front, &format!("GET {path}"), &other).await?.status() == status);
        }
        let (got, said) = stage
            .journal(stage.front, path, &format!("asked{}", path.len()))
            .await?;
        ensure!(got == status, "{path}: {got}");
        check(&said, expected);
    }
    let all = stage.said();
    ensure!(all.iter().all(|line| line.contains("id=\"asked")), "{all:#?}");
    stage.proxy.stop(LIMIT).await
}

#[tokio::test]
async fn a_listener_is_switched_on_and_off() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut stage = Stage::start(dir.path()).await?;
    for name in ["front", "shut"] {
        stage.logging(&format!("listener={name}&level=debug")).await?;
    }
    ensure!(ask(stage.side, "GET /direct", &[]).await?.status() == 418);
    ensure!(ask(stage.shut, "GET /direct", &[]).await.is_err());
    stage.journal(stage.front, "/direct", "front").await?;
    let said = stage.said();
    check(
        &said,
        &["listener=\"shut\"", "no filter chain matches", "connection{connection="],
    );
    check(
        &said,
        &[
            "connection accepted",
            "filter chain found",
            "http is served http2=false",
            "over status=418",
        ],
    );
    ensure!(!said.iter().any(|line| line.contains("\"side\"")), "{said:#?}");

    for name in ["front", "shut"] {
        stage.logging(&format!("listener={name}&level=off")).await?;
    }
    let quiet = ["x-request-id: quiet".to_owned()];
    ensure!(ask(stage.front, "GET /direct", &quiet).await?.status() == 418);
    // With everybody's on, both say what they do; the quiet one had no journal.
    let page = stage.logging("level=debug").await?;
    ensure!(!page.contains("switched on"), "{page}");
    stage.journal(stage.side, "/direct", "last").await?;
    let said = stage.said();
    ensure!(!said.iter().any(|line| line.contains("quiet")), "{said:#?}");
    stage.proxy.stop(LIMIT).await
}
