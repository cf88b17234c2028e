//! Whole meshes as `meshctl up` runs them: split and edit, loss of the control plane, Envoy as a peer.

mod authorization;
mod ejection;
mod expect;
mod grpc;
mod sidecar;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::mesh::{self, Mesh};
use crate::support::process::built;

/// A change of configuration takes effect well within this time, however slow the machine is.
const EFFECT_LIMIT: Duration = Duration::from_secs(20);

/// Three workloads of the sample program: `client`, and two versions of `callme`.
pub(crate) fn workloads(v2_data_plane: &str) -> Result<String> {
    let program = built("weft-sample-callme")?;
    let program = program.display();
    let workload = |name: &str, app: &str, version: &str, data_plane: &str| {
        format!(
            "  - name: {name}\n    serviceAccount: {app}\n    labels: {{app: {app}, version: {version}}}\n    \
             dataPlane: {data_plane}\n    \
             ports: [{{name: http, port: 0}}]\n    command: [\"{program}\", callme, --port, $(PORT_HTTP)]\n    \
             env: {{VERSION: {version}}}\n    \
             readiness: {{httpGet: {{path: /healthz, port: http}}}}\n"
        )
    };
    Ok([
        workload("client", "client", "v1", "weft"),
        workload("callme-v1", "callme", "v1", "weft"),
        workload("callme-v2", "callme", "v2", v2_data_plane),
    ]
    .concat())
}

/// Services, subsets, strict mutual TLS, and a split between the versions.
pub(crate) fn config(v1: u32, v2: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: callme, namespace: default}}\nspec:\n  \
         selector: {{app: callme}}\n  \
         ports: [{{name: http, port: 80, targetPort: http}}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: client, namespace: default}}\nspec:\n  \
         selector: {{app: client}}\n  \
         ports: [{{name: http, port: 80, targetPort: http}}]\n---\n\
         apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{name: default, namespace: istio-system}}\nspec: {{mtls: {{mode: STRICT}}}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: callme, namespace: default}}\n\
         spec:\n  host: callme\n  \
         subsets:\n  - {{name: v1, labels: {{version: v1}}}}\n  - {{name: v2, labels: {{version: v2}}}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: callme, namespace: default}}\n\
         spec:\n  hosts: [callme]\n  http:\n  \
         - route:\n    - {{destination: {{host: callme, subset: v1}}, weight: {v1}}}\n    \
         - {{destination: {{host: callme, subset: v2}}, weight: {v2}}}\n"
    )
}

/// The version that answers a client in the mesh; anything but 200 is an error.
async fn version(mesh: &Mesh, from: &str) -> Result<String> {
    let answer = mesh.get(from, "http://callme/").await?;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.status() == 200, "{}: {body}", answer.start);
    let body: Value = serde_json::from_str(&body)?;
    Ok(body["version"].as_str().context("version")?.to_owned())
}

/// Requests without a pause until told to stop; the first failure ends it.
async fn load(mesh: Arc<Mesh>, stop: Arc<AtomicBool>) -> Result<u32> {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        version(&mesh, "client")
            .await
            .with_context(|| format!("after {count} good answers"))?;
        count += 1;
    }
    Ok(count)
}

/// Polls until the version answers.
async fn until_version(mesh: &Mesh, wanted: &str) -> Result<()> {
    let deadline = Instant::now() + EFFECT_LIMIT;
    while version(mesh, "client").await? != wanted {
        ensure!(
            Instant::now() < deadline,
            "{wanted} did not answer within {EFFECT_LIMIT:?}:\n{}",
            mesh.log()
        );
    }
    Ok(())
}

/// Runs `change` under load; no request may fail.
async fn under_load(mesh: Mesh, change: impl AsyncFnOnce(&Mesh) -> Result<()>) -> Result<()> {
    let mesh = Arc::new(mesh);
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        clients.spawn(load(Arc::clone(&mesh), Arc::clone(&stop)));
    }
    let changed = change(&mesh).await;
    stop.store(true, Ordering::Relaxed);
    let mut count = 0;
    while let Some(client) = clients.join_next().await {
        count += client?.with_context(|| format!("a request failed; the mesh's log:\n{}", mesh.log()))?;
    }
    changed?;
    ensure!(count > 0, "no request was sent");
    Arc::into_inner(mesh).context("clients have ended")?.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_weight_takes_effect_and_fails_no_request() -> Result<()> {
    let mesh = Mesh::start(&workloads("weft")?, &config(100, 0)).await?;
    ensure!(version(&mesh, "client").await? == "v1");
    under_load(mesh, async |mesh| {
        mesh.configure(&config(0, 100))?;
        until_version(mesh, "v2").await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_the_control_plane_fails_no_request_and_it_comes_back() -> Result<()> {
    let mesh = Mesh::start(&workloads("weft")?, &config(100, 0)).await?;
    under_load(mesh, async |mesh| {
        mesh.kill("pilot").await?;
        mesh.kill("citadel").await?;
        let deadline = Instant::now() + EFFECT_LIMIT;
        while mesh.restarts("pilot") == 0 || mesh.restarts("citadel") == 0 {
            ensure!(Instant::now() < deadline, "the control plane was not started again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        mesh.configure(&config(0, 100))?;
        until_version(mesh, "v2").await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_objects_leave_the_rest_live() -> Result<()> {
    let mesh = Mesh::start(&workloads("weft")?, &config(100, 0)).await?;
    let broken = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: broken, namespace: default}\n\
                  spec:\n  hosts: [client]\n  htttp: []\n";
    under_load(mesh, async |mesh| {
        mesh.configure(&format!("{}{broken}", config(0, 100)))?;
        until_version(mesh, "v2").await?;
        ensure!(
            mesh.log().contains("htttp"),
            "the misspelt field is not named:\n{}",
            mesh.log()
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_and_weft_call_each_other_with_mutual_tls() -> Result<()> {
    let mesh = Mesh::start(&workloads("envoy")?, &config(0, 100)).await?;
    // To the workload behind Envoy, and from it.
    ensure!(version(&mesh, "client").await? == "v2");
    ensure!(version(&mesh, "callme-v2").await? == "v2");
    let answer = mesh.get("callme-v2", "http://client/").await?;
    ensure!(
        answer.status() == 200,
        "{}: {}",
        answer.start,
        String::from_utf8_lossy(&answer.body)
    );
    let deadline = Instant::now() + EFFECT_LIMIT;
    let share = loop {
        let graph = mesh.graph().await?;
        if let Some(share) = graph["totals"]["mtls_share"].as_f64() {
            break share;
        }
        ensure!(
            Instant::now() < deadline,
            "the collector saw no request within the mesh: {graph}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    ensure!(share >= 1.0, "only {share} of the requests were encrypted");
    // Envoy took everything that it was given.
    let stats = mesh::get(mesh.admin("callme-v2")?, "/stats?filter=update_rejected", "localhost").await?;
    let stats = String::from_utf8_lossy(&stats.body).into_owned();
    ensure!(stats.contains("update_rejected: 0"), "no such counters: {stats}");
    let rejected: Vec<&str> = stats.lines().filter(|line| !line.ends_with(": 0")).collect();
    ensure!(
        rejected.is_empty(),
        "Envoy rejected resources: {rejected:?}\n{}",
        mesh.log()
    );
    mesh.stop().await
}
