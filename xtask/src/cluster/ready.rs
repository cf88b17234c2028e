//! Waits until parts of a local cluster answer; a program that keeps ending fails the wait with its last lines.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::config::DNS_READY_PORT;
use super::layout::{DNS_SERVICE, FIRST_NODE, Layout, Node};
use super::local::Kubectl;
use super::network;
use super::record::Record;
use crate::process;

/// How long one part may take.
const LIMIT: Duration = Duration::from_secs(90);
/// A program of a node that ended this often does not come up.
const ENDS_MAX: usize = 4;
/// Lines of a log that are shown.
const TAIL: usize = 15;

/// The API server serves, and has made what every pod needs.
pub(crate) fn api(cluster: &Layout, kubectl: &Kubectl) -> Result<()> {
    until(cluster, "kube-apiserver", || {
        process::output(&mut kubectl.command(&["get", "--raw", "/readyz"])).map(drop)
    })?;
    until(cluster, "kube-controller-manager", || {
        let account = ["get", "serviceaccount", "default", "--namespace=default"];
        process::output(&mut kubectl.command(&account)).map(drop)
    })
}

/// The Service that pods ask, with the first node's DNS server behind it.
pub(crate) fn dns_service(cluster: &Layout, kubectl: &Kubectl) -> Result<()> {
    let ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]);
    let metadata = json!({"name": "kube-dns", "namespace": "kube-system"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"clusterIP": DNS_SERVICE, "ports": ports},
    });
    let mut slice = metadata;
    slice["labels"] = json!({"kubernetes.io/service-name": "kube-dns"});
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice, "addressType": "IPv4",
        "endpoints": [{"addresses": [cluster.node(FIRST_NODE).address()], "conditions": {"ready": true}}],
        "ports": ports,
    });
    apply(
        kubectl,
        &json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]}),
    )?;
    let node = cluster.node(FIRST_NODE);
    let url = format!("http://{}:{DNS_READY_PORT}/ready", node.address());
    until(cluster, "coredns", || {
        let mut curl = network::inside(&node.namespace, "curl");
        process::output(curl.args(["--silent", "--show-error", "--fail", "--max-time", "5", &url])).map(drop)
    })
}

/// As many nodes are ready as there should be.
pub(crate) fn nodes(cluster: &Layout, kubectl: &Kubectl, count: u8) -> Result<()> {
    until(cluster, "kubelet", || {
        let ready = ready_nodes(kubectl)?;
        if ready < count {
            bail!("{ready} of {count} nodes are ready");
        }
        Ok(())
    })
}

/// One node is ready, and its kubelet has said so after `before`, which is what [`heartbeat`] gave then.
pub(crate) fn node(cluster: &Layout, kubectl: &Kubectl, node: &Node, before: &Value) -> Result<()> {
    until(cluster, "kubelet", || {
        if heartbeat(kubectl, node)? == *before || !is_ready(&get(kubectl, &format!("/api/v1/nodes/{}", node.name()))?)
        {
            bail!("{} is not ready", node.name());
        }
        Ok(())
    })
}

/// When a node's kubelet last said that it lives. A node that went away counts as ready for some seconds more.
pub(crate) fn heartbeat(kubectl: &Kubectl, node: &Node) -> Result<Value> {
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let mut lease = get(kubectl, &format!("{leases}/{}", node.name()))?;
    Ok(lease["spec"]["renewTime"].take())
}

/// How many nodes are ready.
pub(crate) fn ready_nodes(kubectl: &Kubectl) -> Result<u8> {
    let nodes = get(kubectl, "/api/v1/nodes")?;
    let ready = nodes["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|node| is_ready(node));
    Ok(u8::try_from(ready.count())?)
}

fn get(kubectl: &Kubectl, path: &str) -> Result<Value> {
    let text = process::output(&mut kubectl.command(&["get", "--raw", path]))?;
    Ok(serde_json::from_str(&text)?)
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// A socket of a node accepts.
pub(crate) fn socket(node: &Node, path: &Path, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    while UnixStream::connect(path).is_err() {
        if Instant::now() > deadline {
            bail!(
                "{} does not accept:\n{}\n{}",
                path.display(),
                tail(&node.logs().join("init.log")),
                tail(&node.logs().join("containerd.log"))
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `kubectl apply` of one object.
pub(crate) fn apply(kubectl: &Kubectl, object: &Value) -> Result<()> {
    let mut command = kubectl.command(&["apply", "-f", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start kubectl")?;
    let mut input = child.stdin.take().context("kubectl has no stdin")?;
    input.write_all(object.to_string().as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "kubectl apply failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The last lines of a log, under its name.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    format!("{}:\n{last}", log.display())
}

/// Tries until it succeeds; fails with the log of the part that should have made it so.
fn until(cluster: &Layout, part: &str, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    let nodes = Record::read(cluster)?.nodes;
    loop {
        let Err(error) = attempt() else {
            return Ok(());
        };
        let failing = (FIRST_NODE..=nodes).find_map(|number| keeps_ending(&cluster.node(number)));
        if let Some((node, name)) = &failing {
            let log = cluster.node(*node).logs().join(format!("{name}.log"));
            bail!("{name} of node {node} keeps ending; {}", tail(&log));
        }
        if Instant::now() > deadline {
            let log = cluster.node(FIRST_NODE).logs().join(format!("{part}.log"));
            return Err(error).with_context(|| format!("not within {LIMIT:?}; {}", tail(&log)));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn keeps_ending(node: &Node) -> Option<(u8, String)> {
    let text = fs::read_to_string(node.ended_file()).ok()?;
    let name = often(&text)?;
    Some((node.number, name.to_owned()))
}

/// The program that is named in too many lines.
fn often(text: &str) -> Option<&str> {
    let names = || text.lines().filter_map(|line| line.split(' ').next());
    names().find(|name| names().filter(|other| other == name).count() >= ENDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_again_and_again_is_named() {
        let line = "kubelet ended with status 1\n";
        assert_eq!(often(&line.repeat(ENDS_MAX - 1)), None);
        assert_eq!(
            often(&format!("etcd ended\n{}", line.repeat(ENDS_MAX))),
            Some("kubelet")
        );
    }

    #[test]
    fn a_node_is_ready_when_it_says_so() {
        let node = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        assert!(is_ready(&node("True")));
        assert!(!is_ready(&node("Unknown")));
        assert!(!is_ready(&json!({})));
    }
}
