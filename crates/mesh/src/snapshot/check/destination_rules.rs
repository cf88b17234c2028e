//! DestinationRules: hosts that exist, subsets that select something, parts defined twice.

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::host;
use weft_api::meta::{Kind, Labels, ObjectKey, Place, selects};

use super::{Subject, host_hint, is_starting, shown};
use crate::snapshot::{Location, MeshDestinationRule, MeshService, MeshSnapshot, Origin};

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    for rule in snapshot.destination_rules.iter() {
        let services = services_of(snapshot, &rule.host);
        if services.is_empty() {
            unknown_host(snapshot, rule, found);
        } else if !rule.host.starts_with('*') {
            subsets(snapshot, rule, &services, found);
        }
    }
    for dropped in &snapshot.destination_rules.dropped {
        let subject = Subject {
            object: dropped.loser.object.clone(),
            place: dropped.loser.place.clone(),
            field: dropped.field.clone(),
        };
        found.push(subject.finding(
            Severity::Warning,
            code::CONFLICTING_DESTINATION_RULES,
            format!(
                "the {} of this host is defined in {} already, which is used",
                dropped.what,
                shown(&dropped.winner.object, &dropped.winner.place)
            ),
            "define it once",
        ));
    }
}

/// The services that a rule's host covers or that cover it.
fn services_of<'a>(snapshot: &'a MeshSnapshot, hostname: &str) -> Vec<&'a MeshService> {
    let exact: Vec<&MeshService> = snapshot.services.of_host(hostname).map(|service| &**service).collect();
    if !exact.is_empty() {
        return exact;
    }
    snapshot
        .services
        .iter()
        .filter(|service| host::overlap(hostname, &service.key.hostname))
        .map(|service| &**service)
        .collect()
}

fn unknown_host(snapshot: &MeshSnapshot, rule: &MeshDestinationRule, found: &mut Vec<Diagnostic>) {
    for origin in &rule.origins {
        let subject = Subject {
            object: origin.object.clone(),
            place: host_place(snapshot, origin),
            field: "spec.host".to_owned(),
        };
        found.push(subject.finding(
            Severity::Warning,
            code::UNKNOWN_DESTINATION_RULE_HOST,
            format!("no service has the host {}", rule.host),
            host_hint(snapshot, &rule.host, &rule.namespace),
        ));
    }
}

/// Where the object names its host.
fn host_place(snapshot: &MeshSnapshot, origin: &Origin) -> Place {
    let name = (origin.object.namespace.clone(), origin.object.name.clone());
    let object = snapshot.inputs.destination_rules.get(&name);
    object.map_or_else(|| origin.place.clone(), |object| object.place_of_field("host"))
}

/// Subsets without an endpoint. Hosts without any endpoint, and external ones, have their own findings or none.
fn subsets(
    snapshot: &MeshSnapshot,
    rule: &MeshDestinationRule,
    services: &[&MeshService],
    found: &mut Vec<Diagnostic>,
) {
    let endpoints: Vec<_> = services
        .iter()
        .filter(|service| service.location == Location::Internal)
        .filter_map(|service| snapshot.backends.of(&service.key))
        .flat_map(|ports| ports.ports.values().flatten())
        .collect();
    if endpoints.is_empty() {
        return;
    }
    for subset in &rule.rule.subsets {
        if endpoints
            .iter()
            .any(|endpoint| selects(&subset.labels, &endpoint.labels))
            || is_on_its_way(snapshot, services, &subset.labels)
        {
            continue;
        }
        let labels: Vec<String> = subset
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let Some((object, place, index)) = written_in(snapshot, rule, &subset.name) else {
            continue;
        };
        let subject = Subject {
            object,
            place,
            field: format!("spec.subsets[{index}].labels"),
        };
        found.push(subject.finding(
            Severity::Warning,
            code::SUBSET_SELECTS_NOTHING,
            format!(
                "no workload of {} has the labels {} of the subset {}",
                rule.host,
                labels.join(","),
                subset.name
            ),
            "requests to the subset get 503; label a workload, or remove the subset",
        ));
    }
}

/// Whether a pod of the services that has the labels of a subset is starting.
fn is_on_its_way(snapshot: &MeshSnapshot, services: &[&MeshService], labels: &Labels) -> bool {
    let mut selected = services
        .iter()
        .filter_map(|service| Some((service, service.selector.as_ref()?)));
    selected.any(|(service, selector)| is_starting(snapshot, Some(&service.key.namespace), &[selector, labels]))
}

/// The object of a merged rule that a subset was taken from, with its place and index there.
fn written_in(snapshot: &MeshSnapshot, rule: &MeshDestinationRule, subset: &str) -> Option<(ObjectKey, Place, usize)> {
    rule.origins.iter().find_map(|origin| {
        let name = (origin.object.namespace.clone(), origin.object.name.clone());
        let object = snapshot.inputs.destination_rules.get(&name)?;
        let index = object.spec.subsets.iter().position(|one| one.name == subset)?;
        let key = ObjectKey {
            kind: Kind::DestinationRule,
            namespace: name.0,
            name: name.1,
        };
        Some((key, object.place_of(object.spec.subsets.get(index)?.at), index))
    })
}
