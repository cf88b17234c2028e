//! An application that refuses a request before its body is sent, as `Expect: 100-continue` asks it to, behind two sidecars.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::sidecar::program;
use super::workloads;
use crate::support::client::{Exchange, Http1, RawRequest};
use crate::support::mesh::Mesh;

/// One request through the mesh.
const LIMIT: Duration = Duration::from_secs(15);

fn uploads() -> String {
    let program = program("refusing_server.py");
    format!(
        "  - name: uploads\n    serviceAccount: uploads\n    labels: {{app: uploads}}\n    \
         ports: [{{name: http, port: 0}}]\n    command: [python3, \"{program}\", $(PORT_HTTP)]\n    \
         readiness: {{tcpSocket: {{port: http}}}}\n"
    )
}

fn config() -> String {
    format!(
        "{}---\napiVersion: v1\nkind: Service\nmetadata: {{name: uploads, namespace: default}}\nspec:\n  \
         selector: {{app: uploads}}\n  \
         ports: [{{name: http, port: 80, targetPort: http}}]\n",
        super::config(100, 0)
    )
}

/// Sends the head of a request alone; its body goes only when somebody asks for it.
async fn ask(mesh: &Mesh, fields: &str) -> Result<Exchange> {
    let bytes = format!(
        "POST http://uploads/ HTTP/1.1\r\nHost: uploads\r\nExpect: 100-continue\r\n{fields}Content-Length: 5\r\n\r\n"
    )
    .into_bytes();
    let mut connection = Http1::connect(mesh.http_proxy("client")?).await?;
    connection.send(&bytes).await?;
    let request = RawRequest {
        bytes: &bytes,
        then: b"hello",
        pause: Duration::ZERO,
        until: "",
        limit: LIMIT,
    };
    connection.receive(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_may_refuse_before_the_body() -> Result<()> {
    let workloads = [workloads("weft")?, uploads()].concat();
    let mesh = Mesh::start(&workloads, &config()).await?;
    let refused = ask(&mesh, "X-Refuse: 1\r\n").await.with_context(|| mesh.log())?;
    let answer = refused.response.context("no answer")?;
    ensure!(
        refused.interim.is_empty() && answer.status() == 401,
        "{:?} {}",
        refused.interim,
        answer.start
    );
    let taken = ask(&mesh, "").await.with_context(|| mesh.log())?;
    let answer = taken.response.context("no answer")?;
    ensure!(taken.interim == ["HTTP/1.1 100 Continue"], "{:?}", taken.interim);
    ensure!(answer.body == b"got hello", "{}: {:?}", answer.start, answer.body);
    mesh.stop().await
}
