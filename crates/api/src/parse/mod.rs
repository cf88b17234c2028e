//! Files to objects: `parse` takes the text of a file and gives every object that can be used and every finding.
//!
//! Broken input is normal: a broken document is reported with its place, and the others of the file are read all the same.

mod check;
mod destination_rule;
mod fields;
mod gateway;
mod gateway_api;
mod header;
mod json;
mod kubernetes;
mod local;
mod mesh_config;
mod pod;
mod policy;
mod report;
mod rules;
mod security;
mod service_entry;
mod sidecar;
mod trace;
mod traffic_policy;
mod tree;
mod values;
mod virtual_service;
mod virtual_service_filters;
mod virtual_service_l4;

use std::sync::Arc;

use self::fields::Fields;
use self::header::Header;
use self::report::Report;
use self::tree::{Node, Value};
use crate::cluster;
use crate::diagnostic::{Diagnostic, Severity, code};
use crate::gateway_api::RouteKind;
use crate::meta::{Kind, Labels, Object, ObjectKey};
use crate::resource::Resource;
use crate::schema::Shape;
use crate::stand_in::stand_in;

/// Most documents of one file, items of lists included.
const OBJECTS_MAX: usize = 50_000;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The objects, in the order of the file. Of two with the same key only the first.
    pub resources: Vec<Resource>,
    /// Findings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// Objects that are in the file but broken.
    pub broken: Vec<ObjectKey>,
    /// What stands in for broken policies that were never read before: they let less through.
    pub stand_ins: Vec<Resource>,
    /// Whether a document is broken so badly that its name is not known.
    pub broken_unnamed: bool,
}

/// The shape of `spec` of a kind that is a custom resource of Istio's groups, as its reader asks for it.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other kinds are not ours to define")]
pub(crate) fn shape(kind: Kind) -> Option<Shape> {
    let none = Labels::new();
    let read: &dyn Fn(&mut Fields<'_, '_>) = match kind {
        Kind::VirtualService => &|f| drop(virtual_service::read(f)),
        Kind::DestinationRule => &|f| drop(destination_rule::read(f)),
        Kind::ServiceEntry => &|f| drop(service_entry::service_entry(f)),
        Kind::WorkloadEntry => &|f| drop(service_entry::workload_entry_object(f, &none)),
        Kind::Gateway => &|f| drop(gateway::read(f)),
        Kind::Sidecar => &|f| drop(sidecar::read(f)),
        Kind::PeerAuthentication => &|f| drop(security::peer_authentication(f)),
        Kind::AuthorizationPolicy => &|f| drop(policy::authorization_policy(f)),
        Kind::RequestAuthentication => &|f| drop(policy::request_authentication(f)),
        Kind::Telemetry => &|f| drop(policy::telemetry(f)),
        _ => return None,
    };
    Some(trace::shape(read))
}

/// Cuts a file into its documents, as text with their markers; joined they are the file again but for a byte-order mark.
pub fn documents(text: &str) -> impl Iterator<Item = &str> {
    tree::documents(text).into_iter().map(|chunk| chunk.text)
}

/// Reads all documents of a file: YAML or JSON, several documents, `kind: List`. `file` is the name for diagnostics.
pub fn parse(file: &str, text: &str) -> Parsed {
    let file: Arc<str> = file.into();
    let mut parsed = Parsed::default();
    for chunk in tree::documents(text) {
        match tree::read(chunk) {
            Ok(None) => {}
            Ok(Some(node)) => parsed.document(&file, &node, ""),
            Err(error) => {
                let mut report = Report::new(&file);
                report.add(Severity::Error, code::SYNTAX, error.at, error.message, error.hint);
                parsed.broken_unnamed = true;
                parsed.diagnostics.extend(report.into_findings());
            }
        }
    }
    parsed
}

/// Reads one object that a server gave as JSON. There is no file and there are no lines: findings name object and field.
pub fn parse_json(value: &serde_json::Value) -> Parsed {
    let file: Arc<str> = "".into();
    let mut parsed = Parsed::default();
    match json::read(value) {
        Ok(None) => {}
        Ok(Some(node)) => parsed.document(&file, &node, ""),
        Err(error) => {
            let mut report = Report::new(&file);
            report.add(Severity::Error, code::SYNTAX, error.at, error.message, error.hint);
            parsed.broken_unnamed = true;
            parsed.diagnostics.extend(report.into_findings());
        }
    }
    parsed
}

// === impl Parsed ===

impl Parsed {
    /// Reads one object, or each item of a list. `path` is where the document is inside of an enclosing list.
    fn document(&mut self, file: &Arc<str>, node: &Node, path: &str) {
        if path.is_empty()
            && let Some(items) = list_items(node)
        {
            for (i, item) in items.iter().enumerate() {
                self.document(file, item, &format!("items[{i}]"));
            }
            return;
        }
        let mut report = Report::new(file);
        let (key, resource) = if path.is_empty() {
            object(&mut report, file, node)
        } else {
            report.field(path, |report| object(report, file, node))
        };
        let broken = report.is_broken() && !report.passed_over;
        match resource {
            Some(resource) if !report.is_broken() => self.add(resource, &mut report),
            unusable if broken => {
                match key {
                    Some(key) => self.broken.push(key),
                    None => self.broken_unnamed = true,
                }
                self.stand_ins.extend(unusable.and_then(stand_in));
            }
            _ => {}
        }
        self.diagnostics.extend(report.into_findings());
    }

    fn add(&mut self, resource: Resource, report: &mut Report) {
        let at = resource.place().at;
        if self.resources.len() >= OBJECTS_MAX {
            let message = format!("the file has more than {OBJECTS_MAX} objects");
            return report.add(Severity::Error, code::SYNTAX, at, message, "split it");
        }
        self.resources.push(resource);
    }
}

/// The items of `kind: List`.
fn list_items(node: &Node) -> Option<&[Node]> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let value = |name: &str| {
        entries
            .iter()
            .find(|entry| entry.key == name)
            .map(|entry| &entry.node.value)
    };
    match (value("kind"), value("items")) {
        (Some(Value::Scalar { text, .. }), Some(Value::List(items))) if text.ends_with("List") => Some(items),
        _ => None,
    }
}

/// Reads one object; the key as far as it is known.
fn object(report: &mut Report, file: &Arc<str>, node: &Node) -> (Option<ObjectKey>, Option<Resource>) {
    let read = report.map(node, |fields| {
        let Some(header) = header::read(fields, file) else {
            fields.ignore_rest();
            return (None, None);
        };
        let key = ObjectKey {
            kind: header.kind,
            namespace: Arc::clone(&header.meta.namespace),
            name: Arc::clone(&header.meta.name),
        };
        let resource = spec(fields, header);
        ((!key.name.is_empty()).then_some(key), resource)
    });
    read.unwrap_or_default()
}

/// Reads what follows the header, by kind.
fn spec(fields: &mut Fields<'_, '_>, header: Header) -> Option<Resource> {
    if header.kind != Kind::Secret {
        fields.ignore(&["status"]);
    }
    match header.kind {
        Kind::Service => {
            let spec = fields.map("spec", |f| kubernetes::service(f, &header.meta));
            finish(fields, header, spec, Resource::Service)
        }
        Kind::Secret => {
            let spec = kubernetes::secret(fields);
            finish(fields, header, Some(spec), Resource::Secret)
        }
        Kind::Pod => {
            let spec = pod::pod(fields, &header.meta);
            finish(fields, header, Some(spec), Resource::Pod)
        }
        Kind::EndpointSlice => {
            let spec = pod::endpoint_slice(fields, &header.meta);
            finish(fields, header, Some(spec), Resource::EndpointSlice)
        }
        Kind::Node => {
            fields.ignore_rest();
            finish(fields, header, Some(cluster::Node), Resource::Node)
        }
        Kind::Namespace => {
            fields.ignore_rest();
            finish(fields, header, Some(cluster::Namespace), Resource::Namespace)
        }
        Kind::VirtualService => {
            let spec = fields.map("spec", virtual_service::read);
            finish(fields, header, spec, Resource::VirtualService)
        }
        Kind::DestinationRule => {
            let spec = fields.map("spec", destination_rule::read);
            finish(fields, header, spec, Resource::DestinationRule)
        }
        Kind::ServiceEntry => {
            let spec = fields.map("spec", service_entry::service_entry);
            finish(fields, header, spec, Resource::ServiceEntry)
        }
        Kind::WorkloadEntry => {
            let labels = header.meta.labels.clone();
            let spec = fields.map("spec", |f| service_entry::workload_entry_object(f, &labels));
            finish(fields, header, spec, Resource::WorkloadEntry)
        }
        Kind::Gateway => {
            let spec = fields.map("spec", gateway::read);
            finish(fields, header, spec, Resource::Gateway)
        }
        Kind::Sidecar => {
            let spec = match fields.get("spec") {
                Some(_) => fields.map("spec", sidecar::read),
                None => Some(sidecar::empty()),
            };
            finish(fields, header, spec, Resource::Sidecar)
        }
        Kind::ConfigMap => {
            if *header.meta.name != *mesh_config::NAME {
                fields.ignore_rest();
                return None;
            }
            let spec = mesh_config::config_map(fields)?;
            finish(fields, header, Some(spec), Resource::MeshConfig)
        }
        Kind::PeerAuthentication | Kind::AuthorizationPolicy | Kind::RequestAuthentication | Kind::Telemetry => {
            policy_spec(fields, header)
        }
        Kind::GatewayClass
        | Kind::KubernetesGateway
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::TlsRoute
        | Kind::TcpRoute
        | Kind::ReferenceGrant => gateway_api_spec(fields, header),
        Kind::LocalWorkload => {
            let name = Arc::clone(&header.meta.name);
            let spec = fields.map("spec", |f| local::workload(f, &name));
            finish(fields, header, spec, Resource::LocalWorkload)
        }
        Kind::LocalMesh => {
            // Its state lies in a directory of that name.
            let name = &header.meta.name;
            if !name.is_empty() && !name.split('.').all(check::is_dns_label) {
                let (at, message) = (header.place.at, format!("{name:?} is not a name"));
                fields.report().field("metadata.name", |report| {
                    report.invalid(at, message, "use lower-case letters, digits and dashes");
                });
            }
            let spec = fields.map("spec", local::mesh);
            finish(fields, header, spec, Resource::LocalMesh)
        }
    }
}

/// The kinds that say who may do what, and what is reported.
#[expect(clippy::wildcard_enum_match_arm, reason = "only called for these kinds")]
fn policy_spec(fields: &mut Fields<'_, '_>, header: Header) -> Option<Resource> {
    match header.kind {
        Kind::PeerAuthentication => {
            let spec = match fields.get("spec") {
                Some(_) => fields
                    .map("spec", security::peer_authentication)
                    .or_else(|| Some(security::empty())),
                None => Some(security::empty()),
            };
            finish(fields, header, spec, Resource::PeerAuthentication)
        }
        Kind::AuthorizationPolicy => {
            let spec = match fields.get("spec") {
                Some(_) => fields
                    .map("spec", policy::authorization_policy)
                    .or_else(|| Some(policy::closed())),
                None => Some(policy::closed()),
            };
            finish(fields, header, spec, Resource::AuthorizationPolicy)
        }
        Kind::RequestAuthentication => {
            let spec = fields.map("spec", policy::request_authentication);
            finish(fields, header, spec, Resource::RequestAuthentication)
        }
        Kind::Telemetry => {
            let spec = fields.map("spec", policy::telemetry);
            finish(fields, header, spec, Resource::Telemetry)
        }
        _ => None,
    }
}

/// The kinds of the Gateway API.
#[expect(clippy::wildcard_enum_match_arm, reason = "only called for these kinds")]
fn gateway_api_spec(fields: &mut Fields<'_, '_>, header: Header) -> Option<Resource> {
    match header.kind {
        Kind::GatewayClass => {
            let spec = fields.map("spec", gateway_api::class);
            finish(fields, header, spec, Resource::GatewayClass)
        }
        Kind::KubernetesGateway => {
            let spec = fields.map("spec", gateway_api::gateway);
            finish(fields, header, spec, Resource::KubernetesGateway)
        }
        Kind::HttpRoute => route(fields, header, RouteKind::Http),
        Kind::GrpcRoute => route(fields, header, RouteKind::Grpc),
        Kind::TlsRoute => route(fields, header, RouteKind::Tls),
        Kind::TcpRoute => route(fields, header, RouteKind::Tcp),
        Kind::ReferenceGrant => {
            let spec = fields.map("spec", gateway_api::grant);
            finish(fields, header, spec, Resource::ReferenceGrant)
        }
        _ => None,
    }
}

fn route(fields: &mut Fields<'_, '_>, header: Header, kind: RouteKind) -> Option<Resource> {
    let spec = fields.map("spec", |f| gateway_api::route(f, kind));
    finish(fields, header, spec, Resource::Route)
}

/// Puts header and spec together.
fn finish<T>(
    fields: &mut Fields<'_, '_>,
    header: Header,
    spec: Option<T>,
    wrap: impl FnOnce(Arc<Object<T>>) -> Resource,
) -> Option<Resource> {
    if fields.get("spec").is_none() && spec.is_none() {
        fields.missing("spec", "");
    }
    let spec_fields = match fields.get("spec").map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|entry| (entry.key.clone(), entry.node.at)).collect(),
        Some(Value::Scalar { .. } | Value::List(_)) | None => Default::default(),
    };
    Some(wrap(Arc::new(Object {
        meta: header.meta,
        place: header.place,
        spec_fields,
        spec: spec?,
    })))
}
