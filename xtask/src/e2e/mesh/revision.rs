//! An upgrade by revision: a second control plane, to which a namespace moves while traffic flows.

use anyhow::{Result, ensure};

use super::{apply, meshctl, system};
use crate::e2e::Scene;
use crate::e2e::load::{Load, Targets};
use crate::e2e::objects::SAMPLE;

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    kube.run(&["label", "namespace", kube.namespace(), "istio-injection=enabled"])?;
    kube.apply(SAMPLE[1])?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    let load = Load::start(kube, &Targets::callme("callme"))?;
    let result = moved(scene, &load);
    meshctl(scene.cluster, &["uninstall", "--revision", "canary"])?;
    result?;
    let left = system(scene).run(&["get", "all", "--selector=istio.io/rev=canary", "--output=name"])?;
    ensure!(left.trim().is_empty(), "the revision left {left}");
    load.report()?.check_clean()
}

fn moved(scene: &Scene<'_>, load: &Load<'_>) -> Result<()> {
    let kube = &scene.kube;
    apply(scene.cluster, &["--revision", "canary"])?;
    kube.run(&[
        "label",
        "namespace",
        kube.namespace(),
        "istio-injection-",
        "istio.io/rev=canary",
    ])?;
    for deployment in ["callme-v1", "callme-v2"] {
        kube.restart(deployment)?;
    }
    let pods = kube.get(&["pods", "--selector", "app=callme"])?;
    let pods = pods["items"].as_array().into_iter().flatten();
    // Old ones may take their grace period.
    for pod in pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
        let revision = &pod["metadata"]["annotations"]["istio.io/rev"];
        ensure!(revision == "canary", "a new pod has revision {revision}");
    }
    let now = load.report()?.requests();
    load.wait_for_requests(now + 600)?.check_clean()?;
    // Back, before the revision goes.
    kube.run(&[
        "label",
        "namespace",
        kube.namespace(),
        "istio.io/rev-",
        "istio-injection=enabled",
    ])?;
    for deployment in ["callme-v1", "callme-v2"] {
        kube.restart(deployment)?;
    }
    Ok(())
}
