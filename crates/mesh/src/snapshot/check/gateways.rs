//! Gateways: selectors without a workload, ports that nothing binds, missing credentials, servers defined twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::gateway::{Gateway, Server, ServerTls, ServerTlsMode};
use weft_api::local_workload::Role;
use weft_api::meta::{Kind, Object, ObjectKey, selects};

use super::{Subject, is_starting, shown};
use crate::snapshot::{Answer, MeshSnapshot, Workload};

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    for gateway in snapshot.gateways.iter() {
        let workloads: Vec<&Workload> = snapshot
            .workloads
            .local
            .values()
            .filter(|workload| selects(&gateway.spec.selector, &workload.labels))
            .map(|workload| &**workload)
            .collect();
        if workloads.is_empty() && !is_starting(snapshot, None, &[&gateway.spec.selector]) {
            let labels: Vec<String> = gateway
                .spec
                .selector
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let subject = Subject::new(
                Kind::Gateway,
                gateway,
                "spec.selector",
                gateway.place_of_field("selector"),
            );
            found.push(subject.finding(
                Severity::Warning,
                code::REFERENCE_NOT_FOUND,
                format!("no workload has the labels {}", labels.join(",")),
                "start a gateway with these labels",
            ));
        }
        for (i, server) in gateway
            .spec
            .servers
            .iter()
            .enumerate()
            .filter(|(_, server)| !server.closed)
        {
            ports(gateway, i, server, &workloads, found);
            if let Some(tls) = &server.tls {
                credentials(snapshot, gateway, i, tls, &workloads, found);
            }
        }
    }
    servers_claimed_once(snapshot, found);
}

/// A gateway of this machine binds only the ports that it was given.
fn ports(
    gateway: &Arc<Object<Gateway>>,
    i: usize,
    server: &Server,
    workloads: &[&Workload],
    found: &mut Vec<Diagnostic>,
) {
    for workload in workloads.iter().filter(|workload| workload.role == Role::Gateway) {
        if workload.gateway_port(server.port).is_some() {
            continue;
        }
        let bound: Vec<String> = workload
            .gateway_ports
            .iter()
            .map(|bound| bound.port.to_string())
            .collect();
        let field = format!("spec.servers[{i}].port.number");
        let subject = Subject::new(Kind::Gateway, gateway, field, gateway.place_of(server.at));
        found.push(subject.finding(
            Severity::Warning,
            code::GATEWAY_PORT,
            format!(
                "the gateway {}/{} binds no local port for port {}",
                workload.key.namespace, workload.workload_name, server.port
            ),
            format!("its ports are: {}", bound.join(", ")),
        ));
    }
}

/// Where a gateway's Secret is looked for, and by whose leave.
const IN_A_CLUSTER: &str = "the Secret belongs into the namespace of the gateway's pods";
const READABLE: &str = "meshctl install --set gatewayNamespaces=NAMESPACE lets pilot read it";
const HERE: &str = "the secret belongs into the namespace of the gateway workload";

fn credentials(
    snapshot: &MeshSnapshot,
    gateway: &Arc<Object<Gateway>>,
    i: usize,
    tls: &ServerTls,
    workloads: &[&Workload],
    found: &mut Vec<Diagnostic>,
) {
    let Some(name) = &tls.credential_name else {
        return;
    };
    // Only gateways read it: a selector may fit other workloads, too, such as one that names no label.
    let gateways = workloads.iter().filter(|workload| workload.role == Role::Gateway);
    let namespaces: BTreeSet<(&Arc<str>, bool)> = gateways
        .map(|workload| (&workload.key.namespace, workload.is_pod()))
        .collect();
    for (namespace, in_a_cluster) in namespaces {
        let Some((message, hint)) = credential(snapshot, (namespace, name), tls.mode, in_a_cluster) else {
            continue;
        };
        let field = format!("spec.servers[{i}].tls.credentialName");
        let subject = Subject::new(Kind::Gateway, gateway, field, gateway.place_of(tls.at));
        found.push(subject.finding(Severity::Error, code::GATEWAY_CREDENTIAL, message, hint));
    }
}

/// What is wrong with a credential of a gateway, and what to do; nothing where that is not known yet: a server is asked for a Secret
/// only once a gateway names it.
fn credential(
    snapshot: &MeshSnapshot,
    (namespace, name): (&Arc<str>, &str),
    mode: ServerTlsMode,
    in_a_cluster: bool,
) -> Option<(String, &'static str)> {
    let hint = if in_a_cluster { IN_A_CLUSTER } else { HERE };
    let get = |name: &str| snapshot.secrets.get(namespace, name).map(|object| &object.spec);
    let absent = |name: &str| {
        let asked = snapshot.inputs.credentials.get(&(Arc::clone(namespace), name.into()));
        match asked {
            None if in_a_cluster => None,
            Some(Answer::Refused) => Some((format!("pilot may not read the Secret {namespace}/{name}"), READABLE)),
            Some(Answer::Unusable) => Some((incomplete(namespace, name), hint)),
            Some(Answer::Read) => Some((format!("no Secret {namespace}/{name} exists"), hint)),
            None => Some((format!("there is no Secret {namespace}/{name} that can be used"), hint)),
        }
    };
    let Some(secret) = get(name) else {
        return absent(name);
    };
    if secret.certificate().is_none() || secret.private_key().is_none() {
        return Some((incomplete(namespace, name), hint));
    }
    if mode != ServerTlsMode::Mutual || secret.ca_certificate().is_some() {
        return None;
    }
    let beside = format!("{name}-cacert");
    match get(&beside) {
        Some(roots) if roots.ca_certificate().is_some() => None,
        Some(_) => Some((without_roots(namespace, name), hint)),
        None => match absent(&beside)? {
            refused @ (_, READABLE) => Some(refused),
            _ => Some((without_roots(namespace, name), hint)),
        },
    }
}

fn incomplete(namespace: &str, name: &str) -> String {
    format!("the Secret {namespace}/{name} has no certificate (tls.crt) or no key (tls.key)")
}

fn without_roots(namespace: &str, name: &str) -> String {
    format!("MUTUAL needs ca.crt in the Secret {namespace}/{name} or in {name}-cacert")
}

/// A gateway and the index of one of its servers.
type ServerAt<'a> = (&'a Arc<Object<Gateway>>, usize);

/// The same port, address and host in two servers that one workload serves.
fn servers_claimed_once(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let mut claims: BTreeMap<(u16, Option<&str>, &str), Vec<ServerAt<'_>>> = BTreeMap::new();
    for gateway in snapshot.gateways.iter() {
        for (i, server) in gateway
            .spec
            .servers
            .iter()
            .enumerate()
            .filter(|(_, server)| !server.closed)
        {
            for host in &server.hosts {
                let claim = (server.port, server.bind.as_deref(), host.host.as_str());
                claims.entry(claim).or_default().push((gateway, i));
            }
        }
    }
    for ((port, _, host), servers) in claims {
        for (index, (loser, i)) in servers.iter().enumerate() {
            let Some(server) = loser.spec.servers.get(*i) else {
                continue;
            };
            let winner = servers[..index].iter().find(|(winner, j)| {
                let distinct = !Arc::ptr_eq(winner, loser) || i != j;
                let same_scope = winner.spec.servers.get(*j).is_some_and(|other| {
                    let scope = |server: &Server| {
                        let host = server.hosts.iter().find(|one| one.host == host);
                        host.map(|one| one.namespace.clone())
                    };
                    scope(other) == scope(server)
                });
                distinct && same_scope && shares_workload(snapshot, winner, loser)
            });
            let Some((winner, _)) = winner else {
                continue;
            };
            let key = ObjectKey {
                kind: Kind::Gateway,
                namespace: Arc::clone(&winner.meta.namespace),
                name: Arc::clone(&winner.meta.name),
            };
            let field = format!("spec.servers[{i}]");
            let subject = Subject::new(Kind::Gateway, loser, field, loser.place_of(server.at));
            found.push(subject.finding(
                Severity::Warning,
                code::CONFLICTING_GATEWAYS,
                format!(
                    "port {port} and host {host} are served by {} already",
                    shown(&key, &winner.place)
                ),
                "remove the host from one of them",
            ));
        }
    }
}

fn shares_workload(snapshot: &MeshSnapshot, a: &Object<Gateway>, b: &Object<Gateway>) -> bool {
    snapshot
        .workloads
        .local
        .values()
        .any(|workload| selects(&a.spec.selector, &workload.labels) && selects(&b.spec.selector, &workload.labels))
}
