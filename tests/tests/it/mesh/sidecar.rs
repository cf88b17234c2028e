//! Listeners that a Sidecar binds for its workload: a program that knows nothing of HTTP proxies connects to them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use super::{EFFECT_LIMIT, workloads};
use crate::support::mesh::{self, Mesh};
use crate::support::{envoy, ports};

/// Two versions of a service over TCP.
fn databases() -> String {
    let program = program("tcp_server.py");
    let workload = |version: &str| {
        format!(
            "  - name: db-{version}\n    serviceAccount: db\n    labels: {{app: db, version: {version}}}\n    \
             ports: [{{name: tcp, port: 0}}]\n    command: [python3, \"{program}\", $(PORT_TCP), {version}]\n    \
             readiness: {{tcpSocket: {{port: tcp}}}}\n"
        )
    };
    [workload("v1"), workload("v2")].concat()
}

/// A Sidecar of `client` with a listener for bytes and one for HTTP, under strict mutual TLS.
fn config(tcp: SocketAddr, http: SocketAddr, v1: u32, v2: u32) -> String {
    let subset = |version: &str, weight: u32| {
        format!("    - {{destination: {{host: db, subset: {version}}}, weight: {weight}}}\n")
    };
    format!(
        "{}---\napiVersion: v1\nkind: Service\nmetadata: {{name: db, namespace: default}}\nspec:\n  \
         selector: {{app: db}}\n  \
         ports: [{{name: tcp, port: 5000}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: db, namespace: default}}\n\
         spec:\n  host: db\n  \
         subsets:\n  - {{name: v1, labels: {{version: v1}}}}\n  - {{name: v2, labels: {{version: v2}}}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: db, namespace: default}}\n\
         spec:\n  hosts: [db]\n  tcp:\n  \
         - route:\n{}{}---\n\
         apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: client, namespace: default}}\nspec:\n  \
         workloadSelector: {{labels: {{app: client}}}}\n  egress:\n  \
         - port: {{number: {}, protocol: TCP, name: db}}\n    bind: {}\n    captureMode: NONE\n    \
         hosts: [./db.default.svc.cluster.local]\n  \
         - port: {{number: {}, protocol: HTTP, name: callme}}\n    bind: {}\n    captureMode: NONE\n    \
         hosts: [./callme.default.svc.cluster.local]\n  \
         - hosts: ['./*']\n",
        super::config(100, 0),
        subset("v1", v1),
        subset("v2", v2),
        tcp.port(),
        tcp.ip(),
        http.port(),
        http.ip(),
    )
}

/// A program of the tests.
pub(super) fn program(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/programs");
    folder.join(name).display().to_string()
}

/// The answers to `count` connections of a real client.
async fn connect(to: SocketAddr, count: u32) -> Result<Vec<String>> {
    let python = envoy::venv()?.join("bin/python");
    let mut command = Command::new(python);
    command
        .arg(program("tcp_client.py"))
        .args([to.ip().to_string(), to.port().to_string(), count.to_string()]);
    let output = command.output().await.context("python")?;
    ensure!(
        output.status.success(),
        "the client failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Longest time until the collector knows of what has ended.
const LIMIT: Duration = Duration::from_secs(15);

/// Waits until the collector's graph has as many connections to the service, all of them encrypted, with their bytes.
async fn counted(mesh: &Mesh, wanted: u64) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let graph = mesh.collector("/api/graph").await.unwrap_or_default();
        let to_db = |edge: &&Value| {
            edge["destination"]["workload"]
                .as_str()
                .is_some_and(|name| name.starts_with("db-"))
        };
        let edges: Vec<&Value> = graph["edges"].as_array().into_iter().flatten().filter(to_db).collect();
        let count: u64 = edges.iter().filter_map(|edge| edge["connections"].as_u64()).sum();
        if count >= wanted {
            let whole = |edge: &&Value| {
                edge["mtls_share"] == 1.0 && edge["connection_errors"] == 0 && edge["sent_bytes"].as_u64() > Some(0)
            };
            ensure!(count == wanted && edges.iter().all(whole), "{graph}");
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "only {count} connections in {graph}\n{}",
            mesh.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_connects_to_the_listeners_of_its_sidecar() -> Result<()> {
    let (tcp, http) = (ports::free()?, ports::free()?);
    let workloads = [workloads("weft")?, databases()].concat();
    let mesh = Mesh::start(&workloads, &config(tcp, http, 50, 50)).await?;
    let answers = connect(tcp, 40).await.with_context(|| mesh.log())?;
    for version in ["v1", "v2"] {
        let count = answers.iter().filter(|line| line.starts_with(version)).count();
        ensure!(
            (5..=35).contains(&count),
            "{version} answered {count} of 40: {answers:?}"
        );
    }
    ensure!(answers[3].ends_with(": line 3"), "{:?}", answers[3]);

    // An edited weight takes effect for new connections.
    counted(&mesh, 40).await?;
    mesh.configure(&config(tcp, http, 0, 100))?;
    let deadline = Instant::now() + EFFECT_LIMIT;
    while !connect(tcp, 8).await?.iter().all(|line| line.starts_with("v2")) {
        ensure!(Instant::now() < deadline, "the split did not change:\n{}", mesh.log());
    }

    // HTTP by the service's names; with one service behind the listener, by its address too.
    for host in ["callme", "callme.default.svc.cluster.local", &http.to_string()] {
        let answer = mesh::get(http, "/", host).await?;
        ensure!(answer.status() == 200, "{host}: {}", answer.start);
    }
    let unknown = mesh::get(http, "/", "other").await?;
    ensure!(unknown.status() == 502, "{}", unknown.start);
    mesh.stop().await
}
