//! Leaving the mesh: any host, only registered ones, and a ServiceEntry.

use anyhow::{Result, ensure};

use crate::e2e::Scene;
use crate::e2e::kube::until;
use crate::e2e::objects::{self, CHANGE_LIMIT, curl};
use crate::e2e::outside::Outside;

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    let outside = Outside::start(scene.cluster)?;
    objects::tools(kube)?;
    let answers = || {
        let answer = curl(kube, &outside.url())?;
        ensure!(answer == Outside::TEXT, "the server outside answers {answer:?}");
        Ok(())
    };
    // ALLOW_ANY is the default.
    until(CHANGE_LIMIT, answers)?;
    kube.apply(
        r"
apiVersion: networking.istio.io/v1beta1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
",
    )?;
    until(CHANGE_LIMIT, || {
        let answer = curl(kube, &outside.url());
        ensure!(answer.is_err(), "REGISTRY_ONLY lets {answer:?} through");
        Ok(())
    })?;
    kube.apply(&format!(
        r"
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {{name: outside}}
spec:
  hosts: [{}]
  ports: [{{number: {}, name: http, protocol: HTTP}}]
  resolution: DNS
  location: MESH_EXTERNAL
",
        Outside::HOST,
        Outside::PORT
    ))?;
    until(CHANGE_LIMIT, answers)
}
