//! Objects that scenarios share, and questions to them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::kube::{Kube, until};

/// The sample as its users apply it: caller, and callme in two versions.
pub(crate) const SAMPLE: [&str; 2] = [
    include_str!("../../../deploy/samples/caller-callme/kubernetes/caller.yaml"),
    include_str!("../../../deploy/samples/caller-callme/kubernetes/callme.yaml"),
];
/// How the mesh carries the sample's calls.
pub(crate) const SAMPLE_MESH: &str = include_str!("../../../deploy/samples/caller-callme/kubernetes/mesh.yaml");
/// A shell with curl, which both providers have.
const TOOLS: &str = "weft.local/tools:1";

/// How long a change may take until everybody sees it.
pub(crate) const CHANGE_LIMIT: Duration = Duration::from_secs(10);

/// Applies objects, starts `tools`, and waits until all Deployments can be called.
pub(crate) fn start(kube: &Kube<'_>, objects: &[&str]) -> Result<()> {
    objects.iter().try_for_each(|objects| kube.apply(objects))?;
    tools(kube)?;
    kube.wait_for("Available", &["deployment", "--all"])
}

/// Every one of these hosts is `callme` for `tools`, and a name that does not exist is nobody.
pub(crate) fn check_names(kube: &Kube<'_>, hosts: &[&str]) -> Result<()> {
    for host in hosts {
        // Who answers for names follows the API server, a moment behind.
        let answer = until(CHANGE_LIMIT, || curl(kube, &format!("http://{host}/")));
        let answer = answer.with_context(|| (*host).to_owned())?;
        ensure!(answer.contains(r#""service":"callme""#), "{host} answers {answer}");
    }
    let missing = curl(kube, "http://missing/");
    ensure!(missing.is_err(), "a name that does not exist answers {missing:?}");
    Ok(())
}

/// Starts the pod `tools`, with a shell and curl.
pub(crate) fn tools(kube: &Kube<'_>) -> Result<()> {
    start_tools(kube, &json!({}))
}

/// The same on a node.
pub(crate) fn tools_on(kube: &Kube<'_>, node: &str) -> Result<()> {
    start_tools(kube, &json!({"kubernetes.io/hostname": node}))
}

fn start_tools(kube: &Kube<'_>, selector: &Value) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tools", "labels": {"app": "tools"}},
        "spec": {
            // A first process without a handler does not see SIGTERM.
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": selector,
            "containers": [{"name": "tools", "image": TOOLS, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "100000"]}],
        },
    });
    kube.apply(&pod.to_string())?;
    kube.wait_for("Ready", &["pod/tools"])
}

/// What `tools` gets from a URL; a status of 400 or more is an error.
pub(crate) fn curl(kube: &Kube<'_>, url: &str) -> Result<String> {
    curl_with(kube, &["--fail", url])
}

/// The status that `tools` gets; no answer is an error.
pub(crate) fn status(kube: &Kube<'_>, arguments: &[&str]) -> Result<String> {
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    curl_with(kube, &[&status, arguments].concat())
}

/// The same with arguments of curl.
pub(crate) fn curl_with(kube: &Kube<'_>, arguments: &[&str]) -> Result<String> {
    let curl = ["curl", "--silent", "--show-error", "--max-time", "5"];
    kube.exec("tools", &[&curl, arguments].concat())
}

/// The second version of `callme` is the one that answers `tools`, five times in a row.
pub(crate) fn only_v2_answers(kube: &Kube<'_>) -> Result<()> {
    for _ in 0..5 {
        let answer = curl(kube, "http://callme/")?;
        ensure!(
            answer.contains(r#""version":"v2""#),
            "the first version still answers: {answer}"
        );
    }
    Ok(())
}
