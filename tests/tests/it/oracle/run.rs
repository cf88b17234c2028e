//! Sends a row's requests through one proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::bootstrap::{self, Addresses};
use super::outcome::{Outcome, Step};
use super::row::{Request, Row};
use crate::support::authz::Authz;
use crate::support::backend::Backend;
use crate::support::client::{self, Exchange, Http1, RawRequest};
use crate::support::http2::{self, RawFields};
use crate::support::process::Process;
use crate::support::wire::{self, Kind};
use crate::support::{envoy, ports, weft};

/// From start to `/ready`.
const START_LIMIT: Duration = Duration::from_secs(20);
/// One exchange; configured timeouts are far below.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Envoy,
    Weft,
}

/// Servers and the proxy of one run.
struct Bench {
    backends: BTreeMap<&'static str, Backend>,
    authz: Authz,
    listener: SocketAddr,
    admin: SocketAddr,
}

/// Starts servers and proxy, sends the requests, ends all, and says what was seen.
pub(crate) async fn run(row: &Row, side: Side) -> Result<Outcome> {
    let dir = tempfile::tempdir()?;
    let (a, b) = (Backend::start("a").await?, Backend::start("b").await?);
    let authz = Authz::start().await?;
    let addresses = Addresses {
        listener: ports::free()?,
        admin: ports::free()?,
        a: a.address,
        b: b.address,
        down: ports::free()?,
        authz: authz.address,
    };
    let access_log = dir.path().join("access.log");
    let config = dir.path().join("bootstrap.json");
    std::fs::write(
        &config,
        serde_json::to_vec_pretty(&bootstrap::bootstrap(row, &addresses, &access_log))?,
    )?;
    let mut proxy = start(side, &config, dir.path())?;
    proxy
        .wait_until("readiness", START_LIMIT, || is_ready(addresses.admin))
        .await?;
    let bench = Bench {
        backends: BTreeMap::from([("a", a), ("b", b)]),
        authz,
        listener: addresses.listener,
        admin: addresses.admin,
    };
    let mut seen = bench.exchange_all(row).await;
    if let Ok(outcome) = &mut seen {
        outcome.stats = stats(addresses.admin, &row.stats).await?;
    }
    let log = proxy.log();
    finish(proxy, seen, &log, &access_log).await
}

fn start(side: Side, config: &std::path::Path, dir: &std::path::Path) -> Result<Process> {
    match side {
        Side::Envoy => envoy::start(config, dir),
        Side::Weft => weft::start(config, dir),
    }
}

/// What a proxy says that ends at once because of its configuration.
pub(crate) async fn refusal(row: &Row, side: Side) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let addresses = Addresses {
        listener: ports::free()?,
        admin: ports::free()?,
        a: ports::free()?,
        b: ports::free()?,
        down: ports::free()?,
        authz: ports::free()?,
    };
    let config = dir.path().join("bootstrap.json");
    let file = bootstrap::bootstrap(row, &addresses, &dir.path().join("access.log"));
    std::fs::write(&config, serde_json::to_vec_pretty(&file)?)?;
    start(side, &config, dir.path())?.failure(START_LIMIT).await
}

/// The statistics of these names, in their order.
async fn stats(admin: SocketAddr, names: &[String]) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut stream = TcpStream::connect(admin).await?;
    stream
        .write_all(b"GET /stats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let response = wire::read(&mut stream, &mut BytesMut::new(), Kind::Response).await?;
    let page = response.context("no statistics")?;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    let value = |name: &String| {
        let found = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        format!("{name}: {}", found.unwrap_or("0"))
    };
    Ok(names.iter().map(value).collect())
}

/// The access log is complete once the proxy has ended. Its lines are sorted: each request has a connection of its own, and
/// which of two connections a proxy ends first is no one's promise.
async fn finish(proxy: Process, seen: Result<Outcome>, log: &str, access_log: &std::path::Path) -> Result<Outcome> {
    let mut outcome = seen.with_context(|| format!("the proxy's log:\n{log}"))?;
    proxy.stop(EXCHANGE_LIMIT).await?;
    let lines = std::fs::read_to_string(access_log).unwrap_or_default();
    outcome.access_log = lines.lines().map(str::to_owned).collect();
    outcome.access_log.sort_unstable();
    Ok(outcome)
}

async fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(admin).await else {
        return false;
    };
    let request = b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let response = wire::read(&mut stream, &mut BytesMut::new(), Kind::Response).await;
    matches!(response, Ok(Some(response)) if response.status() == 200)
}

// === impl Bench ===

impl Bench {
    async fn exchange_all(&self, row: &Row) -> Result<Outcome> {
        let none = Vec::new();
        for (name, backend) in &self.backends {
            backend.reset(row.backends.get(*name).unwrap_or(&none));
        }
        let mut outcome = Outcome::default();
        let (mut held, mut waiting) = (Vec::new(), Vec::new());
        let repeat = row.share.as_ref().map_or(1, |share| share.repeat);
        for request in (0..repeat).flat_map(|_| &row.requests) {
            let before = self.counts();
            let exchange = if request.hold {
                held.push((
                    outcome.steps.len(),
                    request,
                    self.hold(request, before.values().sum()).await?,
                ));
                Exchange::default()
            } else if request.waits {
                let connection = self.wait(request, waiting.len() + 1).await?;
                waiting.push((outcome.steps.len(), request, connection));
                Exchange::default()
            } else {
                self.exchange(request)
                    .await
                    .with_context(|| format!("request {:?}", request.get))?
            };
            outcome.steps.push(Step {
                exchange,
                received: self.received_since(&before),
                checks: self.authz.take(),
            });
        }
        let before = self.counts();
        for backend in self.backends.values() {
            backend.release();
        }
        let steps: Vec<usize> = waiting.iter().map(|(index, ..)| *index).collect();
        for (index, request, mut connection) in held.into_iter().chain(waiting) {
            outcome.steps[index].exchange = connection.receive(raw(request, &request.bytes())).await?;
        }
        // Those who waited are served in order, which shows here.
        for (index, received) in steps.into_iter().zip(self.received_since(&before)) {
            outcome.steps[index].received = vec![received];
        }
        Ok(outcome)
    }

    async fn exchange(&self, request: &Request) -> Result<Exchange> {
        if !request.fields.is_empty() {
            let exact = RawFields {
                head: &request.fields,
                body: &request.body_bytes(),
                trailers: &request.trailers,
                limit: EXCHANGE_LIMIT,
            };
            return http2::exchange(self.listener, exact).await;
        }
        if request.http2 {
            let plain_connect = request.method == "CONNECT" && request.protocol.is_empty();
            let uri = if plain_connect {
                request.host.clone()
            } else {
                format!("http://{}{}", request.host, request.get)
            };
            let mut head = hyper::Request::builder()
                .method(request.method.as_str())
                .uri(uri)
                .version(http::Version::HTTP_2);
            if !request.protocol.is_empty() {
                head = head.extension(hyper::ext::Protocol::from(request.protocol.as_str()));
            }
            for (name, value) in request.header_lines().iter().map(|line| wire::field(line)) {
                head = head.header(name, value);
            }
            let head = head.body(())?;
            if request.method == "CONNECT" {
                let bytes = raw(request, &[]);
                return client::http2_tunnel(self.listener, head, bytes).await;
            }
            return client::http2(
                self.listener,
                head,
                &request.body_bytes(),
                &request.trailers,
                EXCHANGE_LIMIT,
            )
            .await;
        }
        let bytes = request.bytes();
        let mut connection = Http1::connect(self.listener).await?;
        connection.send(&bytes).await?;
        connection.receive(raw(request, &bytes)).await
    }

    /// Sends a request and waits until an upstream has it.
    async fn hold(&self, request: &Request, before: usize) -> Result<Http1> {
        let mut connection = Http1::connect(self.listener).await?;
        connection.send(&request.bytes()).await?;
        let name = request
            .expect
            .split(' ')
            .nth(1)
            .context("a held request names its upstream in `expect`")?;
        let backend = self.backends.get(name).context("unknown upstream")?;
        backend.wait_for(before + 1, EXCHANGE_LIMIT).await?;
        Ok(connection)
    }

    /// Sends a request that finds no connection, the `number`th, and waits until the proxy counts it among those that wait.
    async fn wait(&self, request: &Request, number: usize) -> Result<Http1> {
        let mut connection = Http1::connect(self.listener).await?;
        connection.send(&request.bytes()).await?;
        let gauge = "cluster.a.upstream_rq_pending_active".to_owned();
        let expected = format!("{gauge}: {number}");
        let waits = async {
            while stats(self.admin, std::slice::from_ref(&gauge)).await? != [expected.as_str()] {
                tokio::task::yield_now().await;
            }
            Ok(connection)
        };
        tokio::time::timeout(EXCHANGE_LIMIT, waits)
            .await
            .context("the request does not wait")?
    }

    fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.backends
            .iter()
            .map(|(name, backend)| (*name, backend.received().len()))
            .collect()
    }

    fn received_since(&self, before: &BTreeMap<&'static str, usize>) -> Vec<(&'static str, wire::Message)> {
        let news = self.backends.iter().flat_map(|(name, backend)| {
            let already = before.get(name).copied().unwrap_or(0);
            backend
                .received()
                .into_iter()
                .skip(already)
                .map(|message| (*name, message))
        });
        news.collect()
    }
}

fn raw<'a>(request: &'a Request, bytes: &'a [u8]) -> RawRequest<'a> {
    RawRequest {
        bytes,
        then: request.then.as_bytes(),
        pause: Duration::from_millis(request.pause_ms),
        until: &request.until,
        limit: EXCHANGE_LIMIT,
    }
}
