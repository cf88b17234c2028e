//! Files to objects: `parse` takes the text of a file and gives every object that can be used and every finding.
//!
//! Broken input is normal: a broken document is reported with its place, and the others of the file are read all the same.

mod authorization;
mod authorization_values;
mod check;
mod destination_rule;
mod extension_provider;
mod fields;
mod format;
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
use crate::kind::{Definition, Kind};
use crate::meta::{Meta, Object, ObjectKey};
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

/// The shape of `spec` of a kind that the mesh defines, as its reader asks for it.
pub(crate) fn shape(kind: Kind) -> Option<Shape> {
    if kind.facts().definition == Definition::Others {
        return None;
    }
    let object = trace::shape(&|fields| drop(spec(fields, Header::blank(kind))));
    let Shape::Object { mut fields, .. } = object else {
        return None;
    };
    fields.remove("spec")
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
                self.stand_ins.extend(unusable.as_ref().and_then(stand_in));
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
        Kind::Service => of_meta(fields, header, kubernetes::service, Resource::Service),
        Kind::Secret => whole(fields, header, |f, _| kubernetes::secret(f), Resource::Secret),
        Kind::Pod => whole(fields, header, pod::pod, Resource::Pod),
        Kind::EndpointSlice => whole(fields, header, pod::endpoint_slice, Resource::EndpointSlice),
        Kind::Node => labels_alone(fields, header, cluster::Node, Resource::Node),
        Kind::Namespace => labels_alone(fields, header, cluster::Namespace, Resource::Namespace),
        Kind::VirtualService => in_spec(fields, header, virtual_service::read, Resource::VirtualService),
        Kind::DestinationRule => in_spec(fields, header, destination_rule::read, Resource::DestinationRule),
        Kind::ServiceEntry => in_spec(fields, header, service_entry::service_entry, Resource::ServiceEntry),
        Kind::WorkloadEntry => of_meta(
            fields,
            header,
            service_entry::workload_entry_object,
            Resource::WorkloadEntry,
        ),
        Kind::Gateway => in_spec(fields, header, gateway::read, Resource::Gateway),
        Kind::Sidecar => {
            let spec = spec_or(fields, sidecar::read, sidecar::empty());
            finish(fields, header, Some(spec), Resource::Sidecar)
        }
        Kind::PeerAuthentication => {
            let spec = spec_or(fields, security::peer_authentication, security::empty());
            finish(fields, header, Some(spec), Resource::PeerAuthentication)
        }
        Kind::AuthorizationPolicy => {
            let spec = spec_or(fields, authorization::policy, authorization::closed());
            finish(fields, header, Some(spec), Resource::AuthorizationPolicy)
        }
        Kind::RequestAuthentication => {
            if fields.get("spec").is_none() {
                fields.missing("spec", "");
            }
            let spec = spec_or(fields, policy::request_authentication, policy::no_rules());
            finish(fields, header, Some(spec), Resource::RequestAuthentication)
        }
        Kind::Telemetry => in_spec(fields, header, policy::telemetry, Resource::Telemetry),
        Kind::ConfigMap if *header.meta.name != *crate::mesh_config::NAME => {
            fields.ignore_rest();
            None
        }
        Kind::ConfigMap => {
            let spec = mesh_config::config_map(fields)?;
            finish(fields, header, Some(spec), Resource::MeshConfig)
        }
        Kind::GatewayClass => in_spec(fields, header, gateway_api::class, Resource::GatewayClass),
        Kind::KubernetesGateway => in_spec(fields, header, gateway_api::gateway, Resource::KubernetesGateway),
        Kind::HttpRoute => route(fields, header, RouteKind::Http),
        Kind::GrpcRoute => route(fields, header, RouteKind::Grpc),
        Kind::TlsRoute => route(fields, header, RouteKind::Tls),
        Kind::TcpRoute => route(fields, header, RouteKind::Tcp),
        Kind::ReferenceGrant => in_spec(fields, header, gateway_api::grant, Resource::ReferenceGrant),
        Kind::LocalWorkload => of_meta(fields, header, local::workload, Resource::LocalWorkload),
        Kind::LocalMesh => {
            local::check_name(fields, &header.meta.name, header.place.at);
            in_spec(fields, header, local::mesh, Resource::LocalMesh)
        }
    }
}

/// A kind that says everything in `spec`.
fn in_spec<T>(
    fields: &mut Fields<'_, '_>,
    header: Header,
    read: impl FnOnce(&mut Fields<'_, '_>) -> T,
    wrap: impl FnOnce(Arc<Object<T>>) -> Resource,
) -> Option<Resource> {
    let spec = fields.map("spec", read);
    finish(fields, header, spec, wrap)
}

/// The same of a kind whose `spec` depends on the metadata.
fn of_meta<T>(
    fields: &mut Fields<'_, '_>,
    header: Header,
    read: impl FnOnce(&mut Fields<'_, '_>, &Meta) -> T,
    wrap: impl FnOnce(Arc<Object<T>>) -> Resource,
) -> Option<Resource> {
    let spec = fields.map("spec", |f| read(f, &header.meta));
    finish(fields, header, spec, wrap)
}

/// A kind that says something beside `spec`, or has none.
fn whole<T>(
    fields: &mut Fields<'_, '_>,
    header: Header,
    read: impl FnOnce(&mut Fields<'_, '_>, &Meta) -> T,
    wrap: impl FnOnce(Arc<Object<T>>) -> Resource,
) -> Option<Resource> {
    let spec = read(fields, &header.meta);
    finish(fields, header, Some(spec), wrap)
}

/// A kind of which only the labels matter.
fn labels_alone<T>(
    fields: &mut Fields<'_, '_>,
    header: Header,
    spec: T,
    wrap: impl FnOnce(Arc<Object<T>>) -> Resource,
) -> Option<Resource> {
    fields.ignore_rest();
    finish(fields, header, Some(spec), wrap)
}

/// What `spec` says, or what counts where it is absent. That is taken for one that is no map, too, so that a broken policy has a stand-in.
fn spec_or<T>(fields: &mut Fields<'_, '_>, read: impl FnOnce(&mut Fields<'_, '_>) -> T, absent: T) -> T {
    fields.map("spec", read).unwrap_or(absent)
}

fn route(fields: &mut Fields<'_, '_>, header: Header, kind: RouteKind) -> Option<Resource> {
    in_spec(fields, header, |f| gateway_api::route(f, kind), Resource::Route)
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
