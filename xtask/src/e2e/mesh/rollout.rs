//! Rolling restarts under load, one after the other, and no request fails.

use anyhow::{Context, Result};

use super::{DEPLOYMENTS, system};
use crate::e2e::Scene;
use crate::e2e::load::{Load, Targets};
use crate::e2e::objects::SAMPLE;

/// Requests between two restarts: two seconds of them.
const BETWEEN: u64 = 400;

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    SAMPLE.iter().try_for_each(|objects| kube.apply(objects))?;
    kube.apply(ROUTES)?;
    kube.wait_for("Available", &["deployment", "--all"])?;
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
