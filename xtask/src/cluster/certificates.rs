//! Certificates of a local cluster, made by the `openssl` command: ECDSA P-256, good for a year.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::layout::{API_SERVICE, FIRST_NODE, Layout};
use crate::process;

/// A cluster for development does not live longer.
const DAYS: &str = "365";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authority {
    /// Servers and clients of the API.
    Cluster,
    /// The API server where it speaks for a user to an extension server.
    FrontProxy,
}

/// One certificate to make.
#[derive(Debug, PartialEq, Eq)]
struct Leaf {
    file: String,
    authority: Authority,
    subject: String,
    names: Option<String>,
}

/// Makes all keys and certificates for a number of nodes.
pub(crate) fn write(cluster: &Layout, nodes: u8) -> Result<()> {
    let dir = cluster.certificates();
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for authority in [Authority::Cluster, Authority::FrontProxy] {
        let name = authority.file();
        let subject = format!("/CN=weft-{name}");
        let ca = ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"];
        request(cluster, name, &[&["-subj", &subject], &ca[..]].concat())?;
    }
    for leaf in leaves(cluster, nodes) {
        sign(cluster, &leaf)?;
    }
    // Signs the tokens of service accounts.
    let openssl = |arguments: &[&str]| process::output(Command::new("openssl").args(arguments).current_dir(&dir));
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key"])?;
    openssl(&["ec", "-in", "sa.key", "-pubout", "-out", "sa.pub"])?;
    Ok(())
}

fn leaves(cluster: &Layout, nodes: u8) -> Vec<Leaf> {
    let leaf = |file: &str, subject: &str| Leaf {
        file: file.to_owned(),
        authority: Authority::Cluster,
        subject: subject.to_owned(),
        names: None,
    };
    let own = cluster.node(FIRST_NODE).address();
    let mut leaves = vec![
        Leaf {
            names: Some(format!(
                "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
                 DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:{API_SERVICE},IP:{own}"
            )),
            ..leaf("apiserver", "/CN=kube-apiserver")
        },
        leaf("admin", "/O=system:masters/CN=admin"),
        leaf(
            "apiserver-kubelet",
            "/O=system:masters/CN=kube-apiserver-kubelet-client",
        ),
        leaf("controller-manager", "/CN=system:kube-controller-manager"),
        leaf("scheduler", "/CN=system:kube-scheduler"),
        leaf("kube-proxy", "/CN=system:kube-proxy"),
        Leaf {
            authority: Authority::FrontProxy,
            ..leaf("front-proxy", "/CN=front-proxy-client")
        },
    ];
    leaves.extend((FIRST_NODE..=nodes).map(|number| {
        let node = cluster.node(number);
        let (name, address) = (node.name(), node.address());
        Leaf {
            names: Some(format!("DNS:{name},IP:{address}")),
            ..leaf(
                &format!("kubelet-{name}"),
                &format!("/O=system:nodes/CN=system:node:{name}"),
            )
        }
    }));
    leaves
}

fn sign(cluster: &Layout, leaf: &Leaf) -> Result<()> {
    let ca = leaf.authority.file();
    let (ca_file, ca_key) = (format!("{ca}.pem"), format!("{ca}.key"));
    let names = leaf.names.as_ref().map(|names| format!("subjectAltName={names}"));
    let mut arguments = vec!["-CA", &ca_file, "-CAkey", &ca_key, "-subj", &leaf.subject];
    arguments.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
    arguments.extend(["-addext", "keyUsage=critical,digitalSignature"]);
    arguments.extend(["-addext", "extendedKeyUsage=serverAuth,clientAuth"]);
    if let Some(names) = &names {
        arguments.extend(["-addext", names]);
    }
    request(cluster, &leaf.file, &arguments)
}

/// A new key and a certificate for it, as `NAME.key` and `NAME.pem`.
fn request(cluster: &Layout, name: &str, more: &[&str]) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(cluster.certificates());
    openssl.args(["req", "-x509", "-sha256", "-nodes", "-days", DAYS]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
    process::output(openssl.args(more)).map(drop)
}

// === impl Authority ===

impl Authority {
    fn file(self) -> &'static str {
        match self {
            Self::Cluster => "ca",
            Self::FrontProxy => "front-proxy-ca",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_kubelet_certificate_of_its_name() {
        let leaves = leaves(&Layout::new("weft").unwrap(), 2);
        let nodes: Vec<_> = leaves
            .iter()
            .filter(|leaf| leaf.subject.starts_with("/O=system:nodes"))
            .collect();
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[1].file, "kubelet-node2");
        assert_eq!(nodes[1].subject, "/O=system:nodes/CN=system:node:node2");
        assert_eq!(nodes[1].names.as_deref(), Some("DNS:node2,IP:172.30.0.2"));
    }

    #[test]
    fn the_api_server_is_known_by_the_address_that_the_host_uses() {
        let leaves = leaves(&Layout::new("weft").unwrap(), 1);
        let names = leaves[0].names.as_deref().unwrap();
        assert!(names.contains("IP:127.0.0.1,IP:10.96.0.1,IP:172.30.0.1"), "{names}");
    }
}
