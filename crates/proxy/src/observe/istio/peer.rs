//! Who a workload is, on the wire of Istio's peer metadata: a protobuf `Struct` in base64 in a header of every request within the mesh.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderName, HeaderValue};
use prost::Message;
use serde_json::Value;
use weft_proto::xds::google::protobuf as pb;

use crate::model::bootstrap::Node;
use crate::model::metadata::WorkloadRef;

pub(crate) const PEER_METADATA: HeaderName = HeaderName::from_static("x-envoy-peer-metadata");

/// The node id of the proxy that sends it.
pub(crate) const PEER_METADATA_ID: HeaderName = HeaderName::from_static("x-envoy-peer-metadata-id");

/// Longest header that is read; Istio's own are below one kibibyte.
const HEADER_BYTES_MAX: usize = 8 << 10;

const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";

/// Senders pad or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The headers that tell peers of this proxy's workload.
#[derive(Clone, Debug)]
pub struct OwnHeaders {
    pub id: HeaderValue,
    pub metadata: HeaderValue,
}

/// The workload of a proxy, from its node's metadata; the canonical name is taken from other labels as Istio's injector does.
pub(crate) fn local(node: &Node) -> WorkloadRef {
    let text = |key: &str| node.metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    let labels = node.metadata.get("LABELS").and_then(Value::as_object);
    let label = |keys: &[&str]| {
        let mut values = keys.iter().filter_map(|key| labels?.get(*key)?.as_str());
        values.next().unwrap_or_default()
    };
    let name = text("WORKLOAD_NAME");
    let canonical = label(&[CANONICAL_NAME, "app.kubernetes.io/name", "app"]);
    let revision = label(&[CANONICAL_REVISION, "app.kubernetes.io/version", "version"]);
    WorkloadRef {
        name: name.into(),
        namespace: text("NAMESPACE").into(),
        canonical_name: if canonical.is_empty() { name } else { canonical }.into(),
        canonical_revision: if revision.is_empty() { "latest" } else { revision }.into(),
        cluster: text("CLUSTER_ID").into(),
        app: label(&["app"]).into(),
        version: label(&["version"]).into(),
    }
}

/// What this proxy sends.
pub(crate) fn own_headers(local: &WorkloadRef, node_id: &str) -> Option<OwnHeaders> {
    let labels = [
        (CANONICAL_NAME, &local.canonical_name),
        (CANONICAL_REVISION, &local.canonical_revision),
        ("app", &local.app),
        ("version", &local.version),
    ];
    let mut fields = structure(&labels);
    let labels = pb::Value {
        kind: Some(pb::value::Kind::StructValue(fields)),
    };
    fields = structure(&[
        ("CLUSTER_ID", &local.cluster),
        ("NAMESPACE", &local.namespace),
        ("WORKLOAD_NAME", &local.name),
    ]);
    fields.fields.insert("LABELS".to_owned(), labels);
    Some(OwnHeaders {
        id: HeaderValue::from_str(node_id).ok()?,
        metadata: HeaderValue::try_from(BASE64.encode(fields.encode_to_vec())).ok()?,
    })
}

/// What a peer says of itself; `None` where it cannot be read.
pub(crate) fn decode(value: &[u8]) -> Option<WorkloadRef> {
    if value.len() > HEADER_BYTES_MAX {
        return None;
    }
    let fields = pb::Struct::decode(BASE64.decode(value).ok()?.as_slice()).ok()?.fields;
    let labels = match fields.get("LABELS").and_then(|value| value.kind.as_ref()) {
        Some(pb::value::Kind::StructValue(labels)) => Some(&labels.fields),
        _ => None,
    };
    let label = |key: &str| text(labels.and_then(|labels| labels.get(key)));
    let name = text(fields.get("WORKLOAD_NAME"));
    let canonical_name = Some(label(CANONICAL_NAME)).filter(|name| !name.is_empty());
    Some(WorkloadRef {
        canonical_name: canonical_name.unwrap_or_else(|| name.clone()),
        name,
        namespace: text(fields.get("NAMESPACE")),
        canonical_revision: label(CANONICAL_REVISION),
        cluster: text(fields.get("CLUSTER_ID")),
        app: label("app"),
        version: label("version"),
    })
}

fn structure(entries: &[(&str, &Arc<str>)]) -> pb::Struct {
    let known = entries.iter().filter(|(_, value)| !value.is_empty());
    let value = |text: &str| pb::Value {
        kind: Some(pb::value::Kind::StringValue(text.to_owned())),
    };
    pb::Struct {
        fields: known.map(|(key, text)| ((*key).to_owned(), value(text))).collect(),
    }
}

fn text(value: Option<&pb::Value>) -> Arc<str> {
    match value.and_then(|value| value.kind.as_ref()) {
        Some(pb::value::Kind::StringValue(text)) => text.as_str().into(),
        _ => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read() {
        let metadata = serde_json::json!({
            "WORKLOAD_NAME": "callme-v1", "NAMESPACE": "default", "CLUSTER_ID": "Kubernetes",
            "LABELS": {"app": "callme", "version": "v1"},
        });
        let node = Node {
            metadata: metadata.as_object().unwrap().clone(),
            ..Node::default()
        };
        let own = local(&node);
        assert_eq!((&*own.canonical_name, &*own.canonical_revision), ("callme", "v1"));
        let headers = own_headers(&own, "sidecar~127.0.0.1~callme.default~x").unwrap();
        assert_eq!(decode(headers.metadata.as_bytes()), Some(own.clone()));
        // Envoy writes padding, and may not.
        let bare = headers.metadata.to_str().unwrap().trim_end_matches('=').to_owned();
        assert_eq!(decode(bare.as_bytes()), Some(own));
    }

    #[test]
    fn what_cannot_be_read_is_nobody() {
        for value in [&b"%%%"[..], b"/////w==", &[b'A'; 9000]] {
            assert_eq!(decode(value), None);
        }
        assert_eq!(decode(b"").unwrap_or_default(), WorkloadRef::default());
    }

    #[test]
    fn a_header_of_an_istio_proxy_is_read() {
        // NAMESPACE: ns, WORKLOAD_NAME: w, LABELS: {app: a}, as protobuf wrote it.
        let bytes = [
            b"\n\x0f\n\tNAMESPACE\x12\x02\x1a\x00".to_vec(),
            b"\n\x14\n\rWORKLOAD_NAME\x12\x03\x1a\x01w".to_vec(),
            b"\n\x18\n\x06LABELS\x12\x0e*\x0c\n\n\n\x03app\x12\x03\x1a\x01a".to_vec(),
        ]
        .concat();
        let peer = decode(BASE64.encode(bytes).as_bytes()).unwrap();
        assert_eq!(
            (&*peer.name, &*peer.namespace, &*peer.app, &*peer.canonical_name),
            ("w", "", "a", "w")
        );
    }
}
