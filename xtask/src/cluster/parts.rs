//! The programs of a node: what runs, with which arguments, and what each waits for.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::{API_PORT, FIRST_NODE, Layout, Node, SERVICE_RANGE};

/// A program that the node's first process keeps running.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// What must answer before it starts.
    pub(crate) after: Option<After>,
}

/// Something to wait for.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum After {
    /// A TCP address that accepts.
    Tcp(String),
    /// A Unix socket that accepts.
    Socket(PathBuf),
}

/// All parts of a node; `programs` is the folder of the programs of Kubernetes.
pub(crate) fn of_node(cluster: &Layout, node: &Node, programs: &Path) -> Vec<Part> {
    let mut parts = Vec::new();
    if node.number == FIRST_NODE {
        parts.extend(control_plane(cluster, node, programs));
        parts.push(coredns(cluster, programs));
    }
    parts.push(containerd(node));
    parts.push(kubelet(cluster, node, programs));
    parts.push(kube_proxy(cluster, node, programs));
    parts
}

fn control_plane(cluster: &Layout, node: &Node, programs: &Path) -> [Part; 4] {
    [
        etcd(node),
        apiserver(cluster, node, programs),
        controller_manager(cluster, programs),
        scheduler(cluster, programs),
    ]
}

fn etcd(node: &Node) -> Part {
    let data = node.dir.join("etcd");
    part("etcd", Path::new("etcd"), None)
        .flag("data-dir", data.display())
        .flag("unsafe-no-fsync", true)
        .flag("listen-client-urls", "http://127.0.0.1:2379")
        .flag("advertise-client-urls", "http://127.0.0.1:2379")
        .flag("listen-peer-urls", "http://127.0.0.1:2380")
}

fn apiserver(cluster: &Layout, node: &Node, programs: &Path) -> Part {
    let file = |name: &str| cluster.certificate(name).display().to_string();
    let key = |name: &str| cluster.key(name).display().to_string();
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let public = cluster.certificates().join("sa.pub");
    let after = After::Tcp("127.0.0.1:2379".to_owned());
    part("kube-apiserver", &programs.join("kube-apiserver"), Some(after))
        .flag("advertise-address", node.address())
        .flag("bind-address", "0.0.0.0")
        .flag("secure-port", API_PORT)
        .flag("etcd-servers", "http://127.0.0.1:2379")
        .flag("service-cluster-ip-range", SERVICE_RANGE)
        .flag("authorization-mode", "Node,RBAC")
        .flag("enable-admission-plugins", "NodeRestriction")
        .flag("allow-privileged", true)
        .flag("service-account-issuer", issuer)
        // Istio's audience, which the mesh's tokens have.
        .flag("api-audiences", format!("{issuer},istio-ca"))
        .flag("service-account-key-file", public.display())
        .flag("service-account-signing-key-file", key("sa"))
        .flag("tls-cert-file", file("apiserver"))
        .flag("tls-private-key-file", key("apiserver"))
        .flag("client-ca-file", file("ca"))
        .flag("kubelet-certificate-authority", file("ca"))
        .flag("kubelet-client-certificate", file("apiserver-kubelet"))
        .flag("kubelet-client-key", key("apiserver-kubelet"))
        // Node names are not in DNS.
        .flag("kubelet-preferred-address-types", "InternalIP")
        .flag("requestheader-client-ca-file", file("front-proxy-ca"))
        .flag("requestheader-allowed-names", "front-proxy-client")
        .flag("requestheader-extra-headers-prefix", "X-Remote-Extra-")
        .flag("requestheader-group-headers", "X-Remote-Group")
        .flag("requestheader-username-headers", "X-Remote-User")
        .flag("proxy-client-cert-file", file("front-proxy"))
        .flag("proxy-client-key-file", key("front-proxy"))
}

fn controller_manager(cluster: &Layout, programs: &Path) -> Part {
    let config = cluster.client_config("controller-manager");
    let ca = cluster.certificate("ca");
    part(
        "kube-controller-manager",
        &programs.join("kube-controller-manager"),
        Some(api(cluster)),
    )
    .flag("kubeconfig", config.display())
    .flag("bind-address", "127.0.0.1")
    .flag("leader-elect", false)
    .flag("use-service-account-credentials", true)
    .flag("root-ca-file", ca.display())
    .flag("cluster-signing-cert-file", ca.display())
    .flag("cluster-signing-key-file", cluster.key("ca").display())
    .flag("service-account-private-key-file", cluster.key("sa").display())
    // A lost node shows after 24 s instead of 50. Much sooner, and nodes of a busy machine are lost that are only slow.
    .flag("node-monitor-period", "2s")
    .flag("node-monitor-grace-period", "24s")
    // With the defaults a new namespace waits for its account.
    .flag("kube-api-qps", 500)
    .flag("kube-api-burst", 1000)
}

fn scheduler(cluster: &Layout, programs: &Path) -> Part {
    let config = cluster.client_config("scheduler");
    part("kube-scheduler", &programs.join("kube-scheduler"), Some(api(cluster)))
        .flag("kubeconfig", config.display())
        .flag("bind-address", "127.0.0.1")
        .flag("leader-elect", false)
}

fn coredns(cluster: &Layout, programs: &Path) -> Part {
    part("coredns", &programs.join("coredns"), Some(api(cluster))).flag("conf", cluster.dns_config().display())
}

fn containerd(node: &Node) -> Part {
    part("containerd", Path::new("containerd"), None).flag("config", node.dir.join("containerd.toml").display())
}

fn kubelet(cluster: &Layout, node: &Node, programs: &Path) -> Part {
    let config = cluster.client_config(&format!("kubelet-{}", node.name()));
    let zone = format!(
        "topology.kubernetes.io/region=local,topology.kubernetes.io/zone=zone{}",
        node.number
    );
    part(
        "kubelet",
        &programs.join("kubelet"),
        Some(After::Socket(node.containerd_socket())),
    )
    .flag("config", node.dir.join("kubelet.json").display())
    .flag("kubeconfig", config.display())
    .flag("root-dir", node.dir.join("kubelet").display())
    .flag("hostname-override", node.name())
    .flag("node-ip", node.address())
    .flag("node-labels", zone)
}

fn kube_proxy(cluster: &Layout, node: &Node, programs: &Path) -> Part {
    part("kube-proxy", &programs.join("kube-proxy"), Some(api(cluster)))
        .flag("config", node.dir.join("kube-proxy.json").display())
}

fn api(cluster: &Layout) -> After {
    After::Tcp(format!("{}:{API_PORT}", cluster.node(FIRST_NODE).address()))
}

fn part(name: &str, program: &Path, after: Option<After>) -> Part {
    Part {
        name: name.to_owned(),
        program: program.to_owned(),
        arguments: Vec::new(),
        after,
    }
}

// === impl Part ===

impl Part {
    fn flag(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.arguments.push(format!("--{name}={value}"));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(number: u8) -> Vec<String> {
        let cluster = Layout::new("weft").unwrap();
        let parts = of_node(&cluster, &cluster.node(number), Path::new("/k"));
        parts.into_iter().map(|part| part.name).collect()
    }

    #[test]
    fn the_control_plane_runs_on_the_first_node_alone() {
        assert_eq!(
            names(1),
            [
                "etcd",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "coredns",
                "containerd",
                "kubelet",
                "kube-proxy"
            ]
        );
        assert_eq!(names(2), ["containerd", "kubelet", "kube-proxy"]);
    }

    #[test]
    fn parts_survive_their_file() {
        let cluster = Layout::new("weft").unwrap();
        let parts = of_node(&cluster, &cluster.node(1), Path::new("/k"));
        let text = serde_json::to_string(&parts).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Part>>(&text).unwrap(), parts);
    }
}
