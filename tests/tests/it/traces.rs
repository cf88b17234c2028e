//! Traces from a client through the mesh to the collector, of our own proxy and of Envoy, and the page that shows them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use crate::mesh::{config, workloads};
use crate::support::mesh::Mesh;

/// Envoy hands spans over every five seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// The span of the client that begins every trace of the test.
const CLIENT_SPAN: &str = "b7ad6b7169203331";

const CHROMIUM: &str = "/usr/bin/chromium";

/// A request of its own trace, and the version that answered.
async fn traced(mesh: &Mesh, number: u32) -> Result<(String, String)> {
    let trace = format!("0af7651916cd43dd8448eb21{number:08x}");
    let header = format!("traceparent: 00-{trace}-{CLIENT_SPAN}-01");
    let answer = mesh.get_with("client", "http://callme/", &[&header]).await?;
    let body: Value = serde_json::from_slice(&answer.body)?;
    Ok((trace, body["version"].as_str().context("version")?.to_owned()))
}

/// The spans of a trace once there are as many.
async fn spans(mesh: &Mesh, trace: &str, wanted: usize) -> Result<Vec<Value>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = mesh.collector(&format!("/api/traces/{trace}")).await;
        let spans = found
            .ok()
            .and_then(|found| found["spans"].as_array().cloned())
            .unwrap_or_default();
        if spans.len() >= wanted {
            return Ok(spans);
        }
        ensure!(
            Instant::now() < deadline,
            "trace {trace} has only {spans:?}\n{}",
            mesh.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn check(spans: &[Value], server: &str) -> Result<()> {
    let of_kind = |kind: &str| spans.iter().find(|span| span["kind"] == kind);
    let outbound = of_kind("client").with_context(|| format!("no client span in {spans:?}"))?;
    let inbound = of_kind("server").with_context(|| format!("no server span in {spans:?}"))?;
    ensure!(
        outbound["service"] == "client.default" && outbound["parent"] == CLIENT_SPAN,
        "{outbound}"
    );
    ensure!(
        inbound["service"] == "callme.default" && inbound["parent"] == outbound["id"],
        "{inbound}"
    );
    let attributes = &inbound["attributes"];
    ensure!(
        attributes["http.status_code"] == "200" && attributes["istio.canonical_revision"] == server,
        "{attributes}"
    );
    ensure!(
        attributes["http.url"]
            .as_str()
            .is_some_and(|url| url.ends_with("://callme/")),
        "{attributes}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_through_both_sidecars_of_a_call_and_is_shown() -> Result<()> {
    let mesh = Mesh::start(&workloads("envoy")?, &config(50, 50)).await?;
    let mut versions = BTreeSet::new();
    for number in 1..=64 {
        let (trace, version) = traced(&mesh, number).await?;
        if versions.insert(version.clone()) {
            check(&spans(&mesh, &trace, 2).await?, &version)?;
        }
        if versions.len() == 2 {
            break;
        }
    }
    ensure!(versions.len() == 2, "only {versions:?} answered");
    shown(&mesh).await?;
    mesh.stop().await
}

/// What a browser makes of the page.
#[expect(clippy::print_stderr, reason = "a test says what it skips")]
async fn shown(mesh: &Mesh) -> Result<()> {
    if !Path::new(CHROMIUM).is_file() {
        eprintln!("skipped: the page in a browser, because there is no {CHROMIUM}");
        return Ok(());
    }
    for (view, wanted) in [
        ("graph", "callme-v1.default"),
        ("traces", "callme.default.svc.cluster.local:80/*"),
    ] {
        let profile = tempfile::tempdir()?;
        let page = Command::new(CHROMIUM)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--virtual-time-budget=5000", "--dump-dom"])
            .arg(format!("http://{}/#{view}", mesh.address("telemetry")?))
            .kill_on_drop(true)
            .output();
        let page = tokio::time::timeout(LIMIT, page)
            .await
            .context("the browser did not end")??;
        let page = String::from_utf8_lossy(&page.stdout).into_owned();
        ensure!(page.contains(wanted), "the {view} page does not name {wanted}:\n{page}");
    }
    Ok(())
}
