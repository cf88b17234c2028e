//! `apiVersion`, `kind` and `metadata`: which object a document describes.

use std::sync::Arc;

use super::fields::Fields;
use super::tree::Value;
use crate::diagnostic::{Severity, code};
use crate::meta::{Kind, Meta, ObjectKey, Place};

/// What a document says of itself.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) meta: Meta,
    pub(super) place: Place,
}

/// The kinds that are read, with their groups and versions.
const KINDS: &[(&str, &[&str], Kind)] = &[
    ("", &["v1"], Kind::Service),
    ("", &["v1"], Kind::Secret),
    ("", &["v1"], Kind::Pod),
    ("", &["v1"], Kind::Node),
    ("", &["v1"], Kind::Namespace),
    ("discovery.k8s.io", &["v1"], Kind::EndpointSlice),
    ("networking.istio.io", NETWORKING, Kind::VirtualService),
    ("networking.istio.io", NETWORKING, Kind::DestinationRule),
    ("networking.istio.io", NETWORKING, Kind::ServiceEntry),
    ("networking.istio.io", NETWORKING, Kind::WorkloadEntry),
    ("networking.istio.io", NETWORKING, Kind::Gateway),
    ("networking.istio.io", NETWORKING, Kind::Sidecar),
    ("security.istio.io", &["v1", "v1beta1"], Kind::PeerAuthentication),
    ("security.istio.io", &["v1", "v1beta1"], Kind::AuthorizationPolicy),
    ("security.istio.io", &["v1", "v1beta1"], Kind::RequestAuthentication),
    ("telemetry.istio.io", &["v1", "v1alpha1"], Kind::Telemetry),
    ("", &["v1"], Kind::ConfigMap),
    (GATEWAY_API, &["v1", "v1beta1"], Kind::GatewayClass),
    (GATEWAY_API, &["v1", "v1beta1"], Kind::KubernetesGateway),
    (GATEWAY_API, &["v1", "v1beta1"], Kind::HttpRoute),
    (GATEWAY_API, &["v1", "v1alpha2"], Kind::GrpcRoute),
    (GATEWAY_API, &["v1", "v1alpha3", "v1alpha2"], Kind::TlsRoute),
    (GATEWAY_API, &["v1", "v1alpha2"], Kind::TcpRoute),
    (GATEWAY_API, &["v1", "v1beta1"], Kind::ReferenceGrant),
    ("weft.mesh", &["v1alpha1"], Kind::LocalWorkload),
    ("weft.mesh", &["v1alpha1"], Kind::LocalMesh),
];

const GATEWAY_API: &str = "gateway.networking.k8s.io";

const NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];

/// Other kinds of the groups whose objects change traffic.
const MESH_KINDS: &[&str] = &[
    "EnvoyFilter",
    "WorkloadGroup",
    "ProxyConfig",
    "WasmPlugin",
    "TrafficExtension",
];

/// Reads the header; `None` if the document is of a kind that is passed over, or of none.
pub(super) fn read(fields: &mut Fields<'_, '_>, file: &Arc<str>) -> Option<Header> {
    let api_version = fields.required_text("apiVersion", "for example networking.istio.io/v1");
    let kind_name = fields.required_text("kind", "for example VirtualService");
    let (namespace, name) = name_of(fields, &kind_name);
    if api_version.is_empty() || kind_name.is_empty() {
        return None;
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let kind = known_kind(fields, group, version, &kind_name)?;
    let namespace = if kind.is_cluster_wide() { "".into() } else { namespace };
    if !name.is_empty() {
        let (namespace, name) = (Arc::clone(&namespace), Arc::clone(&name));
        fields.report().object = ObjectKey { kind, namespace, name }.to_string();
    }
    let meta = metadata(fields, namespace, name);
    if meta.is_none() && fields.get("metadata").is_none() {
        fields.missing("metadata", "give at least metadata.name");
    }
    Some(Header {
        kind,
        meta: meta?,
        place: Place {
            file: Arc::clone(file),
            at: fields.at,
        },
    })
}

/// Namespace and name before anything else, so that every later finding can name the object.
fn name_of(fields: &mut Fields<'_, '_>, kind: &str) -> (Arc<str>, Arc<str>) {
    let (namespace, name) = fields.peek_name();
    if !kind.is_empty() && !name.is_empty() {
        fields.report().object = format!("{kind}/{namespace}/{name}");
    }
    (namespace.into(), name.into())
}

fn known_kind(fields: &mut Fields<'_, '_>, group: &str, version: &str, name: &str) -> Option<Kind> {
    let of_group = || KINDS.iter().filter(|(known, _, _)| *known == group);
    if let Some((_, versions, kind)) = of_group().find(|(_, _, kind)| kind.as_str() == name) {
        if versions.contains(&version) {
            return Some(*kind);
        }
        let hint = format!("use one of the versions {}", versions.join(", "));
        fields.invalid("apiVersion", format!("version {version} of {name} is not known"), hint);
        return Some(*kind);
    }
    let at = fields.place("kind");
    let ours = group.ends_with("istio.io") || group == "weft.mesh";
    let (severity, message, hint) = if ours && !MESH_KINDS.contains(&name) {
        let hint = match crate::suggest::nearest(name, of_group().map(|(_, _, kind)| kind.as_str())) {
            Some(near) => format!("did you mean {near}?"),
            None => String::new(),
        };
        (Severity::Error, format!("{group} has no kind {name}"), hint)
    } else if ours || group == GATEWAY_API {
        let message = format!("{name} is not carried out by this mesh yet and is passed over");
        (Severity::Warning, message, String::new())
    } else if let Some(near) = misspelt(group, name) {
        let message = match group {
            "" => format!("{name} is no kind that the mesh reads"),
            group => format!("{name} of {group} is no kind that the mesh reads"),
        };
        (Severity::Warning, message, format!("did you mean {near}?"))
    } else {
        // Of other groups there is much beside the mesh's objects, and nothing to be said of it.
        fields.report().passed_over = true;
        return None;
    };
    let report = fields.report();
    report.passed_over = !hint.starts_with("did you mean");
    report.field("kind", |report| {
        report.add(severity, code::UNHANDLED_KIND, at, message, hint);
    });
    None
}

/// A kind of ours that may be meant by one of another group: in a group that is nearly ours, in the core, or with a name like ours there.
fn misspelt(group: &str, name: &str) -> Option<String> {
    let groups = KINDS
        .iter()
        .filter(|(known, _, kind)| !known.is_empty() && kind.as_str() == name);
    let mut groups = groups.map(|(known, versions, _)| (*known, versions[0]));
    if group.is_empty() {
        let of_group = groups.next().map(|(known, version)| format!("{known}/{version}"));
        return of_group.or_else(|| crate::suggest::nearest(name, ["Service", "Secret"]).map(str::to_owned));
    }
    let near = groups.find(|(known, _)| crate::suggest::nearest(group, [*known]).is_some());
    near.map(|(known, version)| format!("{known}/{version}"))
}

fn metadata(fields: &mut Fields<'_, '_>, namespace: Arc<str>, name: Arc<str>) -> Option<Meta> {
    fields.map("metadata", |f| {
        f.required_text("name", "every object needs a name");
        f.text("namespace");
        let labels = f.labels("labels");
        let annotations = f.labels("annotations");
        let created = f.text("creationTimestamp");
        let generation = match f.get("generation").map(|node| &node.value) {
            Some(Value::Scalar { text, .. }) => text.parse().unwrap_or_default(),
            Some(Value::List(_) | Value::Map(_)) | None => 0,
        };
        f.ignore(&[
            "uid",
            "resourceVersion",
            "generation",
            "managedFields",
            "ownerReferences",
            "finalizers",
            "selfLink",
            "generateName",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "clusterName",
        ]);
        Meta {
            namespace,
            name,
            labels,
            annotations,
            created,
            generation,
        }
    })
}
