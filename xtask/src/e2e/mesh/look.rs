//! Looking into the mesh from outside: `meshctl` against the cluster, by port-forward.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::meshctl;
use crate::e2e::Scene;
use crate::e2e::forward::Forward;
use crate::e2e::kube::until;
use crate::e2e::objects::{self, SAMPLE, SAMPLE_MESH, curl};
use crate::http::Client;
use crate::workspace;

const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    objects::start(kube, &[&SAMPLE[..], &[SAMPLE_MESH]].concat())?;
    let caller = format!("caller.{}", kube.namespace());
    let said = |words: &[&str]| meshctl(scene.cluster, words).with_context(|| format!("meshctl {}", words.join(" ")));
    let names = |words: &[&str], expected: &str| {
        let text = said(words)?;
        ensure!(
            text.contains(expected),
            "meshctl {} does not name {expected}: {text}",
            words.join(" ")
        );
        Ok(())
    };
    names(&["status"], "weft-pilot")?;
    names(&["version"], "proxies: ")?;
    until(LIMIT, || {
        let proxies: Value = serde_json::from_str(&said(&["proxy-status", "-o", "json"])?)?;
        let text = proxies.to_string();
        ensure!(
            text.contains(kube.namespace()),
            "proxy-status has no sidecar of the namespace: {text}"
        );
        ensure!(!text.contains("STALE"), "a proxy is behind: {text}");
        Ok(())
    })?;
    names(&["proxy-config", "cluster", &caller], "v2        outbound")?;
    names(&["proxy-config", "route", &caller, "-o", "yaml"], "callme")?;
    names(&["proxy-config", "endpoint", &caller], "HEALTHY")?;
    names(&["proxy-config", "secret", &caller], "ROOTCA")?;
    names(&["logs", &caller, "--tail", "200"], "listening")?;
    names(&["logs", "pilot", "--tail", "20"], "pilot")?;
    // Traffic shows as an edge, in the command and on the page.
    until(LIMIT, || {
        curl(kube, "http://caller/")?;
        names(&["graph"], "callme-v1")
    })?;
    dashboard(scene)
}

/// The page of telemetry through the forwarded port.
fn dashboard(scene: &Scene<'_>) -> Result<()> {
    let mut command = Command::new(workspace::binaries("debug").join("meshctl"));
    command
        .env("KUBECONFIG", scene.cluster.kubeconfig()?)
        .args(["dashboard", "--no-browser", "--port", "0"]);
    let forward = Forward::start("dashboard", &mut command)?;
    let result = (0..3).try_for_each(|_| {
        let mut page = Client::new(forward.address(), LIMIT);
        let graph = page.get("/api/graph", &[])?;
        ensure!(graph.status == 200, "the page answers {}", graph.status);
        let body = String::from_utf8_lossy(&graph.body).into_owned();
        ensure!(body.contains("callme-v1"), "the graph has no callme-v1: {body}");
        Ok(())
    });
    forward.stop();
    result
}
