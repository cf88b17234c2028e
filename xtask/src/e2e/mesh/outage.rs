//! A control plane that is away for a minute: the traffic goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{REPLICAS, system};
use crate::e2e::Scene;
use crate::e2e::kube::until;
use crate::e2e::load::{Load, Targets};
use crate::e2e::objects::{self, SAMPLE, SAMPLE_MESH, curl};

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
    kube.apply(
        &SAMPLE_MESH
            .replace("weight: 80", "weight: 0")
            .replace("weight: 20", "weight: 100"),
    )?;
    until(Duration::from_secs(30), || {
        for _ in 0..5 {
            let answer = curl(kube, "http://callme/")?;
            ensure!(
                answer.contains(r#""version":"v2""#),
                "the old weights are used: {answer}"
            );
        }
        Ok(())
    })?;
    load.report()?
        .check_clean()
        .context("after the control plane came back")
}
