//! Admin and status pages of a running proxy; statistics are held against Envoy's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::Instant;

use crate::support::backend::Backend;
use crate::support::client::{Http1, RawRequest};
use crate::support::exposition::{check_with_promtool, parse};
use crate::support::process::{Process, built};
use crate::support::wire::Message;
use crate::support::{envoy, mesh, ports, weft};

const LIMIT: Duration = Duration::from_secs(20);

/// Statistics that must be equal after the same requests.
const COMPARED: &[&str] = &[
    "cluster.a.membership_healthy",
    "cluster.a.membership_total",
    "cluster.a.upstream_cx_total",
    "cluster.a.upstream_rq_200",
    "cluster.a.upstream_rq_2xx",
    "cluster.a.upstream_rq_503",
    "cluster.a.upstream_rq_5xx",
    "cluster.a.upstream_rq_completed",
    "cluster.a.upstream_rq_retry",
    "cluster.a.upstream_rq_total",
    "cluster.down.upstream_cx_connect_fail",
    "cluster.down.upstream_cx_total",
    "cluster.down.upstream_rq_503",
    "cluster.down.upstream_rq_completed",
    "cluster.down.upstream_rq_total",
    "cluster.empty.upstream_cx_none_healthy",
    "cluster.empty.upstream_rq_503",
    "cluster.empty.upstream_rq_total",
    "http.front.downstream_rq_2xx",
    "http.front.downstream_rq_4xx",
    "http.front.downstream_rq_5xx",
    "http.front.downstream_rq_total",
    "listener.LISTENER.downstream_cx_total",
    "server.live",
];

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn bootstrap(listen: SocketAddr, admin: SocketAddr, a: SocketAddr, down: SocketAddr) -> Value {
    let hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = json!({"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}});
    let cluster = |name: &str, to: &[SocketAddr]| {
        let members: Vec<Value> = to
            .iter()
            .map(|to| json!({"endpoint": {"address": socket(*to)}}))
            .collect();
        json!({"name": name, "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": members}]}})
    };
    json!({
        "node": {"id": "front-1", "cluster": "front"},
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": [{"name": "front", "address": socket(listen), "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                "@type": hcm, "stat_prefix": "front", "http_filters": [router],
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/down"}, "route": {"cluster": "down"}},
                    {"match": {"prefix": "/empty"}, "route": {"cluster": "empty"}},
                    {"match": {"prefix": "/a"}, "route": {"cluster": "a", "retry_policy": {"retry_on": "5xx", "num_retries": 1}}},
                ]}]},
            }}]}]}],
            "clusters": [cluster("a", &[a]), cluster("down", &[down]), cluster("empty", &[])],
        },
    })
}

async fn request(to: SocketAddr, method: &str, target: &str) -> Result<Message> {
    request_as(to, method, target, "Host: localhost").await
}

/// The same with other lines about who asks whom.
async fn request_as(to: SocketAddr, method: &str, target: &str, lines: &str) -> Result<Message> {
    let bytes = format!("{method} {target} HTTP/1.1\r\n{lines}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let mut connection = Http1::connect(to).await?;
    connection.send(bytes.as_bytes()).await?;
    let request = RawRequest {
        bytes: bytes.as_bytes(),
        then: &[],
        pause: Duration::ZERO,
        until: "",
        limit: LIMIT,
    };
    let exchange = connection.receive(request).await?;
    exchange
        .response
        .with_context(|| format!("no answer to {method} {target}"))
}

async fn page(to: SocketAddr, target: &str) -> Result<String> {
    let answer = request(to, "GET", target).await?;
    let body = String::from_utf8(answer.body.to_vec())?;
    ensure!(answer.status() == 200, "{target}: {}\n{body}", answer.start);
    Ok(body)
}

async fn start(config: &Value, admin: SocketAddr, dir: &Path, with_envoy: bool) -> Result<Process> {
    let file = dir.join("bootstrap.json");
    std::fs::write(&file, serde_json::to_vec(config)?)?;
    let mut proxy = if with_envoy {
        envoy::start(&file, dir)?
    } else {
        weft::start(&file, dir)?
    };
    let ready = || async {
        mesh::get(admin, "/ready", "localhost")
            .await
            .is_ok_and(|answer| answer.status() == 200)
    };
    proxy.wait_until("readiness", LIMIT, ready).await?;
    Ok(proxy)
}

/// The compared statistics of one proxy after the requests.
async fn counted(with_envoy: bool) -> Result<BTreeMap<String, u64>> {
    let dir = tempfile::tempdir()?;
    let a = Backend::start("a").await?;
    let (listen, admin, down) = (ports::free()?, ports::free()?, ports::free()?);
    let proxy = start(
        &bootstrap(listen, admin, a.address, down),
        admin,
        dir.path(),
        with_envoy,
    )
    .await?;
    let answers: Vec<_> = ["{status: 503}", "{}", "{status: 503}", "{status: 503}", "{}"]
        .iter()
        .map(|answer| serde_saphyr::from_str(answer))
        .collect::<Result<_, _>>()?;
    a.reset(&answers);
    for (path, status) in [
        ("/a", 200),
        ("/a", 503),
        ("/a", 200),
        ("/down", 503),
        ("/empty", 503),
        ("/nothing", 404),
    ] {
        ensure!(
            request(listen, "GET", path).await?.status() == status,
            "{path}, Envoy: {with_envoy}"
        );
    }
    let own = format!("{}_{}", listen.ip(), listen.port());
    let deadline = Instant::now() + LIMIT;
    let compared = loop {
        let text = page(admin, "/stats").await?;
        let all: BTreeMap<&str, u64> = text
            .lines()
            .filter_map(|line| {
                line.split_once(": ")
                    .and_then(|(name, value)| Some((name, value.parse().ok()?)))
            })
            .collect();
        // The last request is counted just after its answer went out.
        if all.get("http.front.downstream_rq_4xx") == Some(&1) {
            let of = |name: &&str| {
                let value = all.get(&*name.replace("LISTENER", &own)).copied();
                Ok((
                    (*name).to_owned(),
                    value.with_context(|| format!("no {name} (Envoy: {with_envoy}) in\n{text}"))?,
                ))
            };
            break COMPARED.iter().map(of).collect::<Result<_>>()?;
        }
        ensure!(Instant::now() < deadline, "the requests were not counted:\n{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    proxy.stop(LIMIT).await?;
    Ok(compared)
}

#[tokio::test]
async fn statistics_are_envoys() -> Result<()> {
    let (ours, envoys) = (counted(false).await?, counted(true).await?);
    ensure!(ours == envoys, "ours {ours:#?}\nEnvoy's {envoys:#?}");
    Ok(())
}

#[tokio::test]
async fn pages_answer_and_change_what_they_say() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let a = Backend::start("a").await?;
    let (listen, admin, down) = (ports::free()?, ports::free()?, ports::free()?);
    let proxy = start(&bootstrap(listen, admin, a.address, down), admin, dir.path(), false).await?;

    let info: Value = serde_json::from_str(&page(admin, "/server_info").await?)?;
    ensure!(info["state"] == "LIVE" && info["node"]["id"] == "front-1", "{info}");
    ensure!(info["command_line_options"]["concurrency"] == 1, "{info}");
    ensure!(page(admin, "/help").await?.contains("/drain_listeners (POST)"));
    ensure!(page(admin, "/").await?.contains("<a href=\"/stats\">"));
    let memory: Value = serde_json::from_str(&page(admin, "/memory").await?)?;
    let bytes: u64 = memory["total_physical_bytes"].as_str().context("bytes")?.parse()?;
    ensure!(bytes > 1 << 20, "{memory}");
    let certs: Value = serde_json::from_str(&page(admin, "/certs").await?)?;
    ensure!(certs["certificates"] == json!([]), "{certs}");
    let scrape = page(admin, "/stats/prometheus").await?;
    ensure!(
        scrape.contains("envoy_cluster_membership_total{envoy_cluster_name=\"a\"} 1\n"),
        "{scrape}"
    );
    check_with_promtool(&scrape).await?;

    // What changes something is not done by GET.
    for path in [
        "/logging?level=debug",
        "/healthcheck/fail",
        "/drain_listeners",
        "/quitquitquit",
    ] {
        ensure!(request(admin, "GET", path).await?.status() == 405, "{path}");
    }
    ensure!(request(admin, "POST", "/logging?level=loud").await?.status() == 400);
    let logging = request(admin, "POST", "/logging?level=debug").await?;
    ensure!(String::from_utf8_lossy(&logging.body).contains("debug"));

    // A web page that a browser on this machine was led to changes and reads nothing.
    let own = format!("Host: {admin}\r\nOrigin: http://{admin}");
    for (lines, expected) in [
        ("Host: evil.example", 403),
        ("Host: localhost.evil.example", 403),
        ("Host: localhost\r\nOrigin: http://evil.example", 403),
        ("Host: localhost\r\nOrigin: null", 403),
        ("Host: 127.0.0.1:1", 200),
        (own.as_str(), 200),
    ] {
        for (method, target) in [("POST", "/healthcheck/ok"), ("GET", "/config_dump")] {
            let answer = request_as(admin, method, target, lines).await?;
            ensure!(
                answer.status() == expected,
                "{method} {target} {lines}: {}",
                answer.start
            );
        }
    }

    request(admin, "POST", "/healthcheck/fail").await?;
    ensure!(request(admin, "GET", "/ready").await?.status() == 503);
    request(admin, "POST", "/healthcheck/ok").await?;
    ensure!(request(admin, "GET", "/ready").await?.status() == 200);

    // Nothing of this proxy is inbound, so only the drain of all closes its socket.
    request(admin, "POST", "/drain_listeners?inboundonly").await?;
    ensure!(request(listen, "GET", "/a").await?.status() == 200);
    request(admin, "POST", "/drain_listeners").await?;
    let deadline = Instant::now() + LIMIT;
    while TcpStream::connect(listen).await.is_ok() {
        ensure!(Instant::now() < deadline, "the listener still listens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ensure!(request(admin, "POST", "/quitquitquit").await?.status() == 200);
    proxy.wait(LIMIT).await
}

#[tokio::test]
async fn the_status_port_speaks_for_the_application() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let app = Backend::start("app").await?;
    let metrics = serde_saphyr::from_str("{body: \"# TYPE app_jobs_total counter\\napp_jobs_total 7\\n# EOF\\n\"}")?;
    app.reset(&[serde_saphyr::from_str("{status: 418}")?, metrics]);
    let gone = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let (admin, status, readiness, nowhere) = (ports::free()?, ports::free()?, ports::free()?, ports::free()?);
    let probers = json!({
        "/app-health/app/livez": {"httpGet": {"path": "/live", "port": app.address.port(), "scheme": "HTTP"}, "timeoutSeconds": 5},
        "/app-health/app/readyz": {"tcpSocket": {"port": app.address.port()}},
        "/app-health/app/startupz": {"tcpSocket": {"port": gone.port()}},
    });
    let annotations = json!({"scrape": "true", "port": app.address.port().to_string(), "path": "/own"});
    std::fs::write(dir.path().join("token"), "x")?;
    std::fs::write(dir.path().join("root.pem"), "")?;
    let mut command = Command::new(built("weft-proxy")?);
    command
        .args([
            "sidecar",
            "--name",
            "app-0",
            "--workload-name",
            "app",
            "--log-level",
            "off",
            "--drain-time",
            "0s",
        ])
        .args([
            "--discovery-address",
            &nowhere.to_string(),
            "--ca-address",
            &nowhere.to_string(),
        ])
        .args([
            "--admin-listen",
            &admin.to_string(),
            "--status-listen",
            &status.to_string(),
        ])
        .args(["--readiness-listen", &readiness.to_string()])
        .arg("--token-file")
        .arg(dir.path().join("token"))
        .arg("--ca-root-cert")
        .arg(dir.path().join("root.pem"))
        .env("ISTIO_KUBE_APP_PROBERS", probers.to_string())
        .env("ISTIO_PROMETHEUS_ANNOTATIONS", annotations.to_string());
    let mut proxy = Process::start("weft-proxy", &mut command, dir.path())?;
    let up = || async { TcpStream::connect(status).await.is_ok() };
    proxy.wait_until("the status port", LIMIT, up).await?;
    // Without a certificate it is not ready, and says so on both ports.
    for to in [status, readiness] {
        let answer = request(to, "GET", "/healthz/ready").await?;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status() == 503 && said.contains("certificate"), "{said}");
    }
    for (path, expected) in [
        ("/app-health/app/livez", 418),
        ("/app-health/app/readyz", 200),
        ("/app-health/app/startupz", 500),
        ("/app-health/other/livez", 404),
    ] {
        ensure!(request(status, "GET", path).await?.status() == expected, "{path}");
    }
    let scrape = page(status, "/stats/prometheus").await?;
    let samples = parse(&scrape)?;
    let value = |name: &str| {
        samples
            .iter()
            .find(|sample| sample.name == name)
            .map(|sample| sample.value)
    };
    ensure!(value("app_jobs_total") == Some(7.0), "{scrape}");
    ensure!(value("istio_agent_scrapes_total") == Some(1.0) && value("istio_agent_scrape_failures_total") == Some(0.0));
    ensure!(
        value("istio_build") == Some(1.0) && value("envoy_server_live") == Some(1.0),
        "{scrape}"
    );
    check_with_promtool(&scrape).await?;
    let received = app.received();
    ensure!(
        received.iter().any(|request| request.start == "GET /own HTTP/1.1"),
        "{received:?}"
    );
    ensure!(request(status, "POST", "/drain").await?.status() == 200);
    ensure!(request(status, "POST", "/quitquitquit").await?.status() == 200);
    proxy.wait(LIMIT).await
}
