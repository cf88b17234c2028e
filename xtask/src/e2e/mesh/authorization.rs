//! AuthorizationPolicies with real pods: who is let in by certificate, method and path, and that it ends with the policy.

use anyhow::{Result, ensure};

use crate::e2e::Scene;
use crate::e2e::kube::{Kube, until};
use crate::e2e::objects::{self, CHANGE_LIMIT, SAMPLE, SAMPLE_MESH, status};

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    objects::start(kube, &[SAMPLE[0], SAMPLE[1], SAMPLE_MESH])?;
    for url in ["http://callme/", "http://caller/"] {
        until(CHANGE_LIMIT, || expect(kube, &[url], "200"))?;
    }
    let namespace = kube.namespace();
    kube.apply(&format!(
        "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: tools-read}}
spec:
  selector: {{matchLabels: {{app: callme}}}}
  rules:
  - from: [{{source: {{principals: [cluster.local/ns/{namespace}/sa/default]}}}}]
    to: [{{operation: {{methods: [GET], notPaths: [/private*]}}}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: no-admin}}
spec:
  selector: {{matchLabels: {{app: callme}}}}
  action: DENY
  rules: [{{to: [{{operation: {{paths: [/admin, /admin/*]}}}}]}}]
"
    ))?;
    // Both policies have come to both versions once neither lets anything of it in.
    for path in ["/private/x", "/admin", "/admin/x"] {
        for _ in 0..4 {
            until(CHANGE_LIMIT, || expect(kube, &[&format!("http://callme{path}")], "403"))?;
        }
    }
    for _ in 0..4 {
        expect(kube, &["http://callme/"], "200")?;
        expect(kube, &["--request", "POST", "http://callme/"], "403")?;
    }
    // Another account asks callme on behalf of whoever asks it.
    let through = status(kube, &["http://caller/"])?;
    ensure!(through != "200", "the caller was let in");
    kube.run(&["delete", "authorizationpolicy", "tools-read", "no-admin"])?;
    until(CHANGE_LIMIT, || expect(kube, &["http://caller/"], "200"))
}

fn expect(kube: &Kube<'_>, arguments: &[&str], expected: &str) -> Result<()> {
    let got = status(kube, arguments)?;
    ensure!(got == expected, "{arguments:?} got {got} instead of {expected}");
    Ok(())
}
