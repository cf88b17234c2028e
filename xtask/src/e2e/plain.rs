//! Scenarios without the mesh: what every other scenario takes for granted about the cluster.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::kube::until;
use super::load::{Load, Targets};
use super::{Scenario, Scene};
use crate::cluster::Provider;
use crate::cluster::layout::{OUTSIDE, OUTSIDE_NAME};
use crate::workspace;

/// The sample as its users apply it.
const SAMPLE: [&str; 2] = [
    include_str!("../../../deploy/samples/caller-callme/kubernetes/caller.yaml"),
    include_str!("../../../deploy/samples/caller-callme/kubernetes/callme.yaml"),
];
/// A shell with curl, on the local provider.
const TOOLS: &str = "weft.local/tools:1";
/// Port of the server outside.
const OUTSIDE_PORT: &str = "8080";
/// A lost node shows after 8 s; its pods' endpoints go after that.
const LOST_LIMIT: Duration = Duration::from_secs(60);

/// These scenarios.
pub(super) fn scenarios() -> Vec<Scenario> {
    let tools = Some((
        Provider::Local,
        "its pods use an image that only the local provider has",
    ));
    vec![
        Scenario {
            name: "plain-names",
            only: tools,
            run: names,
        },
        Scenario {
            name: "plain-outside",
            only: tools,
            run: outside,
        },
        Scenario {
            name: "plain-services",
            only: None,
            run: services,
        },
        Scenario {
            name: "plain-node-lost",
            only: None,
            run: node_lost,
        },
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
    tools(scene)?;
    kube.wait_for("Available", &["deployment/callme-v1", "deployment/callme-v2"])?;
    for host in [
        "callme".to_owned(),
        format!("callme.{namespace}"),
        format!("callme.{namespace}.svc.cluster.local"),
        "alias".to_owned(),
        "headless:8080".to_owned(),
    ] {
        // The name server follows the API server, a moment behind.
        let answer = until(Duration::from_secs(10), || curl(scene, &format!("http://{host}/")));
        let answer = answer.with_context(|| host.clone())?;
        ensure!(answer.contains(r#""service":"callme""#), "{host} answers {answer}");
    }
    let missing = curl(scene, "http://missing/");
    ensure!(missing.is_err(), "a name that does not exist answers {missing:?}");
    Ok(())
}

/// Pods reach a server outside the cluster by its name, with addresses of their own, and nothing else outside.
fn outside(scene: &Scene<'_>) -> Result<()> {
    let busybox = workspace::on_path("busybox").context("no busybox")?;
    let folder = workspace::target().join("e2e/outside");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("index.html"), "outside\n")?;
    let mut server = scene.cluster.outside(&busybox).context("no network outside")?;
    server
        .args(["httpd", "-f", "-p", &format!("{OUTSIDE}:{OUTSIDE_PORT}"), "-h"])
        .arg(&folder);
    let mut server = server.stdin(Stdio::null()).spawn().context("cannot start busybox")?;
    let called = tools(scene).and_then(|()| {
        let answer = until(Duration::from_secs(10), || {
            curl(scene, &format!("http://{OUTSIDE_NAME}:{OUTSIDE_PORT}/"))
        })?;
        ensure!(answer == "outside\n", "outside answers {answer:?}");
        // TEST-NET-1, which is nobody's.
        let nowhere = curl(scene, "http://192.0.2.1/");
        ensure!(nowhere.is_err(), "an address outside the cluster answers {nowhere:?}");
        Ok(())
    });
    server.kill()?;
    server.wait()?;
    std::fs::remove_dir_all(folder)?;
    called
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

/// A node goes: its pods leave the Service, those of the other node answer. It comes back, and so do they.
fn node_lost(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    let objects = SAMPLE[1].replace("replicas: 1", "replicas: 2");
    let objects = spread(&objects);
    kube.apply(&objects)?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    ensure!(endpoints(scene)? == 4, "not all pods are behind the Service");
    scene.cluster.stop_node(2)?;
    let lost = until(LOST_LIMIT, || {
        let count = endpoints(scene)?;
        ensure!(count == 2, "{count} pods are behind the Service, 2 should be");
        Ok(())
    });
    let carried = lost.and_then(|()| {
        let load = Load::start(kube, &Targets::callme("callme"))?;
        load.wait_for_requests(600)?.check_clean()
    });
    // Also after a failure: the next scenario needs both nodes.
    scene.cluster.start_node(2)?;
    carried?;
    until(LOST_LIMIT, || {
        let count = endpoints(scene)?;
        ensure!(count == 4, "{count} pods are behind the Service, 4 should be");
        Ok(())
    })
}

/// The Deployments with their pods on different nodes.
fn spread(objects: &str) -> String {
    let constraint = "    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: callme}}}
      serviceAccountName: callme";
    objects.replace("    spec:\n      serviceAccountName: callme", constraint)
}

/// How many ready pods the sample's Service has.
fn endpoints(scene: &Scene<'_>) -> Result<usize> {
    let endpoints = scene.kube.get(&["endpoints", "callme"])?;
    let subsets = endpoints["subsets"].as_array().into_iter().flatten();
    let ready = subsets.filter_map(|subset| subset["addresses"].as_array());
    Ok(ready.map(Vec::len).sum())
}

fn tools(scene: &Scene<'_>) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tools"},
        "spec": {
            // A first process without a handler does not see SIGTERM.
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "tools", "image": TOOLS, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "100000"]}],
        },
    });
    scene.kube.apply(&pod.to_string())?;
    scene.kube.wait_for("Ready", &["pod/tools"])
}

fn curl(scene: &Scene<'_>, url: &str) -> Result<String> {
    scene.kube.exec(
        "tools",
        &["curl", "--silent", "--show-error", "--fail", "--max-time", "5", url],
    )
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
