//! Rolling restarts under load, one after the other, and no request fails.

use anyhow::{Context, Result};

use super::{DEPLOYMENTS, system};
use crate::e2e::Scene;
use crate::e2e::kube::until;
use crate::e2e::load::{Load, Targets};
use crate::e2e::objects::{self, CHANGE_LIMIT, SAMPLE, only_v2_answers};

/// Requests between two restarts: two seconds of them.
const BETWEEN: u64 = 400;

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    objects::start(kube, &[SAMPLE[0], SAMPLE[1], ROUTES])?;
    let system = system(scene);
    let gateway = format!("weft-ingressgateway.{}", system.namespace());
    let inside = Load::start(kube, &Targets::callme("callme"))?;
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
    for deployment in DEPLOYMENTS {
        system.restart(deployment)?;
        both_clean(deployment)?;
    }
    Ok(())
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
