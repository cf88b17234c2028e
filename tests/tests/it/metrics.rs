//! Istio's standard metrics as a scrape sees them: of two proxies with mutual TLS under pilot, and of static configuration.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::backend::Backend;
use crate::support::client::{Http1, RawRequest};
use crate::support::exposition::{Labels, Sample, check_with_promtool, parse};
use crate::support::mesh::{self, Mesh};
use crate::support::process::{Process, built};
use crate::support::{envoy, ports, weft};

const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = "\
apiVersion: v1
kind: Service
metadata: {name: callme, namespace: default}
spec:
  selector: {app: callme}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
";

fn workloads() -> Result<String> {
    let program = built("weft-sample-callme")?;
    let program = program.display();
    let workload = |name: &str, app: &str, version: &str| {
        format!(
            "  - name: {name}\n    serviceAccount: {app}\n    labels: {{app: {app}, version: {version}}}\n    \
             ports: [{{name: http, port: 0}}]\n    command: [\"{program}\", callme, --port, $(PORT_HTTP)]\n    \
             env: {{VERSION: {version}}}\n    \
             readiness: {{httpGet: {{path: /healthz, port: http}}}}\n"
        )
    };
    Ok([
        workload("client-v2", "client", "v2"),
        workload("callme-v1", "callme", "v1"),
    ]
    .concat())
}

/// The page of a proxy once it has a sample that fits.
async fn scrape(admin: SocketAddr, fits: impl Fn(&Sample) -> bool) -> Result<(String, Vec<Sample>)> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = mesh::get(admin, "/stats/prometheus", "localhost").await?;
        let page = String::from_utf8(answer.body)?;
        let samples = parse(&page)?;
        if samples.iter().any(&fits) {
            return Ok((page, samples));
        }
        ensure!(Instant::now() < deadline, "no sample fits:\n{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn labels(text: &str) -> Labels {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The value of one series of the samples.
fn value(samples: &[Sample], name: &str, labels: &Labels) -> Option<f64> {
    let found = samples
        .iter()
        .find(|sample| sample.name == name && sample.labels == *labels);
    found.map(|sample| sample.value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_mesh_report_all_labels() -> Result<()> {
    let mesh = Mesh::start(&workloads()?, CONFIG).await?;
    for _ in 0..3 {
        let answer = mesh.get("client-v2", "http://callme/headers").await?;
        ensure!(answer.status() == 200, "{}", answer.start);
        let heard = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(
            !heard.contains("x-envoy-peer-metadata"),
            "the workload sees the proxies' headers: {heard}"
        );
        ensure!(
            answer.header("x-envoy-peer-metadata").is_none(),
            "the client sees the proxies' headers"
        );
    }
    let common = labels(
        "source_workload=client-v2 source_workload_namespace=default source_principal=spiffe://cluster.local/ns/default/sa/client \
         source_app=client source_version=v2 source_canonical_service=client source_canonical_revision=v2 source_cluster=Kubernetes \
         destination_workload=callme-v1 destination_workload_namespace=default \
         destination_principal=spiffe://cluster.local/ns/default/sa/callme destination_app=callme destination_version=v1 \
         destination_canonical_service=callme destination_canonical_revision=v1 destination_cluster=Kubernetes \
         destination_service=callme.default.svc.cluster.local destination_service_name=callme destination_service_namespace=default \
         request_protocol=http response_code=200 grpc_response_status= response_flags=-",
    );
    for (workload, reporter, policy) in [
        ("client-v2", "source", "unknown"),
        ("callme-v1", "destination", "mutual_tls"),
    ] {
        let mut labels = common.clone();
        labels.insert("reporter".to_owned(), reporter.to_owned());
        labels.insert("connection_security_policy".to_owned(), policy.to_owned());
        ensure!(labels.len() == 25);
        let (page, samples) = scrape(mesh.admin(workload)?, |sample| {
            sample.name == "istio_requests_total" && sample.labels["reporter"] == reporter && sample.value >= 3.0
        })
        .await?;
        let requests: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.name == "istio_requests_total")
            .collect();
        ensure!(
            value(&samples, "istio_requests_total", &labels) == Some(3.0),
            "{workload}: expected {labels:#?}\ngot {requests:#?}"
        );
        for name in [
            "istio_request_duration_milliseconds_count",
            "istio_request_bytes_count",
            "istio_response_bytes_count",
        ] {
            ensure!(
                value(&samples, name, &labels) == Some(3.0),
                "{workload}: {name} in\n{page}"
            );
        }
        ensure!(value(&samples, "istio_request_bytes_sum", &labels) == Some(0.0));
        ensure!(value(&samples, "istio_response_bytes_sum", &labels) > Some(3.0));
        labels.insert("le".to_owned(), "3600000".to_owned());
        ensure!(value(&samples, "istio_request_duration_milliseconds_bucket", &labels) == Some(3.0));
        let build = samples
            .iter()
            .find(|sample| sample.name == "istio_build")
            .context("istio_build")?;
        ensure!(build.labels["component"] == "proxy" && build.value == 1.0);
        check_with_promtool(&page).await?;
    }
    mesh.stop().await
}

/// A bootstrap with an HTTP listener that counts, and a TCP listener.
fn bootstrap(http: SocketAddr, tcp: Option<SocketAddr>, admin: SocketAddr, upstream: SocketAddr) -> serde_json::Value {
    let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let stats = |value: serde_json::Value| {
        let typed = "type.googleapis.com/xds.type.v3.TypedStruct";
        json!({"@type": typed, "type_url": "type.googleapis.com/stats.PluginConfig", "value": value})
    };
    let hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let mut listeners = vec![json!({
        "name": "http", "address": socket(http), "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
            "@type": hcm, "stat_prefix": "http",
            "http_filters": [
                {"name": "istio.stats", "is_optional": true, "typed_config": stats(json!({}))},
                {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
            ],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["a.example"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]}]},
        }}]}],
    })];
    if let Some(tcp) = tcp {
        listeners.push(json!({
            "name": "tcp", "address": socket(tcp), "traffic_direction": "OUTBOUND",
            "filter_chains": [{"filters": [
                {"name": "istio.stats", "typed_config": stats(json!({"tcp_reporting_duration": "0.02s"}))},
                {"name": "tcp", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": "tcp", "cluster": "a"}},
            ]}],
        }));
    }
    let services = json!({"services": [{"host": "a.default.svc.cluster.local", "name": "a", "namespace": "default"}]});
    json!({
        "node": {"id": "sidecar~127.0.0.1~web-0.shop~shop.svc.cluster.local", "cluster": "web", "metadata": {
            "WORKLOAD_NAME": "web", "NAMESPACE": "shop", "CLUSTER_ID": "one", "LABELS": {"app": "shop \"web\""}}},
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": listeners,
            "clusters": [{"name": "a", "type": "STATIC", "connect_timeout": "5s", "metadata": {"filter_metadata": {"istio": services}},
                "load_assignment": {"cluster_name": "a", "endpoints": [{"lb_endpoints": [{
                    "endpoint": {"address": socket(upstream)},
                    "metadata": {"filter_metadata": {"istio": {"workload": "a-v1;default;a;v1;two"}}}}]}]}}],
        },
    })
}

/// The labels that all series of [`bootstrap`] have.
fn pair() -> Labels {
    let mut labels = labels(
        "reporter=source source_workload=web source_workload_namespace=shop source_principal=unknown source_version=unknown \
         source_canonical_revision=latest source_cluster=one destination_workload=a-v1 destination_workload_namespace=default \
         destination_principal=unknown destination_app=unknown destination_version=unknown destination_canonical_service=a \
         destination_canonical_revision=v1 destination_cluster=two destination_service=a.default.svc.cluster.local \
         destination_service_name=a destination_service_namespace=default",
    );
    for name in ["source_app", "source_canonical_service"] {
        labels.insert(name.to_owned(), "shop \"web\"".to_owned());
    }
    labels
}

fn with(mut base: Labels, more: &str) -> Labels {
    base.extend(labels(more));
    base
}

async fn start(config: &serde_json::Value, admin: SocketAddr, dir: &std::path::Path) -> Result<Process> {
    let file = dir.join("bootstrap.json");
    std::fs::write(&file, serde_json::to_vec(config)?)?;
    let mut proxy = weft::start(&file, dir)?;
    proxy
        .wait_until("readiness", LIMIT, || async {
            mesh::get(admin, "/ready", "localhost").await.is_ok()
        })
        .await?;
    Ok(proxy)
}

async fn exchange(to: SocketAddr, bytes: &[u8]) -> Result<u16> {
    let mut connection = Http1::connect(to).await?;
    connection.send(bytes).await?;
    let request = RawRequest {
        bytes,
        then: &[],
        pause: Duration::ZERO,
        until: "",
        limit: LIMIT,
    };
    let answer = connection.receive(request).await?.response.context("no answer")?;
    Ok(answer.status())
}

#[tokio::test]
async fn failures_messages_and_unknown_hosts_have_their_labels() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let upstream = Backend::start("a").await?;
    let (http, admin) = (ports::free()?, ports::free()?);
    let proxy = start(&bootstrap(http, None, admin, upstream.address), admin, dir.path()).await?;
    // Two messages up, one message down, in one body each.
    let message = "\0\0\0\0\u{2}ab";
    let answer = serde_saphyr::from_str(
        "{headers: ['content-type: application/grpc', 'grpc-status: 5'], body: \"\\0\\0\\0\\0\\x01c\"}",
    )?;
    upstream.reset(&[answer]);
    let body = message.repeat(2);
    let grpc = format!(
        "POST /s/m HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/grpc\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    ensure!(exchange(http, grpc.as_bytes()).await? == 200);
    let missing = b"GET / HTTP/1.1\r\nHost: nobody.example\r\nConnection: close\r\n\r\n";
    ensure!(exchange(http, missing).await? == 404);
    let (page, samples) = scrape(admin, |sample| {
        sample.labels.get("response_code").is_some_and(|code| code == "404")
    })
    .await?;
    let http_labels = "grpc_response_status= response_flags=NR connection_security_policy=unknown request_protocol=http response_code=404";
    let nobody = with(
        pair(),
        &format!(
            "{http_labels} destination_workload=unknown destination_workload_namespace=unknown destination_canonical_service=unknown \
             destination_canonical_revision=latest destination_cluster=unknown destination_service=nobody.example \
             destination_service_name=nobody.example destination_service_namespace=unknown"
        ),
    );
    ensure!(value(&samples, "istio_requests_total", &nobody) == Some(1.0), "{page}");
    let grpc = "request_protocol=grpc response_code=200 grpc_response_status=5 response_flags=- connection_security_policy=unknown";
    let grpc = with(pair(), grpc);
    ensure!(value(&samples, "istio_requests_total", &grpc) == Some(1.0), "{page}");
    ensure!(
        value(&samples, "istio_request_bytes_sum", &grpc) == Some(14.0),
        "{page}"
    );
    ensure!(pair().len() == 20);
    ensure!(
        value(&samples, "istio_request_messages_total", &pair()) == Some(2.0),
        "{page}"
    );
    ensure!(
        value(&samples, "istio_response_messages_total", &pair()) == Some(1.0),
        "{page}"
    );
    check_with_promtool(&page).await?;
    proxy.stop(LIMIT).await
}

#[tokio::test]
async fn a_connection_reports_while_it_lasts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let upstream = echo.local_addr()?;
    let (http, tcp, admin) = (ports::free()?, ports::free()?, ports::free()?);
    let proxy = start(&bootstrap(http, Some(tcp), admin, upstream), admin, dir.path()).await?;
    let mut client = TcpStream::connect(tcp).await?;
    let (mut server, _) = echo.accept().await?;
    client.write_all(b"question").await?;
    let mut question = [0; 8];
    server.read_exact(&mut question).await?;
    server.write_all(b"answer").await?;
    client.read_exact(&mut question[..6]).await?;
    let labels = with(
        pair(),
        "request_protocol=tcp response_flags=- connection_security_policy=unknown",
    );
    ensure!(labels.len() == 23);
    let (page, samples) = scrape(admin, |s| s.name == "istio_tcp_sent_bytes_total" && s.value >= 6.0).await?;
    ensure!(
        value(&samples, "istio_tcp_connections_opened_total", &labels) == Some(1.0),
        "{page}"
    );
    ensure!(
        value(&samples, "istio_tcp_connections_closed_total", &labels) == Some(0.0),
        "{page}"
    );
    ensure!(
        value(&samples, "istio_tcp_received_bytes_total", &labels) == Some(8.0),
        "{page}"
    );
    drop((client, server));
    let (page, samples) = scrape(admin, |s| {
        s.name == "istio_tcp_connections_closed_total" && s.value >= 1.0
    })
    .await?;
    ensure!(
        value(&samples, "istio_tcp_sent_bytes_total", &labels) == Some(6.0),
        "{page}"
    );
    proxy.stop(LIMIT).await
}

#[tokio::test]
async fn stock_envoy_loads_a_file_with_the_filters() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let upstream = Backend::start("a").await?;
    let (http, admin) = (ports::free()?, ports::free()?);
    let file = dir.path().join("bootstrap.json");
    std::fs::write(
        &file,
        serde_json::to_vec(&bootstrap(http, None, admin, upstream.address))?,
    )?;
    let mut proxy = envoy::start(&file, dir.path())?;
    proxy
        .wait_until("readiness", LIMIT, || async {
            mesh::get(admin, "/ready", "localhost").await.is_ok()
        })
        .await?;
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    ensure!(exchange(http, request).await? == 200);
    proxy.stop(LIMIT).await
}
