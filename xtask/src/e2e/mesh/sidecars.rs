//! Which pods get a sidecar, what reaches them, and by which names.

use anyhow::{Context, Result, ensure};

use crate::e2e::Scene;
use crate::e2e::kube::{Kube, until};
use crate::e2e::objects::{self, CHANGE_LIMIT, SAMPLE, curl};
use crate::e2e::sidecar::{self, Sidecar};

/// Pods of the namespace get a native sidecar and its init container, one that asks for it a classic one, and one that asks not to
/// neither.
pub(super) fn injection(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    objects::start(kube, &SAMPLE)?;
    kube.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: apart, labels: {sidecar.istio.io/inject: "false"}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: tools, image: "weft.local/tools:1", imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: classic, annotations: {sidecar.istio.io/nativeSidecar: "false"}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: classic, image: "weft.local/tools:1", imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}]
"#,
    )?;
    kube.wait_for("Ready", &["pod/apart", "pod/classic"])?;
    let pods = kube.get(&["pods"])?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        let expected = match pod["metadata"]["name"].as_str() {
            Some("apart") => None,
            Some("classic") => Some(Sidecar::Classic),
            _ => Some(Sidecar::Native),
        };
        sidecar::check(pod, expected)?;
    }
    let answer = until(CHANGE_LIMIT, || curl(kube, "http://caller/"))?;
    ensure!(answer.contains(r#""service":"callme""#), "the caller answers {answer}");
    let answer = kube.exec("classic", &["curl", "--silent", "--max-time", "5", "http://callme/"])?;
    ensure!(
        answer.contains(r#""service":"callme""#),
        "beside a classic sidecar callme answers {answer}"
    );
    Ok(())
}

/// Under STRICT pods of the mesh are answered and others are not; in between and after they are.
pub(super) fn strict(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    objects::start(kube, &[SAMPLE[1]])?;
    let outsider = Kube::new(scene.cluster, &format!("{}-plain", kube.namespace()));
    outsider.delete_namespace(true)?;
    outsider.create_namespace()?;
    let result = strict_for(kube, &outsider);
    outsider.delete_namespace(false)?;
    result
}

fn strict_for(kube: &Kube<'_>, outsider: &Kube<'_>) -> Result<()> {
    objects::tools(outsider)?;
    let url = format!("http://callme.{}/", kube.namespace());
    until(CHANGE_LIMIT, || curl(outsider, &url)).context("plaintext, PERMISSIVE")?;
    kube.apply(
        r"
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
",
    )?;
    until(CHANGE_LIMIT, || {
        let answer = curl(outsider, &url);
        ensure!(answer.is_err(), "plaintext is answered under STRICT: {answer:?}");
        Ok(())
    })?;
    // Not by a pod's own address either, and on no port that the application has.
    let pods = kube.get(&["pods", "--selector", "app=callme"])?;
    let address = pods["items"][0]["status"]["podIP"].as_str().context("no address")?;
    for port in [8080, 8081, 9090] {
        let answer = curl(outsider, &format!("http://{address}:{port}/"));
        ensure!(answer.is_err(), "plaintext to {address}:{port} is answered: {answer:?}");
    }
    for _ in 0..20 {
        curl(kube, &url).context("mesh TLS under STRICT")?;
    }
    // Kubernetes' probes are answered as before.
    let pod = pods["items"][0]["metadata"]["name"].as_str().context("no name")?;
    let probe = format!(
        "/api/v1/namespaces/{}/pods/{pod}:15020/proxy/app-health/callme/readyz",
        kube.namespace()
    );
    kube.run(&["get", "--raw", &probe]).context("readiness under STRICT")?;
    Ok(())
}

/// Every name that a Service or a ServiceEntry has leads there from inside of a mesh pod, and other names nowhere.
pub(super) fn names(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    let namespace = kube.namespace();
    kube.apply(SAMPLE[1])?;
    kube.apply(&format!(
        r"
apiVersion: v1
kind: Service
metadata: {{name: headless}}
spec: {{clusterIP: None, selector: {{app: callme}}, ports: [{{name: http, port: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: alias}}
spec: {{type: ExternalName, externalName: callme.{namespace}.svc.cluster.local, ports: [{{name: http, port: 80}}]}}
---
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {{name: entry}}
spec:
  hosts: [entry.mesh.test]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {{labels: {{app: callme}}}}
"
    ))?;
    objects::start(kube, &[])?;
    let short = format!("callme.{namespace}");
    let hosts = [
        "callme",
        &short,
        &format!("{short}.svc"),
        &format!("{short}.svc.cluster.local"),
    ];
    objects::check_names(
        kube,
        &[&hosts[..], &["alias", "headless:8080", "entry.mesh.test"]].concat(),
    )
}
