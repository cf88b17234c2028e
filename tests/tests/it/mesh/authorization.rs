//! AuthorizationPolicies in front of an application: who is let in, whichever proxy stands there, and what happens when policies change.

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use super::sidecar::program;
use super::{EFFECT_LIMIT, workloads};
use crate::support::mesh::Mesh;

/// Reading for `client` alone, and `/admin` for nobody; the split decides whether ours or Envoy stands in front.
const POLICIES: &str = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: default}
spec:
  selector: {matchLabels: {app: callme}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]
    to: [{operation: {methods: [GET], notPaths: [/private/*]}}]
  - from: [{source: {namespaces: [default]}}]
    to: [{operation: {paths: [/shared]}}]
    when: [{key: \"request.headers[x-team]\", values: [\"a*\"]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: istio-system}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: [/admin, \"/{*}/admin/{**}\"]}}]}]
";

/// As if every rule were gone but the one for somebody else.
const OTHERS: &str = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: default}
spec:
  selector: {matchLabels: {app: callme}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/somebody]}}]}]
";

/// Cannot be read: it closes what it selects.
const BROKEN: &str = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: default}
spec:
  selector: {matchLabels: {app: callme}}
  rules: [{form: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]
";

/// Asks, and wants either an answer of the application or a refusal of the mesh.
async fn check(mesh: &Mesh, from: &str, path: &str, headers: &[&str], let_in: bool) -> Result<()> {
    let answer = mesh.get_with(from, &format!("http://callme{path}"), headers).await?;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let refused = answer.status() == 403 && body == "RBAC: access denied";
    ensure!(
        refused != let_in && (let_in || answer.status() == 403),
        "{from} asks for {path} {headers:?}: {} {body:?}",
        answer.start
    );
    Ok(())
}

/// Waits until a change has come to the proxy.
async fn changed(mesh: &Mesh, let_in: bool) -> Result<()> {
    let limit = Instant::now() + EFFECT_LIMIT;
    loop {
        match check(mesh, "client", "/", &[], let_in).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > limit => return Err(error.context("no change in time")),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

async fn enforced(version: (u32, u32), data_plane: &str) -> Result<()> {
    let config = super::config(version.0, version.1);
    let mesh = Mesh::start(&workloads(data_plane)?, &format!("{config}{POLICIES}")).await?;
    for (from, path, headers, let_in) in [
        ("client", "/", &[][..], true),
        ("client", "/any?admin", &[], true),
        ("client", "/private/x", &[], false),
        ("client", "/admin", &[], false),
        ("client", "/x/admin/y", &[], false),
        ("client", "/x/admin", &[], true),
        ("callme-v1", "/", &[], false),
        ("callme-v1", "/shared", &[], false),
        ("callme-v1", "/shared", &["x-team: b"], false),
        ("callme-v1", "/shared", &["x-team: ab"], true),
    ] {
        let checked = check(&mesh, from, path, headers, let_in).await;
        checked.with_context(|| mesh.log())?;
    }
    mesh.configure(&format!("{config}{OTHERS}"))?;
    changed(&mesh, false).await.with_context(|| mesh.log())?;
    mesh.configure(&format!("{config}{POLICIES}"))?;
    changed(&mesh, true).await.with_context(|| mesh.log())?;
    mesh.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_decide_who_is_let_in() -> Result<()> {
    enforced((100, 0), "weft").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_decide_at_envoy_as_well() -> Result<()> {
    enforced((0, 100), "envoy").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_never_could_be_read_closes_what_it_selects() -> Result<()> {
    let config = super::config(100, 0);
    let mesh = Mesh::start(&workloads("weft")?, &format!("{config}{BROKEN}")).await?;
    check(&mesh, "client", "/", &[], false)
        .await
        .with_context(|| mesh.log())?;
    let others = mesh.get("client", "http://client/").await?;
    ensure!(others.status() == 200, "{}", others.start);
    mesh.configure(&format!("{config}{POLICIES}"))?;
    changed(&mesh, true).await.with_context(|| mesh.log())?;
    mesh.stop().await
}

/// A service that decides, and the provider by which policies name it.
fn provider() -> (String, String) {
    let program = program("authz_server.py");
    let workload = format!(
        "  - name: authz\n    serviceAccount: authz\n    labels: {{app: authz}}\n    \
         ports: [{{name: http, port: 0}}]\n    command: [python3, \"{program}\", $(PORT_HTTP)]\n    \
         readiness: {{httpGet: {{path: /healthz, port: http}}}}\n"
    );
    let config = "---
apiVersion: v1
kind: Service
metadata: {name: authz, namespace: default}
spec: {selector: {app: authz}, ports: [{name: http, port: 8000, targetPort: http}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: gate
      envoyExtAuthzHttp:
        service: authz.default.svc.cluster.local
        port: 8000
        timeout: 5s
        pathPrefix: /check
        includeRequestHeadersInCheck: [x-pass]
        headersToDownstreamOnDeny: [x-reason]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asked, namespace: default}
spec:
  selector: {matchLabels: {app: callme}}
  action: CUSTOM
  provider: {name: gate}
  rules: [{to: [{operation: {paths: [/asked*]}}]}]
";
    (workload, config.to_owned())
}

async fn asked(version: (u32, u32), data_plane: &str) -> Result<()> {
    let (workload, provider) = provider();
    let config = format!("{}{provider}", super::config(version.0, version.1));
    let mesh = Mesh::start(&format!("{}{workload}", workloads(data_plane)?), &config).await?;
    for (path, headers, expected) in [
        ("/", &[][..], 200),
        ("/asked", &["x-pass: yes"][..], 200),
        ("/asked/x", &[], 401),
        ("/asked/x", &["x-pass: no"], 401),
    ] {
        let answer = mesh
            .get_with("client", &format!("http://callme{path}"), headers)
            .await?;
        ensure!(
            answer.status() == expected,
            "{path} {headers:?}: {} {}",
            answer.start,
            mesh.log()
        );
        if expected == 401 {
            let reason = answer
                .headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("x-reason"));
            ensure!(
                reason.is_some_and(|(_, reason)| *reason == format!("asked /check{path}")),
                "{reason:?}"
            );
            ensure!(answer.body == b"who are you?", "{:?}", answer.body);
        }
    }
    mesh.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_asked_about_what_policies_choose() -> Result<()> {
    asked((100, 0), "weft").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_asks_a_provider_as_well() -> Result<()> {
    asked((0, 100), "envoy").await
}
