//! Listeners of Sidecars: two that bind one address, some that bind nothing, and what stands behind those for bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::local_workload::Role;
use weft_api::meta::{Kind, Object};
use weft_api::protocol::Protocol;
use weft_api::sidecar::{CaptureMode, EgressListener, Sidecar};

use super::Subject;
use crate::snapshot::{Capture, GatewayRef, MeshSnapshot, Workload};

/// Where a listener is bound that says nothing.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A listener as one workload binds it.
#[derive(Clone, Copy)]
struct Bound<'a> {
    workload: &'a Workload,
    sidecar: &'a Arc<Object<Sidecar>>,
    index: usize,
    listener: &'a EgressListener,
}

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let mut by_address: BTreeMap<(IpAddr, u16), Vec<Bound<'_>>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for workload in snapshot
        .workloads
        .local
        .values()
        .filter(|w| w.role == Role::Sidecar && w.proxied)
    {
        let namespace = &workload.key.namespace;
        let Some(sidecar) = snapshot.sidecars.for_workload(namespace, &workload.labels) else {
            continue;
        };
        for (index, listener) in sidecar.spec.egress.iter().enumerate() {
            let bound = Bound {
                workload,
                sidecar,
                index,
                listener,
            };
            let Some(port) = &listener.port else {
                continue;
            };
            // What a listener imports depends on the namespace alone, so one workload of each is looked at.
            let first = seen.insert((&sidecar.meta.namespace, &sidecar.meta.name, index, namespace));
            if !workload.binds(listener) {
                if first && listener.capture == CaptureMode::Iptables && workload.capture == Capture::None {
                    found.push(bound.finding(
                        "captureMode",
                        Severity::Warning,
                        code::SCHEMA_WARNING,
                        "traffic of workloads on this machine is not captured, so nothing listens".to_owned(),
                        "use captureMode: NONE and connect to the port",
                    ));
                }
                continue;
            }
            if first && !port.protocol.is_http() && !port.protocol.is_tls() && port.protocol != Protocol::Auto {
                behind_bytes(snapshot, bound, port.number, found);
            }
            // Processes of this machine share its ports; those of pods do not.
            if workload.outbound_port.is_some() {
                let address = listener.bind.unwrap_or(LOOPBACK);
                by_address.entry((address, port.number)).or_default().push(bound);
            }
        }
    }
    for ((address, port), all) in by_address {
        if let [first, second, ..] = all.as_slice() {
            found.push(second.finding(
                "port.number",
                Severity::Error,
                code::LISTENER_ADDRESS_TAKEN,
                format!(
                    "the workloads {} and {} of this machine would both bind {address}:{port}; only one of them can",
                    first.workload.key.name, second.workload.key.name
                ),
                "select one workload, or give each an address of its own with bind (for example 127.0.0.2)",
            ));
        }
    }
}

/// A connection says nothing of whom it is for, so one service must be behind the listener, or a rule decide.
fn behind_bytes(snapshot: &MeshSnapshot, bound: Bound<'_>, port: u16, found: &mut Vec<Diagnostic>) {
    let own = &*bound.workload.key.namespace;
    let ruled = snapshot
        .virtual_services
        .of_gateway(&GatewayRef::Mesh, own)
        .any(|(host, rules)| {
            bound.listener.imports_rules(own, &rules.object.meta.namespace, host) && !rules.object.spec.tcp.is_empty()
        });
    if ruled {
        return;
    }
    let fits = |protocol: Protocol| protocol.is_tcp() || protocol == Protocol::Auto;
    let services = snapshot.services.visible_from(own).filter(|service| {
        let key = &service.key;
        let only = match service.ports.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        let target = service.port(port).or(only);
        bound.listener.imports(own, &key.namespace, &key.hostname) && target.is_some_and(|port| fits(port.protocol))
    });
    let names: Vec<&str> = services.map(|service| &*service.key.hostname).collect();
    match names.as_slice() {
        [_] => {}
        [] => found.push(bound.finding(
            "hosts",
            Severity::Error,
            code::REFERENCE_NOT_FOUND,
            format!("no service with a TCP port {port}, or with one TCP port, is behind it; nothing listens"),
            "name such a service, or write a VirtualService with a tcp rule for the port",
        )),
        [first, ..] => found.push(bound.finding(
            "hosts",
            Severity::Warning,
            code::SCHEMA_WARNING,
            format!(
                "several services are behind it ({}); all connections go to {first}",
                names.join(", ")
            ),
            "name one service, or write a VirtualService with a tcp rule for the port",
        )),
    }
}

// === impl Bound ===

impl Bound<'_> {
    fn finding(&self, field: &str, severity: Severity, code: &str, message: String, hint: &str) -> Diagnostic {
        let field = format!("spec.egress[{}].{field}", self.index);
        let place = self.sidecar.place_of(self.listener.at);
        Subject::new(Kind::Sidecar, self.sidecar, field, place).finding(severity, code, message, hint)
    }
}
