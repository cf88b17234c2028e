//! Names, addresses and paths of a local cluster. All of them follow from the cluster's name, so that what a crash left behind
//! is found without any record of it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Where all local clusters of a machine keep their files.
const STATE: &str = "/var/lib/weft-cluster";
/// Environment variable that marks every process of a cluster: `NAME/PART`.
pub(crate) const MARK: &str = "WEFT_CLUSTER_PART";
/// The control plane runs on this node.
pub(crate) const FIRST_NODE: u8 = 1;
/// Port of the API server inside the first node.
pub(crate) const API_PORT: u16 = 6443;
/// Addresses of Services.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The API server's own Service.
pub(crate) const API_SERVICE: &str = "10.96.0.1";
/// The DNS Service.
pub(crate) const DNS_SERVICE: &str = "10.96.0.10";
/// Addresses of all pods; each node has a /24 of it.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";
/// The fabric's own address, which is the nodes' way to everything else.
pub(crate) const FABRIC: &str = "172.30.0.254";
/// A host outside the cluster (RFC 5737 TEST-NET-3) that tests can put servers on, in the fabric's namespace.
pub(crate) const OUTSIDE: &str = "203.0.113.10";
/// Its name in DNS (RFC 6761 keeps `.test` for tests).
pub(crate) const OUTSIDE_NAME: &str = "outside.test";

/// A local cluster of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    name: String,
    state: PathBuf,
}

// === impl Layout ===

impl Layout {
    /// The name becomes part of namespace, cgroup and process names: 1 to 8 lower-case letters and digits.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if name.is_empty() || name.len() > 8 || !plain {
            bail!("the cluster name {name:?} must have 1 to 8 lower-case letters and digits");
        }
        Ok(Self {
            name: name.to_owned(),
            state: Path::new(STATE).join(name),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The folder of everything that the cluster keeps.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.state.join("cluster.json")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Kubernetes configuration files of the control plane's own clients.
    pub(crate) fn client_config(&self, client: &str) -> PathBuf {
        self.state.join(format!("{client}.kubeconfig"))
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.state.join("pki")
    }

    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.certificates().join(format!("{name}.pem"))
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.certificates().join(format!("{name}.key"))
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// Where the forwarder says on which port of the host's loopback it listens.
    pub(crate) fn forwarder_port(&self) -> PathBuf {
        self.state.join("port")
    }

    /// The DNS server's configuration.
    pub(crate) fn dns_config(&self) -> PathBuf {
        self.state.join("Corefile")
    }

    pub(crate) fn fabric(&self) -> String {
        format!("{}-f", self.name)
    }

    pub(crate) fn node(&self, number: u8) -> Node {
        Node {
            number,
            namespace: format!("{}-n{number}", self.name),
            dir: self.state.join(format!("n{number}")),
        }
    }

    /// The value of [`MARK`] for a part.
    pub(crate) fn mark(&self, part: &str) -> String {
        format!("{}/{part}", self.name)
    }

    /// Whether a network namespace or a cgroup of this name is this cluster's.
    pub(crate) fn owns(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-'));
        match rest {
            Some("f") => true,
            Some(rest) => rest
                .strip_prefix('n')
                .is_some_and(|number| number.parse::<u8>().is_ok()),
            None => false,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) number: u8,
    /// Its network namespace; also the name of its cgroup.
    pub(crate) namespace: String,
    pub(crate) dir: PathBuf,
}

// === impl Node ===

impl Node {
    /// The name in Kubernetes.
    pub(crate) fn name(&self) -> String {
        format!("node{}", self.number)
    }

    pub(crate) fn address(&self) -> String {
        format!("172.30.0.{}", self.number)
    }

    pub(crate) fn pod_range(&self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    /// Its end of the wire in the fabric.
    pub(crate) fn fabric_link(&self) -> String {
        format!("v{}", self.number)
    }

    pub(crate) fn part(&self) -> String {
        format!("n{}", self.number)
    }

    pub(crate) fn namespace_file(&self) -> PathBuf {
        namespace_file(&self.namespace)
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// Logs of the node's own processes.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What the node runs, for its first process.
    pub(crate) fn parts_file(&self) -> PathBuf {
        self.dir.join("parts.json")
    }

    /// One line for each process of the node that ended.
    pub(crate) fn ended_file(&self) -> PathBuf {
        self.dir.join("ended")
    }
}

/// Where iproute2 keeps a named network namespace.
pub(crate) fn namespace_file(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["weft", "e2e", "a", "12345678"] {
            assert!(Layout::new(good).is_ok(), "{good}");
        }
        for bad in ["", "123456789", "We", "a-b", "a/b", "é"] {
            assert!(Layout::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cluster_owns_its_nodes_and_its_fabric_alone() {
        let cluster = Layout::new("weft").unwrap();
        for own in ["weft-f", "weft-n1", "weft-n12"] {
            assert!(cluster.owns(own), "{own}");
        }
        for other in [
            "weft",
            "weft2-n1",
            "weft-x",
            "weft-n",
            "weft-n1x",
            "eft-n1",
            "cni-weft-n1",
        ] {
            assert!(!cluster.owns(other), "{other}");
        }
    }
}
