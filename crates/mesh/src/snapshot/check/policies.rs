//! Sidecars and PeerAuthentications: several for one scope, selectors without a workload.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::meta::{Kind, Labels, Object, ObjectKey, selects};
use weft_api::sidecar::Sidecar;

use super::{Subject, shown};
use crate::snapshot::MeshSnapshot;

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    for namespace in snapshot.sidecars.namespaces() {
        sidecars(snapshot, namespace, found);
    }
    let namespaces: BTreeSet<&Arc<str>> = snapshot
        .peer_authentications
        .iter()
        .map(|object| &object.meta.namespace)
        .collect();
    for namespace in namespaces {
        peer_authentications(snapshot, namespace, found);
    }
}

fn key<T>(kind: Kind, object: &Object<T>) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: Arc::clone(&object.meta.namespace),
        name: Arc::clone(&object.meta.name),
    }
}

fn sidecars(snapshot: &MeshSnapshot, namespace: &str, found: &mut Vec<Diagnostic>) {
    let objects: Vec<&Arc<Object<Sidecar>>> = snapshot.sidecars.of(namespace).collect();
    let mut defaults = objects.iter().filter(|object| object.spec.workload_selector.is_none());
    if let Some(winner) = defaults.next() {
        for loser in defaults {
            let subject = Subject::new(
                Kind::Sidecar,
                loser,
                "spec.workloadSelector",
                loser.place_of_field("workloadSelector"),
            );
            found.push(subject.finding(
                Severity::Error,
                code::MULTIPLE_DEFAULT_SIDECARS,
                format!(
                    "the namespace {namespace} has {} already, which is used",
                    shown(&key(Kind::Sidecar, winner), &winner.place)
                ),
                "keep one Sidecar without workloadSelector in a namespace",
            ));
        }
    }
    for (i, object) in objects.iter().enumerate() {
        let Some(selector) = &object.spec.workload_selector else {
            continue;
        };
        no_workload(
            snapshot,
            Kind::Sidecar,
            object,
            "spec.workloadSelector",
            selector,
            found,
        );
        let selected = snapshot
            .workloads
            .local
            .values()
            .filter(|workload| *workload.key.namespace == *namespace && selects(selector, &workload.labels));
        for workload in selected {
            let winner = objects[..i].iter().find(|earlier| {
                let other = earlier.spec.workload_selector.as_ref();
                other.is_some_and(|other| selects(other, &workload.labels))
            });
            if let Some(winner) = winner {
                let subject = Subject::new(
                    Kind::Sidecar,
                    object,
                    "spec.workloadSelector",
                    object.place_of_field("workloadSelector"),
                );
                found.push(subject.finding(
                    Severity::Error,
                    code::CONFLICTING_SIDECAR_SELECTORS,
                    format!(
                        "the workload {} is selected by {} already, which is used",
                        workload.key.name,
                        shown(&key(Kind::Sidecar, winner), &winner.place)
                    ),
                    "select each workload once",
                ));
                break;
            }
        }
    }
}

fn peer_authentications(snapshot: &MeshSnapshot, namespace: &str, found: &mut Vec<Diagnostic>) {
    let mut wide = None;
    for object in snapshot.peer_authentications.of(namespace) {
        match (&object.spec.selector, wide) {
            (Some(selector), _) => {
                let kind = Kind::PeerAuthentication;
                no_workload(snapshot, kind, object, "spec.selector", selector, found);
            }
            (None, None) => wide = Some(object),
            (None, Some(winner)) => {
                let subject = Subject::new(
                    Kind::PeerAuthentication,
                    object,
                    "spec.selector",
                    object.place_of_field("selector"),
                );
                found.push(subject.finding(
                    Severity::Warning,
                    code::INEFFECTIVE_POLICY,
                    format!(
                        "the namespace {namespace} has {} already, which is used",
                        shown(&key(Kind::PeerAuthentication, winner), &winner.place)
                    ),
                    "keep one PeerAuthentication without selector in a namespace",
                ));
            }
        }
    }
}

pub(super) fn no_workload<T>(
    snapshot: &MeshSnapshot,
    kind: Kind,
    object: &Object<T>,
    field: &str,
    selector: &Labels,
    found: &mut Vec<Diagnostic>,
) {
    if snapshot.workloads.any_selected(Some(&object.meta.namespace), selector) {
        return;
    }
    let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    found.push(
        Subject::new(
            kind,
            object,
            field,
            object.place_of_field(field.trim_start_matches("spec.")),
        )
        .finding(
            Severity::Warning,
            code::NO_WORKLOAD,
            format!(
                "no workload in namespace {} has the labels {}",
                object.meta.namespace,
                labels.join(",")
            ),
            "correct the labels, or remove the object",
        ),
    );
}
