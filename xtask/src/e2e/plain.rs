//! Scenarios without the mesh: what every other scenario takes for granted about the cluster.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::kube::until;
use super::load::{Load, Targets};
use super::objects::{self, CHANGE_LIMIT, SAMPLE, curl};
use super::outside::Outside;
use super::{Mesh, Scenario, Scene};
use crate::cluster::Provider;

/// A lost node shows after 8 s; its pods' endpoints go after that.
const LOST_LIMIT: Duration = Duration::from_secs(60);

/// Why a scenario runs on one provider alone.
pub(super) const OUTSIDE: Option<(Provider, &str)> = Some((
    Provider::Local,
    "only the local provider has a network outside the cluster for it",
));

/// The same for how nodes carry Services.
const LOCAL_PROXY: Option<(Provider, &str)> = Some((
    Provider::Local,
    "only the local provider has a node for each mode of kube-proxy",
));

pub(super) fn scenarios() -> Vec<Scenario> {
    let plain = |name, run| Scenario {
        name,
        only: None,
        mesh: Mesh::None,
        run,
    };
    vec![
        plain("plain-names", names),
        Scenario {
            only: OUTSIDE,
            ..plain("plain-outside", outside)
        },
        plain("plain-services", services),
        Scenario {
            only: LOCAL_PROXY,
            ..plain("plain-proxy-modes", proxy_modes)
        },
        plain("plain-node-lost", node_lost),
    ]
}

/// Every name that a Service has leads to it, headless Services to their pods, and other names nowhere.
fn names(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    let namespace = kube.namespace();
    kube.apply(SAMPLE[1])?;
    kube.apply(&format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: headless}}
spec: {{clusterIP: None, selector: {{app: callme}}, ports: [{{name: http, port: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: alias}}
spec: {{type: ExternalName, externalName: callme.{namespace}.svc.cluster.local}}
"#
    ))?;
    objects::start(kube, &[])?;
    let short = format!("callme.{namespace}");
    let full = format!("callme.{namespace}.svc.cluster.local");
    objects::check_names(kube, &["callme", &short, &full, "alias", "headless:8080"])
}

/// Pods reach a server outside the cluster by its name, with addresses of their own, and nothing else outside.
fn outside(scene: &Scene<'_>) -> Result<()> {
    let outside = Outside::start(scene.cluster)?;
    objects::tools(&scene.kube)?;
    let answer = until(CHANGE_LIMIT, || curl(&scene.kube, &outside.url()))?;
    ensure!(answer == Outside::TEXT, "outside answers {answer:?}");
    // TEST-NET-1, which is nobody's.
    let nowhere = curl(&scene.kube, "http://192.0.2.1/");
    ensure!(nowhere.is_err(), "an address outside the cluster answers {nowhere:?}");
    Ok(())
}

/// Both versions answer all protocols through one Service from the other node, and none of 1,000 requests fails.
fn services(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    SAMPLE.iter().try_for_each(|objects| kube.apply(objects))?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    let load = Load::start(kube, &Targets::callme("callme"))?;
    let report = load.wait_for_requests(1000)?;
    report.check_clean()?;
    ensure!(
        report.of_version("v1") + report.of_version("v2") == report.requests(),
        "somebody else answers"
    );
    Ok(())
}

/// One node carries Services by nftables, the other by iptables, and pods of both reach one.
fn proxy_modes(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    kube.apply(SAMPLE[1])?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    for (number, mode) in [(1, "iptables"), (2, "nftables")] {
        let node = format!("node{number}");
        let asked = scene.cluster.proxy_mode(number)?;
        ensure!(asked == mode, "kube-proxy of {node} says that its mode is {asked}");
        objects::tools_on(kube, &node)?;
        for _ in 0..10 {
            curl(kube, "http://callme/").with_context(|| format!("from {node} by {mode}"))?;
        }
        kube.run(&["delete", "pod", "tools"])?;
    }
    Ok(())
}

/// A node goes: its pods leave the Service, those of the other node answer. It comes back, and so do they.
pub(super) fn node_lost(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    let objects = SAMPLE[1].replace("replicas: 1", "replicas: 2");
    let objects = spread(&objects);
    kube.apply(&objects)?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    // Slices follow the pods in their own time.
    wait_for_endpoints(scene, 4)?;
    scene.cluster.stop_node(2)?;
    let lost = wait_for_endpoints(scene, 2);
    let carried = lost.and_then(|()| {
        // The control plane may have been there with all its replicas; then it moves first.
        let load = until(LOST_LIMIT, || Load::start(kube, &Targets::callme("callme")))?;
        load.wait_for_requests(600)?.check_clean()
    });
    // Also after a failure: the next scenario needs both nodes.
    scene.cluster.start_node(2)?;
    carried?;
    wait_for_endpoints(scene, 4)
}

/// The Deployments with their pods on different nodes.
fn spread(objects: &str) -> String {
    let constraint = "    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: callme}}}
      serviceAccountName: callme";
    objects.replace("    spec:\n      serviceAccountName: callme", constraint)
}

fn wait_for_endpoints(scene: &Scene<'_>, wanted: usize) -> Result<()> {
    until(LOST_LIMIT, || {
        let count = endpoints(scene)?;
        ensure!(
            count == wanted,
            "{count} pods are behind the Service, {wanted} should be"
        );
        Ok(())
    })
}

/// How many ready pods the sample's Service has.
fn endpoints(scene: &Scene<'_>) -> Result<usize> {
    let slices = scene
        .kube
        .get(&["endpointslices", "--selector=kubernetes.io/service-name=callme"])?;
    let slices = slices["items"].as_array().into_iter().flatten();
    let endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    Ok(endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] == true)
        .count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_deployments_are_spread() {
        assert_eq!(spread(SAMPLE[1]).matches("topologySpreadConstraints").count(), 2);
        assert_eq!(SAMPLE[1].matches("replicas: 1").count(), 2);
    }
}
