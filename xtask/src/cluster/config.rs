//! Configuration files of a local cluster, as texts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::base_images::PAUSE;
use super::layout::{API_PORT, DNS_SERVICE, FIRST_NODE, Layout, Node, OUTSIDE, OUTSIDE_NAME, POD_RANGE};

/// Where the DNS server says that it follows the API server.
pub(crate) const DNS_READY_PORT: u16 = 8181;
/// Where containerd keeps what does not outlive the node's running; the node's own `/run`.
const CONTAINERD_STATE: &str = "/run/containerd";

/// The address of the API server for what runs in the cluster.
pub(crate) fn api_url(cluster: &Layout) -> String {
    format!("https://{}:{API_PORT}", cluster.node(FIRST_NODE).address())
}

/// Writes the clients' files of the control plane; the node's own are written by [`write_node`].
pub(crate) fn write_control_plane(cluster: &Layout) -> Result<()> {
    let url = api_url(cluster);
    for client in ["admin", "controller-manager", "scheduler", "kube-proxy"] {
        write(&cluster.client_config(client), &kubeconfig(cluster, &url, client)?)?;
    }
    write(&cluster.dns_config(), &coredns(cluster))
}

/// Writes what a node's containerd, kubelet and kube-proxy read.
pub(crate) fn write_node(cluster: &Layout, node: &Node) -> Result<()> {
    for dir in ["cni", "cni-state", "log", "kubelet", "containerd"] {
        let dir = node.dir.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let client = format!("kubelet-{}", node.name());
    write(
        &cluster.client_config(&client),
        &kubeconfig(cluster, &api_url(cluster), &client)?,
    )?;
    write(&node.dir.join("containerd.toml"), &containerd(node))?;
    write(&node.dir.join("cni/10-weft.conflist"), &pretty(&cni(node)))?;
    write(&node.dir.join("kubelet.json"), &pretty(&kubelet(cluster, node)))?;
    write(&node.dir.join("kube-proxy.json"), &pretty(&kube_proxy(cluster, node)))?;
    // For pods that ask for the node's own name service.
    let first = cluster.node(FIRST_NODE).address();
    write(&node.dir.join("resolv.conf"), &format!("nameserver {first}\n"))
}

/// A client's file, with its certificate in it, so that it works wherever it is copied.
pub(crate) fn kubeconfig(cluster: &Layout, url: &str, client: &str) -> Result<String> {
    let read = |path: &Path| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok::<_, anyhow::Error>(STANDARD.encode(bytes))
    };
    let name = format!("weft-{}", cluster.name());
    Ok(pretty(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": url,
            "certificate-authority-data": read(&cluster.certificate("ca"))?,
        }}],
        "users": [{"name": client, "user": {
            "client-certificate-data": read(&cluster.certificate(client))?,
            "client-key-data": read(&cluster.key(client))?,
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": client}}],
        "current-context": name,
    })))
}

/// Names of the cluster follow the API server, one name is outside of it, and nothing else exists. Each has a block of its own:
/// CoreDNS asks `template` before `hosts` and `kubernetes`, whatever the order is here.
fn coredns(cluster: &Layout) -> String {
    let config = cluster.client_config("admin");
    let config = config.display();
    let address = cluster.node(FIRST_NODE).address();
    format!(
        r"cluster.local in-addr.arpa ip6.arpa {{
    errors
    ready {address}:{DNS_READY_PORT}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {config}
        ttl 1
    }}
    loadbalance
}}
{OUTSIDE_NAME} {{
    errors
    hosts {{
        {OUTSIDE} {OUTSIDE_NAME}
    }}
}}
. {{
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"
    )
}

fn containerd(node: &Node) -> String {
    let dir = node.dir.display();
    let socket = node.containerd_socket();
    let socket = socket.display();
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "{CONTAINERD_STATE}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# A machine without CAP_SYS_RESOURCE cannot lower a score.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{dir}/cni"
"#
    )
}

/// A bridge for the node's pods. Addresses of pods are seen unchanged everywhere, so nothing is masqueraded.
fn cni(node: &Node) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": node.namespace,
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": node.dir.join("cni-state"),
                    "ranges": [[{"subnet": node.pod_range()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet(cluster: &Layout, node: &Node) -> Value {
    let certificate = format!("kubelet-{}", node.name());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": cluster.certificate("ca")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": cluster.certificate(&certificate),
        "tlsPrivateKeyFile": cluster.key(&certificate),
        "containerRuntimeEndpoint": format!("unix://{}", node.containerd_socket().display()),
        // The machine may have control groups of version 1, which are only tolerated any more.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.namespace),
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": node.dir.join("resolv.conf"),
        "maxPods": 200,
        "nodeStatusUpdateFrequency": "2s",
        // The disk is the whole machine's; its filling up is not for this cluster to act on.
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    })
}

/// How a node's kube-proxy carries Services: both ways that people run, whatever the scenario.
pub(crate) fn proxy_mode(node: &Node) -> &'static str {
    if node.number == FIRST_NODE {
        "iptables"
    } else {
        "nftables"
    }
}

fn kube_proxy(cluster: &Layout, node: &Node) -> Value {
    // Endpoints move quickly in tests.
    let periods = json!({"minSyncPeriod": "100ms", "syncPeriod": "30s"});
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": proxy_mode(node),
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": node.name(),
        "clientConnection": {"kubeconfig": cluster.client_config("kube-proxy")},
        // These settings are the machine's and cannot be written from here.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": periods,
        "nftables": periods,
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Readable by root alone: most of these files have a key in them.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_share_nothing() {
        let cluster = Layout::new("weft").unwrap();
        let (first, second) = (cluster.node(1), cluster.node(2));
        for render in [
            |_: &Layout, node: &Node| containerd(node),
            |_: &Layout, node: &Node| cni(node).to_string(),
            |cluster: &Layout, node: &Node| kubelet(cluster, node).to_string(),
        ] {
            let (first, second) = (render(&cluster, &first), render(&cluster, &second));
            assert_ne!(first, second);
            assert!(!second.contains("/n1/") && !second.contains("weft-n1"), "{second}");
        }
    }

    #[test]
    fn pods_get_addresses_of_their_node() {
        let node = Layout::new("weft").unwrap().node(2);
        assert_eq!(
            cni(&node)["plugins"][0]["ipam"]["ranges"],
            json!([[{"subnet": "10.244.2.0/24"}]])
        );
    }
}
