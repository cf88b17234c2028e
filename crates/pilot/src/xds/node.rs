//! A client's node as it is sent: read, and held against the certificate that the client showed.

use std::sync::Arc;

use weft_api::meta::Labels;
use weft_base::identity::SpiffeId;
use weft_mesh::node::{Dialect, ProxyNode, Role};
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::google::protobuf as pb;

/// Why a client is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NodeError {
    /// The id does not have the form that Istio gives it.
    #[error("node id {0:?} is not of the form <sidecar|router>~<ip>~<pod>.<namespace>~<domain>")]
    Id(String),
    /// It sent no node.
    #[error("the first request of a stream must have a node")]
    Missing,
    /// Its `GENERATOR` is none that is served.
    #[error("clients with the generator {0:?} are not served; proxies have none, gRPC clients have \"grpc\"")]
    Kind(String),
    /// Its certificate is somebody else's.
    #[error("node {id} claims {claimed}, its certificate is for {certificate}")]
    Identity {
        id: Arc<str>,
        /// What it says.
        claimed: String,
        /// What it proved.
        certificate: SpiffeId,
    },
}

/// Reads a node.
pub(super) fn read(node: Option<&core::Node>) -> Result<ProxyNode, NodeError> {
    let node = node.ok_or(NodeError::Missing)?;
    let wrong = || NodeError::Id(node.id.chars().take(256).collect());
    let parts: Vec<&str> = node.id.split('~').collect();
    let [role, address, name, _domain] = parts.as_slice() else {
        return Err(wrong());
    };
    let role = match *role {
        "sidecar" => Role::Sidecar,
        "router" => Role::Router,
        _ => return Err(wrong()),
    };
    let (pod, namespace) = name.rsplit_once('.').ok_or_else(wrong)?;
    if pod.is_empty() || namespace.is_empty() {
        return Err(wrong());
    }
    let dialect = match text(node, "GENERATOR") {
        Some("grpc") => Dialect::Grpc,
        Some(other) => return Err(NodeError::Kind(other.chars().take(256).collect())),
        None if node.user_agent_name == "weft-proxy" => Dialect::Weft,
        None => Dialect::Envoy,
    };
    Ok(ProxyNode {
        id: Arc::from(node.id.as_str()),
        role,
        address: address.parse().ok(),
        pod: Arc::from(pod),
        namespace: Arc::from(namespace),
        service_account: text(node, "SERVICE_ACCOUNT").map(Arc::from),
        labels: labels(node),
        version: Arc::from(text(node, "ISTIO_VERSION").unwrap_or_default()),
        dialect,
    })
}

/// Whether the certificate that the client showed allows what it claims to be.
pub(super) fn check_identity(node: &ProxyNode, certificate: &SpiffeId) -> Result<(), NodeError> {
    let same_namespace = *node.namespace == *certificate.namespace();
    let same_account = node
        .service_account
        .as_ref()
        .is_none_or(|account| **account == *certificate.service_account());
    if same_namespace && same_account {
        return Ok(());
    }
    let account = node.service_account.as_deref().unwrap_or("*");
    Err(NodeError::Identity {
        id: node.id.clone(),
        claimed: format!("ns/{}/sa/{account}", node.namespace),
        certificate: certificate.clone(),
    })
}

fn text<'a>(node: &'a core::Node, key: &str) -> Option<&'a str> {
    if let pb::value::Kind::StringValue(text) = node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
        return Some(text);
    }
    None
}

fn labels(node: &core::Node) -> Labels {
    let found = node
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.fields.get("LABELS"));
    let Some(pb::value::Kind::StructValue(fields)) = found.and_then(|value| value.kind.as_ref()) else {
        return Labels::new();
    };
    let entry = |(key, value): (&String, &pb::Value)| match &value.kind {
        Some(pb::value::Kind::StringValue(text)) => Some((key.clone(), text.clone())),
        _ => None,
    };
    fields.fields.iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> core::Node {
        let account = pb::Value {
            kind: Some(pb::value::Kind::StringValue("callme".to_owned())),
        };
        core::Node {
            id: id.to_owned(),
            metadata: Some(pb::Struct {
                fields: [("SERVICE_ACCOUNT".to_owned(), account)].into(),
            }),
            ..core::Node::default()
        }
    }

    #[test]
    fn ids_are_istios() {
        let parsed = read(Some(&node("sidecar~127.0.0.1~callme.v1-0.default~x"))).unwrap();
        assert_eq!(
            (&*parsed.pod, &*parsed.namespace, parsed.role),
            ("callme.v1-0", "default", Role::Sidecar)
        );
        for id in [
            "",
            "sidecar~1~a~b",
            "waypoint~1~a.b~c",
            "sidecar~1~a.b",
            "sidecar~1~.b~c",
        ] {
            assert!(read(Some(&node(id))).is_err(), "{id}");
        }
        assert_eq!(read(None), Err(NodeError::Missing));
    }

    #[test]
    fn a_certificate_must_fit_the_claim() {
        let parsed = read(Some(&node("sidecar~127.0.0.1~callme-0.default~x"))).unwrap();
        for (id, fits) in [
            ("spiffe://cluster.local/ns/default/sa/callme", true),
            ("spiffe://cluster.local/ns/default/sa/other", false),
            ("spiffe://cluster.local/ns/other/sa/callme", false),
        ] {
            assert_eq!(check_identity(&parsed, &id.parse().unwrap()).is_ok(), fits, "{id}");
        }
    }
}
