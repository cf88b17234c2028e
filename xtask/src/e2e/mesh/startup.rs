//! What the mesh adds to the time until a fresh pod is ready, step by step.

use std::io::{BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::e2e::Scene;
use crate::e2e::kube::Kube;

const PODS: usize = 10;
/// What the mesh may add, as a median.
const LIMIT: Duration = Duration::from_millis(2500);
const STEPS: [&str; 4] = ["scheduled", "init done", "proxy started", "ready"];

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    let without = median(kube, "plain", "false")?;
    let with = median(kube, "mesh", "true")?;
    for (index, step) in STEPS.iter().enumerate() {
        eprintln!(
            "e2e: {step}: {:.2} s with the mesh, {:.2} s without",
            with[index].as_secs_f64(),
            without[index].as_secs_f64()
        );
    }
    let added = with[3].saturating_sub(without[3]);
    eprintln!("e2e: the mesh adds {:.2} s (medians of {PODS})", added.as_secs_f64());
    scene.bar("what the mesh adds to a pod's start", added, LIMIT);
    Ok(())
}

/// Medians of when each step is reached after `kubectl apply`. A step that a pod does not have counts as the one before it.
fn median(kube: &Kube<'_>, kind: &str, inject: &str) -> Result<[Duration; 4]> {
    let mut all: [Vec<Duration>; 4] = Default::default();
    for number in 0..PODS {
        let times = start(kube, &format!("{kind}-{number}"), inject)?;
        for (step, time) in all.iter_mut().zip(times) {
            step.push(time);
        }
    }
    Ok(all.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    }))
}

fn start(kube: &Kube<'_>, name: &str, inject: &str) -> Result<[Duration; 4]> {
    let selector = format!("--selector=name={name}");
    // A watch without events would never end by itself.
    let mut watch = kube.command(&[
        "--request-timeout=100s",
        "get",
        "pods",
        &selector,
        "--watch",
        "--output=json",
        "--output-watch-events",
    ])?;
    let mut watch = watch
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start kubectl")?;
    let output = watch.stdout.take().context("kubectl has no stdout")?;
    let start = Instant::now();
    let applied = kube.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{name: {name}, sidecar.istio.io/inject: "{inject}"}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: weft/callme:{version}
    imagePullPolicy: IfNotPresent
    args: [callme]
    env: [{{name: LISTEN_ADDRESS, value: 0.0.0.0}}, {{name: PORT_HTTP, value: "8080"}}]
    readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
"#,
        version = env!("CARGO_PKG_VERSION")
    ));
    let times = applied.and_then(|()| follow(BufReader::new(output), start));
    watch.kill()?;
    watch.wait()?;
    kube.run(&["delete", "pod", name, "--wait=false"])?;
    times
}

/// Reads a watch until the pod is ready.
fn follow(output: impl Read, start: Instant) -> Result<[Duration; 4]> {
    let mut reached: [Option<Duration>; 4] = [None; 4];
    for event in serde_json::Deserializer::from_reader(output).into_iter::<Value>() {
        let event = event.context("kubectl gave no JSON")?;
        let now = start.elapsed();
        for (slot, is) in reached.iter_mut().zip(state(&event["object"])) {
            if is && slot.is_none() {
                *slot = Some(now);
            }
        }
        if let Some(ready) = reached[3] {
            let mut before = Duration::ZERO;
            return Ok(reached.map(|time| {
                before = time.unwrap_or(before).min(ready);
                before
            }));
        }
        ensure!(now < Duration::from_secs(90), "the pod is not ready after {now:?}");
    }
    anyhow::bail!("the watch ended before the pod was ready")
}

/// Whether each of [`STEPS`] is reached.
fn state(pod: &Value) -> [bool; 4] {
    let condition = |kind: &str| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.filter(|c| c["type"] == kind).any(|c| c["status"] == "True")
    };
    // A native sidecar is among the init containers.
    let lists = ["containerStatuses", "initContainerStatuses"].map(|list| pod["status"][list].as_array());
    let containers = lists.into_iter().flatten().flatten();
    let proxy = { containers }.any(|c| c["name"] == "istio-proxy" && c["started"] == true);
    let has_init = pod["spec"]["initContainers"].is_array();
    [
        condition("PodScheduled"),
        has_init && condition("Initialized"),
        proxy,
        condition("Ready"),
    ]
}
