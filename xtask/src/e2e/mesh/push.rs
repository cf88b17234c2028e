//! From `kubectl apply` of a changed weight to the last of 20 sidecars using it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::system;
use crate::e2e::Scene;
use crate::e2e::forward::Forward;
use crate::e2e::kube::until_every;
use crate::e2e::objects::{SAMPLE, SAMPLE_MESH};
use crate::http::Client;

const SIDECARS: usize = 20;
/// How often the weight is changed.
const ROUNDS: usize = 20;
/// Between two questions to the pilots.
const PAUSE: Duration = Duration::from_millis(20);
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
    let pilots = Pilots::find(scene)?;
    let (mut times, mut applying) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let before = pilots.acknowledged(kube.namespace())?;
        ensure!(before.len() == SIDECARS, "{} sidecars are connected", before.len());
        let weight = round % 50;
        let objects = SAMPLE_MESH
            .replace("weight: 80", &format!("weight: {}", 50 + weight))
            .replace("weight: 20", &format!("weight: {}", 50 - weight));
        // The time of kubectl itself is a part of it.
        let start = Instant::now();
        kube.apply(&objects)?;
        applying.push(start.elapsed());
        until_every(PAUSE, Duration::from_secs(10), || {
            let now = pilots.acknowledged(kube.namespace())?;
            let behind = before.iter().filter(|old| now.contains(old)).count();
            ensure!(behind == 0, "{behind} sidecars still use the old weight");
            Ok(())
        })?;
        times.push(start.elapsed());
    }
    pilots.0.into_iter().for_each(Forward::stop);
    applying.sort_unstable();
    times.sort_unstable();
    let (median, slowest) = (times[ROUNDS / 2], times[ROUNDS - 1]);
    eprintln!(
        "e2e: a changed weight is used by {SIDECARS} sidecars after {median:.0?} (median), {slowest:.0?} (slowest of \
         {ROUNDS}); of it kubectl apply takes {:.0?} (median)",
        applying[ROUNDS / 2]
    );
    scene.bar("the slowest change of a weight", slowest, LIMIT);
    Ok(())
}

/// What the pilots know of the proxies. Their pages are for those within their pods, so that each is asked through a port of its own.
#[derive(Debug)]
struct Pilots(Vec<Forward>);

// === impl Pilots ===

impl Pilots {
    fn find(scene: &Scene<'_>) -> Result<Self> {
        let system = system(scene);
        let pods = system.get(&["pods", "--selector", "app=weft-pilot"])?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let forward = |pod: &serde_json::Value| {
            let pod = pod["metadata"]["name"].as_str().context("a pod without a name")?;
            let (name, pod) = (format!("forward-{pod}"), format!("pod/{pod}"));
            Forward::start(&name, &mut system.command(&["port-forward", &pod, ":15014"])?)
        };
        Ok(Self(pods.map(forward).collect::<Result<_>>()?))
    }

    /// Each sidecar of a namespace with the version of its routes that it has acknowledged. What asking takes is in the measured time.
    fn acknowledged(&self, namespace: &str) -> Result<Vec<(String, String)>> {
        let suffix = format!(".{namespace}");
        let mut found = Vec::new();
        for pilot in &self.0 {
            let mut client = Client::new(pilot.address(), Duration::from_secs(5));
            let answer = client.get("/debug/syncz", &[])?;
            ensure!(answer.status == 200, "a pilot answers {}", answer.status);
            let proxies: serde_json::Value = serde_json::from_slice(&answer.body)?;
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
}
