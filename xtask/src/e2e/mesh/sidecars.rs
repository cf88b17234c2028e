//! Which pods get a sidecar, what reaches them, and by which names.

use anyhow::{Context, Result, ensure};

use crate::e2e::Scene;
use crate::e2e::kube::{Kube, until};
use crate::e2e::objects::{self, CHANGE_LIMIT, SAMPLE, curl};

/// Pods of the namespace get the proxy and its init container, and one that asks not to gets neither.
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
"#,
    )?;
    let pods = kube.get(&["pods"])?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        check(pod, pod["metadata"]["name"] != "apart")?;
    }
    let answer = until(CHANGE_LIMIT, || curl(kube, "http://caller/"))?;
    ensure!(answer.contains(r#""service":"callme""#), "the caller answers {answer}");
    Ok(())
}

fn check(pod: &serde_json::Value, proxy: bool) -> Result<()> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let has = |list: &str, wanted: &str| {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter(|container| container["name"] == wanted).count() == 1
    };
    let proxied = has("containers", "istio-proxy") || has("initContainers", "istio-proxy");
    let captured = has("initContainers", "weft-init");
    ensure!(
        proxied == proxy && captured == proxy,
        "{name}: proxy {proxied}, init container {captured}, expected {proxy}"
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
