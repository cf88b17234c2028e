//! From `kubectl apply` of a changed weight to the last of 20 sidecars using it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::system;
use crate::e2e::Scene;
use crate::e2e::kube::until;
use crate::e2e::objects::{SAMPLE, SAMPLE_MESH};

const SIDECARS: usize = 20;
/// How often the weight is changed.
const ROUNDS: usize = 20;
/// What the slowest change may take.
const LIMIT: Duration = Duration::from_secs(1);
const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    kube.apply(SAMPLE[1])?;
    kube.apply(SAMPLE_MESH)?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    // Two pods of the sample run already.
    let more = format!("--replicas={}", SIDECARS - 1);
    kube.run(&["scale", &more, "deployment/callme-v1"])?;
    kube.rolled_out("callme-v1")?;
    let mut times: Vec<Duration> = Vec::new();
    for round in 0..ROUNDS {
        let before = acknowledged(scene)?;
        ensure!(before.len() == SIDECARS, "{} sidecars are connected", before.len());
        let weight = round % 50;
        let objects = SAMPLE_MESH
            .replace("weight: 80", &format!("weight: {}", 50 + weight))
            .replace("weight: 20", &format!("weight: {}", 50 - weight));
        // The time of kubectl itself is a part of it.
        let start = Instant::now();
        kube.apply(&objects)?;
        until(Duration::from_secs(10), || {
            let now = acknowledged(scene)?;
            let behind = before.iter().filter(|old| now.contains(old)).count();
            ensure!(behind == 0, "{behind} sidecars still use the old weight");
            Ok(())
        })?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let (median, slowest) = (times[ROUNDS / 2], times[ROUNDS - 1]);
    eprintln!(
        "e2e: a changed weight is used by {SIDECARS} sidecars after {median:.0?} (median), {slowest:.0?} (slowest of {ROUNDS})"
    );
    ensure!(slowest < LIMIT, "the slowest change took {slowest:?}");
    Ok(())
}

/// Each sidecar of the namespace with the version of its routes that it has acknowledged, as the pilots know it.
fn acknowledged(scene: &Scene<'_>) -> Result<Vec<(String, String)>> {
    let system = system(scene);
    let suffix = format!(".{}", scene.kube.namespace());
    let mut found = Vec::new();
    let pods = system.get(&["pods", "--selector", "app=weft-pilot"])?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        let pod = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        let path = format!(
            "/api/v1/namespaces/{}/pods/{pod}:15014/proxy/debug/syncz",
            system.namespace()
        );
        let proxies: serde_json::Value = serde_json::from_str(&system.run(&["get", "--raw", &path])?)?;
        for proxy in proxies.as_array().into_iter().flatten() {
            let name = proxy["proxy"].as_str().unwrap_or_default();
            let version = proxy["resources"][ROUTES]["acked"].as_str().unwrap_or_default();
            if name.ends_with(&suffix) && !version.is_empty() {
                found.push((name.to_owned(), version.to_owned()));
            }
        }
    }
    Ok(found)
}
