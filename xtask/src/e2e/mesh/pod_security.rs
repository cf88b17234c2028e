//! Pod Security levels on an application's namespace: what they let pass runs, what they refuse is named with its way out.

use anyhow::{Context, Result, bail, ensure};

use super::meshctl;
use crate::e2e::Scene;
use crate::e2e::kube::{Kube, until};
use crate::e2e::objects::{CHANGE_LIMIT, SAMPLE};
use crate::e2e::sidecar::{self, Sidecar};

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    kube.run(&["label", "namespace", kube.namespace(), "istio-injection=enabled"])?;
    enforce(kube, "restricted")?;
    // Without capture a sidecar asks for nothing that the level refuses.
    kube.apply(APART)?;
    kube.wait_for("Ready", &["pod/apart"])?;
    let Err(refused) = kube.apply(CAPTURED) else {
        bail!("a pod that programs capture is taken under restricted");
    };
    let refused = format!("{refused:#}");
    for named in ["PodSecurity", "weft-init"] {
        ensure!(refused.contains(named), "the refusal does not name {named}: {refused}");
    }
    // A Deployment's pods are refused out of sight: `check` tells.
    kube.apply(SAMPLE[1])?;
    let said = until(CHANGE_LIMIT, || {
        let said = match meshctl(scene.cluster, &["check"]) {
            Ok(said) => bail!("meshctl check finds nothing: {said}"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            said.contains("callme-v1"),
            "meshctl check does not name callme-v1: {said}"
        );
        Ok(said)
    })?;
    ensure!(said.contains("PodSecurity"), "meshctl check does not say why: {said}");
    enforce(kube, "privileged")?;
    kube.run(&["rollout", "restart", "deployment"])?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    let pods = kube.get(&["pods", "--selector=app=callme"])?;
    let pod = pods["items"].as_array().into_iter().flatten();
    pod.clone().next().context("no pod of callme")?;
    { pod }.try_for_each(|pod| sidecar::check(pod, Some(Sidecar::Native)))
}

fn enforce(kube: &Kube<'_>, level: &str) -> Result<()> {
    let label = format!("pod-security.kubernetes.io/enforce={level}");
    kube.run(&["label", "--overwrite", "namespace", kube.namespace(), &label])
        .map(drop)
}

/// What the level `restricted` asks of a pod's own container, and no capture.
const APART: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: apart, annotations: {sidecar.istio.io/interceptionMode: NONE}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: tools
    image: "weft.local/tools:1"
    imagePullPolicy: IfNotPresent
    command: [sleep, "100000"]
    securityContext:
      runAsNonRoot: true
      runAsUser: 1000
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
      seccompProfile: {type: RuntimeDefault}
"#;

/// The same with capture.
const CAPTURED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: captured}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: tools
    image: "weft.local/tools:1"
    imagePullPolicy: IfNotPresent
    command: [sleep, "100000"]
    securityContext:
      runAsNonRoot: true
      runAsUser: 1000
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
      seccompProfile: {type: RuntimeDefault}
"#;
