//! Scenarios with the mesh, whose applications do not know of it.

mod authorization;
mod bad_input;
mod crd_rules;
mod egress;
mod gateway;
mod job;
mod look;
mod outage;
mod pod_security;
mod push;
mod removal;
mod revision;
mod rollout;
mod routing;
mod sidecars;
mod startup;

use std::process::Command;

use anyhow::{Result, ensure};

use super::kube::Kube;
use super::{Mesh, Scenario, Scene, plain};
use crate::cluster::handle::Cluster;
use crate::{process, workspace};

/// Namespace of the control plane.
const SYSTEM: &str = "weft-system";
/// Deployments that an installation has.
const DEPLOYMENTS: [&str; 4] = ["weft-pilot", "weft-citadel", "weft-telemetry", "weft-ingressgateway"];
/// Replicas of pilot and citadel: one is left when a node goes.
const REPLICAS: &str = "2";
/// These scenarios. The last one takes the mesh away.
pub(super) fn scenarios() -> Vec<Scenario> {
    let injected = |name, run| Scenario {
        name,
        only: None,
        mesh: Mesh::Injected,
        run,
    };
    let labelled = |name, run| Scenario {
        mesh: Mesh::Installed,
        ..injected(name, run)
    };
    vec![
        injected("mesh-injection", sidecars::injection),
        injected("mesh-mtls", sidecars::strict),
        injected("mesh-names", sidecars::names),
        injected("mesh-authorization", authorization::run),
        injected("mesh-routing", routing::run),
        injected("mesh-gateway", gateway::run),
        Scenario {
            only: plain::OUTSIDE,
            ..injected("mesh-egress", egress::run)
        },
        injected("mesh-look", look::run),
        injected("mesh-job", job::run),
        labelled("mesh-pod-security", pod_security::run),
        injected("mesh-rollout", rollout::native),
        injected("mesh-rollout-classic", rollout::classic),
        injected("mesh-node-lost", plain::node_lost),
        injected("mesh-outage", outage::run),
        injected("mesh-api-restart", outage::api_server),
        injected("mesh-push", push::run),
        labelled("mesh-startup", startup::run),
        injected("mesh-bad-input", bad_input::run),
        labelled("mesh-crd-rules", crd_rules::run),
        labelled("mesh-revision", revision::run),
        labelled("mesh-uninstall", removal::run),
    ]
}

/// Installs the mesh, or what has changed of it.
pub(super) fn install(cluster: &Cluster) -> Result<()> {
    let system = Kube::new(cluster, SYSTEM);
    let found = system.run(&[
        "get",
        "deployment",
        DEPLOYMENTS[0],
        "--ignore-not-found",
        "--output=name",
    ])?;
    let prior = meshctl(cluster, &["check", "--pre"])?;
    ensure!(!prior.contains('×'), "meshctl check --pre says {prior}");
    apply(cluster, &[])?;
    if !found.trim().is_empty() {
        // The images of a kept cluster have the same names and may be others.
        DEPLOYMENTS.iter().try_for_each(|name| system.restart(name))?;
    }
    let after = meshctl(cluster, &["check"])?;
    ensure!(!after.contains('×'), "meshctl check says {after}");
    Ok(())
}

/// `meshctl install` with the values of all scenarios, and further arguments.
fn apply(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    let (pilot, citadel) = (
        format!("pilot.replicas={REPLICAS}"),
        format!("citadel.replicas={REPLICAS}"),
    );
    let install = [
        "install",
        "--timeout",
        "90s",
        "--set",
        "profile=demo",
        "--set",
        &pilot,
        "--set",
        &citadel,
    ];
    meshctl(cluster, &[&install, arguments].concat()).map(drop)
}

/// What `meshctl` writes on stdout; its failure is an error with what it says.
fn meshctl(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(workspace::binaries("debug").join("meshctl"));
    command.env("KUBECONFIG", cluster.kubeconfig()?).args(arguments);
    process::output(&mut command)
}

/// Takes a scenario's routes from the gateway, which all scenarios share: Kubernetes deletes what is in a namespace only when its pods
/// have ended, some seconds later.
pub(super) fn remove_routes(kube: &Kube<'_>) -> Result<()> {
    let kinds = ["gateways.networking.istio.io", "virtualservices.networking.istio.io"];
    let known = kube.run(
        &[
            &[
                "get",
                "customresourcedefinitions",
                "--ignore-not-found",
                "--output=name",
            ],
            &kinds[..],
        ]
        .concat(),
    )?;
    // The last scenario takes the kinds away.
    if known.trim().is_empty() {
        return Ok(());
    }
    kube.run(&["delete", &kinds.join(","), "--all"]).map(drop)
}

/// The control plane's namespace.
pub(super) fn system<'a>(scene: &Scene<'a>) -> Kube<'a> {
    Kube::new(scene.cluster, SYSTEM)
}
