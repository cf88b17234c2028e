//! Ejections by a DestinationRule: they come, and they end with it.

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::EFFECT_LIMIT;
use crate::support::mesh::Mesh;
use crate::support::process::built;

/// A client, and one workload that fails whenever its path is `/flaky`.
fn workloads() -> Result<String> {
    let program = built("weft-sample-callme")?;
    let program = program.display();
    let workload = |app: &str| {
        format!(
            "  - name: {app}\n    serviceAccount: {app}\n    labels: {{app: {app}, version: v1}}\n    dataPlane: weft\n    \
             ports: [{{name: http, port: 0}}]\n    \
             command: [\"{program}\", callme, --port, $(PORT_HTTP), --fail-percent, \"100\"]\n    \
             readiness: {{httpGet: {{path: /healthz, port: http}}}}\n"
        )
    };
    Ok([workload("client"), workload("callme")].concat())
}

const SERVICES: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: callme, namespace: default}\nspec:\n  \
    selector: {app: callme}\n  ports: [{name: http, port: 80, targetPort: http}]\n";

/// Nobody who waits for the end of this ejection sees it.
const RULE: &str = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
    metadata: {name: callme, namespace: default}\nspec:\n  host: callme\n  trafficPolicy:\n    \
    outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 600s, maxEjectionPercent: 100}\n";

/// Asks until the answer has the status, with the text in its body.
async fn until(mesh: &Mesh, path: &str, status: u16, text: &str) -> Result<()> {
    let deadline = Instant::now() + EFFECT_LIMIT;
    loop {
        let answer = mesh.get("client", &format!("http://callme{path}")).await?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status() == status && body.contains(text) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{path}: {} {body}, wanted {status} {text}\n{}",
            answer.start,
            mesh.log()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ejection_ends_with_its_rule() -> Result<()> {
    let mesh = Mesh::start(&workloads()?, &[SERVICES, RULE].concat()).await?;
    until(&mesh, "/", 200, "callme").await?;
    until(&mesh, "/flaky", 503, "no healthy upstream").await?;
    mesh.configure(SERVICES)?;
    until(&mesh, "/", 200, "callme").await?;
    mesh.stop().await
}
