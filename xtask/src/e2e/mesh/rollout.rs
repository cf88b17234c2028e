//! Rolling restarts under load, one after the other, and no request fails, whichever kind of sidecar the pods have.

use anyhow::{Context, Result};

use super::{DEPLOYMENTS, system};
use crate::e2e::Scene;
use crate::e2e::kube::{Kube, until};
use crate::e2e::load::{Load, Targets};
use crate::e2e::objects::{self, CHANGE_LIMIT, SAMPLE, only_v2_answers};
use crate::e2e::sidecar::{self, Sidecar};

/// Requests between two restarts: two seconds of them.
const BETWEEN: u64 = 200;

/// Sidecars as the cluster has them, and then the control plane and the gateway as well.
pub(super) fn native(scene: &Scene<'_>) -> Result<()> {
    let system = system(scene);
    run(scene, Sidecar::Native, |both_clean| {
        for deployment in DEPLOYMENTS {
            system.restart(deployment)?;
            both_clean(deployment)?;
        }
        Ok(())
    })
}

/// The applications alone: what is not beside an application has no sidecar.
pub(super) fn classic(scene: &Scene<'_>) -> Result<()> {
    run(scene, Sidecar::Classic, |_| Ok(()))
}

/// Whether nothing has failed until some time after what is named.
type BothClean<'a> = &'a dyn Fn(&str) -> Result<()>;

fn run(scene: &Scene<'_>, sidecar: Sidecar, and_then: impl FnOnce(BothClean<'_>) -> Result<()>) -> Result<()> {
    let kube = &scene.kube;
    let sample = SAMPLE.map(|objects| sidecar.in_templates(objects));
    objects::start(kube, &[&sample[0], &sample[1], ROUTES])?;
    check_sidecars(kube, sidecar)?;
    let gateway = format!("weft-ingressgateway.{}", system(scene).namespace());
    let inside = Load::start_with(kube, sidecar, &Targets::callme("callme"))?;
    let through = Load::start_outside(kube, &Targets::one_port(&gateway))?;
    let both_clean = |after: &str| {
        for (load, from) in [(&inside, "from a sidecar"), (&through, "through the gateway")] {
            let now = load.report()?;
            let report = load.wait_for_requests(now.requests() + BETWEEN)?;
            report.check_clean().with_context(|| format!("{from} after {after}"))?;
        }
        Ok::<_, anyhow::Error>(())
    };
    both_clean("the start")?;
    for deployment in ["callme-v1", "callme-v2"] {
        kube.restart(deployment)?;
        both_clean(deployment)?;
    }
    // All traffic to the one pod of a version: nobody else could take a request.
    kube.apply(ALL_TO_V2)?;
    kube.apply(&ROUTES.replace("host: callme,", "host: callme, subset: v2,"))?;
    until(CHANGE_LIMIT, || only_v2_answers(kube))?;
    kube.restart("callme-v2")?;
    both_clean("the only pod's")?;
    and_then(&both_clean)
}

fn check_sidecars(kube: &Kube<'_>, sidecar: Sidecar) -> Result<()> {
    let pods = kube.get(&["pods", "--selector=app=callme"])?;
    let mut pods = pods["items"].as_array().into_iter().flatten();
    pods.try_for_each(|pod| sidecar::check(pod, Some(sidecar)))
}

/// All three protocols on the one port of the gateway.
const ROUTES: &str = r"
apiVersion: networking.istio.io/v1beta1
kind: Gateway
metadata: {name: rollout}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: rollout}
spec:
  hosts: ['*']
  gateways: [rollout]
  http:
  - match: [{uri: {prefix: /weft.sample.}}]
    route: [{destination: {host: callme, port: {number: 9090}}}]
  - route: [{destination: {host: callme, port: {number: 80}}}]
";

/// The second version of `callme`, which is one pod, gets every request.
const ALL_TO_V2: &str = r"
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: callme}
spec:
  host: callme
  subsets:
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: callme}
spec:
  hosts: [callme]
  http:
  - route: [{destination: {host: callme, subset: v2}}]
";
