//! VirtualServices: hosts, ports and subsets of destinations, gateways, and hosts claimed twice.

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::host;
use weft_api::matching::Destination;
use weft_api::meta::{Kind, Labels, ObjectKey};
use weft_api::virtual_service::MESH_GATEWAY;

use super::{Subject, host_hint, namespaces, shown};
use crate::snapshot::{GatewayRef, MeshService, MeshSnapshot, MeshVirtualService};

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    for rule in snapshot.virtual_services.iter() {
        for (field, destination) in rule.object.spec.destinations() {
            destination_exists(snapshot, rule, &field, destination, found);
        }
        gateways_exist(snapshot, rule, found);
    }
    hosts_claimed_once(snapshot, found);
}

fn subject(rule: &MeshVirtualService, field: impl Into<String>, at: weft_api::meta::Position) -> Subject {
    Subject::new(Kind::VirtualService, &rule.object, field, rule.object.place_of(at))
}

fn destination_exists(
    snapshot: &MeshSnapshot,
    rule: &MeshVirtualService,
    field: &str,
    destination: &Destination,
    found: &mut Vec<Diagnostic>,
) {
    let namespace = &rule.object.meta.namespace;
    let hostname = rule.resolve(&destination.host);
    let Some(service) = snapshot.services.lookup(&hostname, namespace) else {
        found.push(subject(rule, format!("{field}.host"), destination.at).finding(
            Severity::Error,
            code::REFERENCE_NOT_FOUND,
            format!("no service has the host {hostname}; requests get 503"),
            host_hint(snapshot, &hostname, namespace),
        ));
        return;
    };
    port_exists(rule, field, destination, service, found);
    let Some(subset) = &destination.subset else {
        return;
    };
    let policy =
        snapshot
            .destination_rules
            .lookup(namespace, &Labels::new(), &service.key.namespace, &service.key.hostname);
    if policy.is_some_and(|policy| policy.rule.subset(subset).is_some()) {
        return;
    }
    let names: Vec<&str> = policy
        .iter()
        .flat_map(|policy| &policy.rule.subsets)
        .map(|subset| subset.name.as_str())
        .collect();
    let hint = match weft_api::suggest::nearest(subset, names.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => "define it in a DestinationRule of the host".to_owned(),
        None => format!("the subsets of the host are {}", names.join(", ")),
    };
    found.push(subject(rule, format!("{field}.subset"), destination.at).finding(
        Severity::Error,
        code::REFERENCE_NOT_FOUND,
        format!("no DestinationRule defines the subset {subset} of {hostname}; requests get 503"),
        hint,
    ));
}

fn port_exists(
    rule: &MeshVirtualService,
    field: &str,
    destination: &Destination,
    service: &MeshService,
    found: &mut Vec<Diagnostic>,
) {
    let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
    let ports = ports.join(", ");
    match destination.port {
        Some(port) if service.port(port).is_none() => {
            found.push(subject(rule, format!("{field}.port.number"), destination.at).finding(
                Severity::Error,
                code::REFERENCE_NOT_FOUND,
                format!("{} has no port {port}; requests get 503", service.key.hostname),
                format!("its ports are {ports}"),
            ));
        }
        None if service.ports.len() > 1 && rule.gateways.iter().any(|gateway| *gateway != GatewayRef::Mesh) => {
            found.push(subject(rule, format!("{field}.port"), destination.at).finding(
                Severity::Error,
                code::DESTINATION_PORT_REQUIRED,
                format!("{} has several ports: {ports}", service.key.hostname),
                "name one of them with port.number",
            ));
        }
        _ => {}
    }
}

fn gateways_exist(snapshot: &MeshSnapshot, rule: &MeshVirtualService, found: &mut Vec<Diagnostic>) {
    let place = rule.object.place_of_field("gateways").at;
    let hosts_place = rule.object.place_of_field("hosts").at;
    for (i, gateway) in rule.gateways.iter().enumerate() {
        let GatewayRef::Named { namespace, name } = gateway else {
            continue;
        };
        let Some(object) = snapshot.gateways.get(namespace, name) else {
            let names: Vec<String> = snapshot
                .gateways
                .iter()
                .map(|object| format!("{}/{}", object.meta.namespace, object.meta.name))
                .collect();
            let near = weft_api::suggest::nearest(&gateway.to_string(), names.iter().map(String::as_str))
                .map(|near| format!("did you mean {near}?"));
            found.push(subject(rule, format!("spec.gateways[{i}]"), place).finding(
                Severity::Error,
                code::REFERENCE_NOT_FOUND,
                format!("no Gateway {gateway} exists"),
                near.unwrap_or_default(),
            ));
            continue;
        };
        for (j, hostname) in rule.hosts.iter().enumerate() {
            let served = object
                .spec
                .servers
                .iter()
                .flat_map(|server| &server.hosts)
                .any(|served| {
                    served
                        .namespace
                        .covers(&object.meta.namespace, &rule.object.meta.namespace)
                        && host::overlap(&served.host, hostname)
                });
            if !served {
                found.push(subject(rule, format!("spec.hosts[{j}]"), hosts_place).finding(
                    Severity::Warning,
                    code::HOST_NOT_IN_GATEWAY,
                    format!("no server of Gateway {gateway} serves {hostname}"),
                    "add the host to a server of the gateway",
                ));
            }
        }
    }
}

fn hosts_claimed_once(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let namespaces = namespaces(snapshot);
    // On a gateway the rules of all of them count.
    for (hostname, claimants) in snapshot.virtual_services.contested(&GatewayRef::Mesh) {
        for (i, loser) in claimants.iter().enumerate() {
            let beaten_by = claimants[..i].iter().find(|winner| {
                namespaces
                    .iter()
                    .any(|namespace| winner.visible_from(namespace) && loser.visible_from(namespace))
            });
            let Some(winner) = beaten_by else {
                continue;
            };
            let at = loser.object.place_of_field("hosts").at;
            let key = ObjectKey {
                kind: Kind::VirtualService,
                namespace: winner.object.meta.namespace.clone(),
                name: winner.object.meta.name.clone(),
            };
            found.push(subject(loser, "spec.hosts", at).finding(
                Severity::Error,
                code::CONFLICTING_HOSTS,
                format!(
                    "{hostname} on gateway {MESH_GATEWAY} belongs to {} already; these rules are not used for it",
                    shown(&key, &winner.object.place)
                ),
                "join the rules in one VirtualService",
            ));
        }
    }
}
