//! A node that is lost, and a control plane that is away for a minute: the traffic goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::system;
use crate::e2e::Scene;
use crate::e2e::kube::until;
use crate::e2e::load::{Load, Targets};
use crate::e2e::objects::{self, SAMPLE, SAMPLE_MESH, curl};
use crate::e2e::plain::{endpoints, spread};

/// A lost node shows after 8 s; its pods' endpoints go after that.
const LOST_LIMIT: Duration = Duration::from_secs(60);
/// Requests of a minute.
const MINUTE: u64 = 200 * 60;

/// A node goes: once its pods have left the Service, those of the other node answer every request. It comes back, and so do they.
pub(super) fn node(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    let objects = SAMPLE[1].replace("replicas: 1", "replicas: 2");
    kube.apply(&spread(&objects))?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    ensure!(endpoints(scene)? == 4, "not all pods are behind the Service");
    scene.cluster.stop_node(2)?;
    let lost = until(LOST_LIMIT, || {
        let count = endpoints(scene)?;
        ensure!(count == 2, "{count} pods are behind the Service, 2 should be");
        Ok(())
    });
    let carried = lost.and_then(|()| {
        let load = Load::start(kube, &Targets::callme("callme"))?;
        load.wait_for_requests(600)?.check_clean()
    });
    // Also after a failure: the next scenario needs both nodes.
    scene.cluster.start_node(2)?;
    carried?;
    until(LOST_LIMIT, || {
        let count = endpoints(scene)?;
        ensure!(count == 4, "{count} pods are behind the Service, 4 should be");
        Ok(())
    })
}

/// Pilot and citadel are away for a minute under load: nothing fails, and what changed meanwhile is there soon after.
pub(super) fn control_plane(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    SAMPLE.iter().try_for_each(|objects| kube.apply(objects))?;
    kube.apply(SAMPLE_MESH)?;
    objects::tools(kube)?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    let load = Load::start(kube, &Targets::callme("callme"))?;
    let before = load.report()?.requests();
    let system = system(scene);
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        system.run(&["scale", &replicas, "deployment/weft-pilot", "deployment/weft-citadel"])
    };
    scale("0")?;
    let during = load.wait_for_requests(before + MINUTE);
    scale("1")?;
    during?.check_clean().context("without a control plane")?;
    for deployment in ["weft-pilot", "weft-citadel"] {
        system.rolled_out(deployment)?;
    }
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
