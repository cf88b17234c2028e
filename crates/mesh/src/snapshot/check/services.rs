//! Services: hostnames claimed twice, selectors without a workload, ports without a counterpart.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::meta::Place;

use super::{Subject, shown};
use crate::snapshot::{MeshService, MeshSnapshot, ServiceKind, ServicePort};

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    for (loser, winner, hostname) in &snapshot.services.displaced {
        let subject = Subject {
            object: loser.object.clone(),
            place: loser.place.clone(),
            field: "spec.hosts".to_owned(),
        };
        found.push(subject.finding(
            Severity::Error,
            code::DUPLICATE_HOSTNAME,
            format!(
                "the host {hostname} belongs to {} already, which is used",
                shown(&winner.object, &winner.place)
            ),
            "remove it from one of them",
        ));
    }
    for (loser, winner, service, port) in &snapshot.services.disputed {
        let subject = Subject {
            object: loser.object.clone(),
            place: loser.place.clone(),
            field: "spec.ports".to_owned(),
        };
        found.push(subject.finding(
            Severity::Warning,
            code::CONFLICTING_PORTS,
            format!(
                "port {port} of {} has another protocol in {}, which is used",
                service.hostname,
                shown(&winner.object, &winner.place)
            ),
            "give the port one protocol in all ServiceEntries of the host",
        ));
    }
    selectors(snapshot, found);
    ports(snapshot, found);
    nameless(snapshot, found);
}

/// Endpoints that take mesh TLS and of which nobody can tell whose certificate they would have to show.
fn nameless(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let trust_domain = &snapshot.settings.trust_domain;
    for service in snapshot.services.iter() {
        let Some(endpoints) = snapshot.backends.of(&service.key) else {
            continue;
        };
        let on_port = |port: &ServicePort| {
            let named = snapshot.backends.identities(&service.key, port.port, trust_domain);
            let mut members = endpoints.port(port.port).iter();
            members.find(|member| member.mtls && named.is_empty())
        };
        let Some(endpoint) = service.ports.iter().find_map(on_port) else {
            continue;
        };
        let subject = Subject {
            object: service.origin.object.clone(),
            place: service.origin.place.clone(),
            field: String::new(),
        };
        found.push(subject.finding(
            Severity::Warning,
            code::ENDPOINT_WITHOUT_IDENTITY,
            format!(
                "the endpoint {} is labelled to take mesh TLS and has no service account, so it is called without TLS",
                endpoint.address
            ),
            "set serviceAccount of the endpoint or its WorkloadEntry, or take the label security.istio.io/tlsMode away",
        ));
    }
}

fn selectors(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    for service in snapshot.services.iter() {
        let Some(selector) = &service.selector else {
            continue;
        };
        if snapshot.workloads.any_selected(Some(&service.key.namespace), selector) {
            continue;
        }
        let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let subject = Subject {
            object: service.origin.object.clone(),
            place: selector_place(snapshot, service),
            field: match service.kind {
                ServiceKind::Kubernetes => "spec.selector".to_owned(),
                ServiceKind::Entry => "spec.workloadSelector".to_owned(),
            },
        };
        found.push(subject.finding(
            Severity::Info,
            code::NO_WORKLOAD,
            format!(
                "no workload in namespace {} has the labels {} yet",
                service.key.namespace,
                labels.join(",")
            ),
            "",
        ));
    }
}

/// Where the object names the workloads.
fn selector_place(snapshot: &MeshSnapshot, service: &MeshService) -> Place {
    let name = (Arc::clone(&service.key.namespace), Arc::clone(&service.name));
    let place = match service.kind {
        ServiceKind::Kubernetes => snapshot
            .inputs
            .services
            .get(&name)
            .map(|object| object.place_of_field("selector")),
        ServiceKind::Entry => snapshot
            .inputs
            .service_entries
            .get(&name)
            .map(|object| object.place_of_field("workloadSelector")),
    };
    place.unwrap_or_else(|| service.origin.place.clone())
}

fn ports(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let mut reported = BTreeSet::new();
    for (origin, port, workload) in &snapshot.backends.unmatched {
        if !reported.insert((&origin.object, port)) {
            continue;
        }
        let names: Vec<&str> = snapshot
            .workloads
            .local
            .get(workload)
            .iter()
            .flat_map(|workload| &workload.ports)
            .map(|port| port.name.as_str())
            .collect();
        let subject = Subject {
            object: origin.object.clone(),
            place: origin.place.clone(),
            field: "spec.ports".to_owned(),
        };
        found.push(subject.finding(
            Severity::Warning,
            code::PORT_UNMATCHED,
            format!(
                "the port {port:?} fits no port of workload {}/{}",
                workload.namespace, workload.name
            ),
            if names.is_empty() {
                "the workload has no ports".to_owned()
            } else {
                format!(
                    "name one of its ports ({}) in targetPort, or give the service port the same name",
                    names.join(", ")
                )
            },
        ));
    }
}
