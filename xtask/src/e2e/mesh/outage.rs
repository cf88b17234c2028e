//! A control plane that is away for a minute, and an API server that is started anew: the traffic goes on.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{REPLICAS, system};
use crate::e2e::Scene;
use crate::e2e::kube::{Kube, until};
use crate::e2e::load::{Load, Targets};
use crate::e2e::objects::{self, SAMPLE, SAMPLE_MESH, only_v2_answers};

/// How long what was away may take to work again.
const BACK_LIMIT: Duration = Duration::from_secs(30);
/// Requests of a minute.
const MINUTE: u64 = 200 * 60;

/// Pilot and citadel are away for a minute under load: nothing fails, and what changed meanwhile is there soon after.
pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    objects::start(kube, &[SAMPLE[0], SAMPLE[1], SAMPLE_MESH])?;
    let load = Load::start(kube, &Targets::callme("callme"))?;
    let before = load.report()?.requests();
    let system = system(scene);
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        system.run(&["scale", &replicas, "deployment/weft-pilot", "deployment/weft-citadel"])
    };
    scale("0")?;
    let during = load.wait_for_requests(before + MINUTE);
    scale(REPLICAS)?;
    // Also after a failure: the next scenario needs them.
    for deployment in ["weft-pilot", "weft-citadel"] {
        system.rolled_out(deployment)?;
    }
    during?.check_clean().context("without a control plane")?;
    all_to_v2(kube)?;
    load.report()?
        .check_clean()
        .context("after the control plane came back")
}

/// The API server ends by force under load: nothing fails, and what is changed or comes after it is there soon.
pub(super) fn api_server(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    objects::start(kube, &[SAMPLE[0], SAMPLE[1], SAMPLE_MESH])?;
    let load = Load::start(kube, &Targets::callme("callme"))?;
    scene.cluster.end_api()?;
    until(BACK_LIMIT, || kube.run(&["get", "--raw", "/readyz"]))?;
    all_to_v2(kube)?;
    // A pod that comes afterwards is injected, gets a certificate and is an endpoint.
    kube.run(&["scale", "--replicas=2", "deployment/callme-v2"])?;
    kube.rolled_out("callme-v2")?;
    let now = load.report()?.requests();
    load.wait_for_requests(now + 600)?
        .check_clean()
        .context("after the API server came back")
}

/// Sends everything to the second version, and waits until that is so.
fn all_to_v2(kube: &Kube<'_>) -> Result<()> {
    let objects = SAMPLE_MESH
        .replace("weight: 80", "weight: 0")
        .replace("weight: 20", "weight: 100");
    // The webhook in front of it may be about to start.
    until(BACK_LIMIT, || kube.apply(&objects))?;
    until(BACK_LIMIT, || only_v2_answers(kube))
}
