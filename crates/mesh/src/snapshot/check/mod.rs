//! Findings about references between objects, each with the place of the reference.

mod authorization;
mod destination_rules;
mod egress;
mod gateway_api;
mod gateways;
mod policies;
mod ports;
mod services;
mod virtual_services;

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_api::diagnostic::{Diagnostic, Severity};
use weft_api::meta::{Kind, Labels, Object, ObjectKey, Place, selects};

use super::{Inputs, MeshSnapshot, pods};

/// All findings, sorted by place.
pub(super) fn check(snapshot: &MeshSnapshot) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    services::check(snapshot, &mut found);
    virtual_services::check(snapshot, &mut found);
    destination_rules::check(snapshot, &mut found);
    gateways::check(snapshot, &mut found);
    policies::check(snapshot, &mut found);
    egress::check(snapshot, &mut found);
    authorization::check(snapshot, &mut found);
    gateway_api::check(snapshot, &mut found);
    ports::check(snapshot, &mut found);
    found.sort();
    found.dedup();
    found
}

/// What a finding is about.
struct Subject {
    object: ObjectKey,
    place: Place,
    field: String,
}

impl Subject {
    fn new<T>(kind: Kind, object: &Object<T>, field: impl Into<String>, place: Place) -> Self {
        Self {
            object: ObjectKey {
                kind,
                namespace: Arc::clone(&object.meta.namespace),
                name: Arc::clone(&object.meta.name),
            },
            place,
            field: field.into(),
        }
    }

    fn finding(
        self,
        severity: Severity,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            file: self.place.file,
            line: self.place.at.line,
            column: self.place.at.column,
            severity,
            code: code.into(),
            object: self.object.to_string(),
            field: self.field,
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// Whether a pod has all these labels that has no address yet: what it is missed for is on its way.
fn is_starting(snapshot: &MeshSnapshot, namespace: Option<&str>, selectors: &[&Labels]) -> bool {
    pods::without_address(&snapshot.inputs).any(|pod| {
        namespace.is_none_or(|namespace| *pod.meta.namespace == *namespace)
            && selectors.iter().all(|selector| selects(selector, &pod.meta.labels))
    })
}

/// Whether the same pods have no address yet, so that nothing else is found about what waits for them.
pub(super) fn same_starting(old: &Inputs, new: &Inputs) -> bool {
    if Arc::ptr_eq(&old.pods, &new.pods) {
        return true;
    }
    let names = |inputs| -> Vec<_> {
        let pods = pods::without_address(inputs);
        pods.map(|pod| (&pod.meta.namespace, &pod.meta.name, &pod.meta.labels))
            .collect()
    };
    names(old) == names(new)
}

/// `Kind/namespace/name in file:line`, without a place where there is no file.
fn shown(object: &ObjectKey, place: &Place) -> String {
    if place.file.is_empty() {
        return object.to_string();
    }
    format!("{object} in {}:{}", place.file, place.at.line)
}

/// Every namespace that anything is in: those whose proxies could see two objects at once.
fn namespaces(snapshot: &MeshSnapshot) -> BTreeSet<Arc<str>> {
    let services = snapshot
        .services
        .iter()
        .map(|service| Arc::clone(&service.key.namespace));
    let workloads = snapshot.workloads.local.keys().map(|key| Arc::clone(&key.namespace));
    let rules = snapshot
        .virtual_services
        .iter()
        .map(|rule| Arc::clone(&rule.object.meta.namespace));
    services.chain(workloads).chain(rules).collect()
}

/// `did you mean X?` for a host that does not exist.
fn host_hint(snapshot: &MeshSnapshot, hostname: &str, namespace: &str) -> String {
    let full = format!("{hostname}.svc.{}", snapshot.settings.domain);
    if snapshot.services.lookup(&full, namespace).is_some() {
        return format!("write the full name {full}");
    }
    let known: Vec<&str> = snapshot
        .services
        .visible_from(namespace)
        .map(|service| &*service.key.hostname)
        .collect();
    // Compare first parts as well: the long common ending would make everything look near.
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let near = known
        .iter()
        .find(|name| weft_api::suggest::nearest(&first(hostname), [first(name).as_str()]).is_some());
    match near {
        Some(near) => format!("did you mean {near}?"),
        None => "define a Service or ServiceEntry for it".to_owned(),
    }
}
