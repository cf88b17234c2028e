//! The network of a local cluster: a namespace for each node and one, the fabric, with a bridge that joins them.
//!
//! Nothing in it leads to the machine's own network: the fabric knows the way to nodes and pods alone, and says of every other
//! address at once that there is none.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::layout::{FABRIC, FIRST_NODE, Layout, Node, OUTSIDE, namespace_file};
use crate::process;

/// Kernel settings of a node; they belong to its namespace.
const SETTINGS: &[&str] = &[
    "net.ipv4.ip_forward=1",
    "net.bridge.bridge-nf-call-iptables=1",
    "net.ipv4.conf.all.route_localnet=1",
];

/// Makes the namespaces, the wires and the routes.
pub(crate) fn create(cluster: &Layout, nodes: u8) -> Result<()> {
    if !Path::new("/proc/sys/net/bridge").exists() {
        process::output(Command::new("modprobe").arg("br_netfilter"))
            .context("the kernel has no br_netfilter, which kube-proxy needs")?;
    }
    let fabric = cluster.fabric();
    add_namespace(&fabric)?;
    for number in FIRST_NODE..=nodes {
        add_namespace(&cluster.node(number).namespace)?;
    }
    batch(&fabric, &fabric_plan(cluster, nodes))?;
    // A router refuses what it cannot forward; a mere host would swallow it, and callers would wait.
    set(&fabric, &["net.ipv4.ip_forward=1"])?;
    for number in FIRST_NODE..=nodes {
        let node = cluster.node(number);
        batch(&node.namespace, &node_plan(cluster, &node, nodes))?;
        set(&node.namespace, SETTINGS)?;
    }
    batch(&fabric, &fabric_routes(cluster, nodes))
}

/// Pulls or puts back the wire of a node.
pub(crate) fn set_link(cluster: &Layout, node: &Node, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    batch(&cluster.fabric(), &format!("link set {} {state}\n", node.fabric_link()))
}

/// A command that runs in a network namespace. Not by `ip netns exec`, which would put another /sys over the one there is.
pub(crate) fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace_file(namespace).display()));
    command.arg(program);
    command
}

fn set(namespace: &str, settings: &[&str]) -> Result<()> {
    process::output(inside(namespace, "sysctl").args(["-q", "-w"]).args(settings)).map(drop)
}

/// Names of the cluster's namespaces that exist.
pub(crate) fn namespaces(cluster: &Layout) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir("/run/netns") {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error).context("cannot read /run/netns"),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    Ok(names.filter(|name| cluster.owns(name)).collect())
}

/// Deletes the cluster's namespaces; wires go with them.
pub(crate) fn delete(cluster: &Layout) -> Result<()> {
    for name in namespaces(cluster)? {
        let deleted = process::output(Command::new("ip").args(["netns", "delete", &name]));
        if let Err(error) = deleted {
            // A run that ended between making the file and mounting the namespace on it leaves a plain file.
            let file = namespace_file(&name);
            fs::remove_file(&file).map_err(|_| error)?;
        }
    }
    Ok(())
}

fn add_namespace(name: &str) -> Result<()> {
    process::output(Command::new("ip").args(["netns", "add", name])).map(drop)
}

/// The bridge, the wires, and the address of the world outside.
fn fabric_plan(cluster: &Layout, nodes: u8) -> String {
    let mut plan = format!(
        "link set lo up\naddr add {OUTSIDE}/32 dev lo\nlink add br0 type bridge\naddr add {FABRIC}/24 dev br0\nlink set br0 up\n"
    );
    for number in FIRST_NODE..=nodes {
        let node = cluster.node(number);
        let (link, namespace) = (node.fabric_link(), node.namespace);
        plan += &format!("link add {link} type veth peer name eth0 netns {namespace}\n");
        plan += &format!("link set {link} master br0\nlink set {link} up\n");
    }
    plan
}

/// The way back to pods, for servers outside that pods call.
fn fabric_routes(cluster: &Layout, nodes: u8) -> String {
    (FIRST_NODE..=nodes)
        .map(|number| cluster.node(number))
        .map(|node| format!("route add {} via {}\n", node.pod_range(), node.address()))
        .collect()
}

/// A node's address, the way to the pods of other nodes, and to the fabric for the rest.
fn node_plan(cluster: &Layout, node: &Node, nodes: u8) -> String {
    let mut plan = format!(
        "link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\nroute add default via {FABRIC}\n",
        node.address()
    );
    for other in (FIRST_NODE..=nodes).filter(|other| *other != node.number) {
        let other = cluster.node(other);
        plan += &format!("route add {} via {}\n", other.pod_range(), other.address());
    }
    plan
}

/// Runs many `ip` commands in one namespace with one process.
fn batch(namespace: &str, plan: &str) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(["-n", namespace, "-batch", "-"]);
    let mut child = ip
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start ip")?;
    let mut input = child.stdin.take().context("ip has no stdin")?;
    input.write_all(plan.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("ip in namespace {namespace} failed: {}", stderr.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_reaches_the_pods_of_the_others() {
        let cluster = Layout::new("weft").unwrap();
        assert_eq!(
            node_plan(&cluster, &cluster.node(2), 3),
            "link set lo up\naddr add 172.30.0.2/24 dev eth0\nlink set eth0 up\nroute add default via 172.30.0.254\n\
             route add 10.244.1.0/24 via 172.30.0.1\nroute add 10.244.3.0/24 via 172.30.0.3\n"
        );
        assert_eq!(
            fabric_routes(&cluster, 2),
            "route add 10.244.1.0/24 via 172.30.0.1\nroute add 10.244.2.0/24 via 172.30.0.2\n"
        );
    }

    #[test]
    fn wires_are_made_inside_the_namespaces() {
        let plan = fabric_plan(&Layout::new("weft").unwrap(), 1);
        assert!(
            plan.ends_with(
                "link add v1 type veth peer name eth0 netns weft-n1\nlink set v1 master br0\nlink set v1 up\n"
            ),
            "{plan}"
        );
    }
}
