//! Gateways: selectors without a workload, ports that nothing binds, missing credentials, servers defined twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::gateway::{Gateway, Server, ServerTls, ServerTlsMode};
use weft_api::local_workload::Role;
use weft_api::meta::{Kind, Object, ObjectKey, selects};

use super::{Subject, shown};
use crate::snapshot::{MeshSnapshot, Workload};

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    for gateway in snapshot.gateways.iter() {
        let workloads: Vec<&Workload> = snapshot
            .workloads
            .local
            .values()
            .filter(|workload| selects(&gateway.spec.selector, &workload.labels))
            .map(|workload| &**workload)
            .collect();
        if workloads.is_empty() {
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
        for (i, server) in gateway.spec.servers.iter().enumerate() {
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
const IN_A_CLUSTER: &str = "the Secret belongs into the namespace of the gateway's pods; where that is not pilot's, \
    meshctl install --set gatewayNamespaces=NAMESPACE lets pilot read it";

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
    let mut namespaces: Vec<&str> = workloads.iter().map(|workload| &*workload.key.namespace).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    for namespace in namespaces {
        let secret = snapshot.secrets.get(namespace, name).map(|object| &object.spec);
        let ca = snapshot
            .secrets
            .get(namespace, &format!("{name}-cacert"))
            .map(|object| &object.spec);
        let message = match secret {
            None => format!("no Secret {namespace}/{name} exists"),
            Some(secret) if secret.certificate().is_none() || secret.private_key().is_none() => {
                format!("the Secret {namespace}/{name} has no certificate (tls.crt) or no key (tls.key)")
            }
            Some(secret)
                if tls.mode == ServerTlsMode::Mutual
                    && secret.ca_certificate().is_none()
                    && ca.is_none_or(|ca| ca.ca_certificate().is_none()) =>
            {
                format!("MUTUAL needs ca.crt in the Secret {namespace}/{name} or in {name}-cacert")
            }
            Some(_) => continue,
        };
        let field = format!("spec.servers[{i}].tls.credentialName");
        let subject = Subject::new(Kind::Gateway, gateway, field, gateway.place_of(tls.at));
        found.push(subject.finding(
            Severity::Error,
            code::GATEWAY_CREDENTIAL,
            message,
            if workloads.iter().any(|workload| workload.is_pod()) {
                IN_A_CLUSTER
            } else {
                "the secret belongs into the namespace of the gateway workload"
            },
        ));
    }
}

/// A gateway and the index of one of its servers.
type ServerAt<'a> = (&'a Arc<Object<Gateway>>, usize);

/// The same port, address and host in two servers that one workload serves.
fn servers_claimed_once(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let mut claims: BTreeMap<(u16, Option<&str>, &str), Vec<ServerAt<'_>>> = BTreeMap::new();
    for gateway in snapshot.gateways.iter() {
        for (i, server) in gateway.spec.servers.iter().enumerate() {
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
