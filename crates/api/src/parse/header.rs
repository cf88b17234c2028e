//! `apiVersion`, `kind` and `metadata`: which object a document describes.

use std::sync::Arc;

use super::fields::Fields;
use super::tree::Value;
use crate::diagnostic::{Severity, code};
use crate::kind::{Group, Kind, KindFacts, UNREAD, is_of_the_mesh};
use crate::meta::{Labels, Meta, ObjectKey, Place, Position};

/// What a document says of itself.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) meta: Meta,
    pub(super) place: Place,
}

// === impl Header ===

impl Header {
    /// That of an object of which only the kind matters.
    pub(super) fn blank(kind: Kind) -> Self {
        let none = Arc::<str>::from("");
        Self {
            kind,
            meta: Meta {
                namespace: Arc::clone(&none),
                name: Arc::clone(&none),
                labels: Labels::new(),
                annotations: Labels::new(),
                created: None,
                generation: 0,
            },
            place: Place {
                file: none,
                at: Position::default(),
            },
        }
    }
}

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
    if let Some(kind) = Kind::named(group, name) {
        let versions = kind.facts().versions;
        if versions.contains(&version) {
            return Some(kind);
        }
        let hint = format!("use one of the versions {}", versions.join(", "));
        fields.invalid("apiVersion", format!("version {version} of {name} is not known"), hint);
        return Some(kind);
    }
    let at = fields.place("kind");
    let ours = is_of_the_mesh(group);
    let (severity, message, hint) = if ours && !UNREAD.iter().any(|(_, unread)| *unread == name) {
        let hint = match crate::suggest::nearest(name, Kind::of_group(group).map(Kind::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => String::new(),
        };
        (Severity::Error, format!("{group} has no kind {name}"), hint)
    } else if ours || group == Group::GatewayApi.name() {
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
    let of_name = Kind::ALL.iter().map(|kind| kind.facts());
    let mut others = of_name.filter(|facts| facts.group != Group::Core && facts.name == name);
    let shown = |facts: &KindFacts| format!("{}/{}", facts.group.name(), facts.versions[0]);
    if group.is_empty() {
        let of_group = others.next().map(shown);
        return of_group.or_else(|| crate::suggest::nearest(name, ["Service", "Secret"]).map(str::to_owned));
    }
    let mut near = others.filter(|facts| crate::suggest::nearest(group, [facts.group.name()]).is_some());
    near.next().map(shown)
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
