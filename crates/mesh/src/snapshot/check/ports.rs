//! Ports of services without an address of their own: a captured connection to them is known by its port alone, so that two
//! services on one port may not be told apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::protocol::Protocol;

use super::{Subject, shown};
use crate::snapshot::{Capture, MeshService, MeshSnapshot, ServicePort};

/// The services of one port that have no address there.
#[derive(Default)]
struct Claims<'a> {
    http: Option<&'a Arc<MeshService>>,
    bytes: Vec<(&'a Arc<MeshService>, &'a ServicePort)>,
}

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let mut workloads = snapshot.workloads.local.values();
    if !workloads.any(|workload| workload.capture == Capture::Redirect) {
        return;
    }
    let mut ports: BTreeMap<u16, Claims<'_>> = BTreeMap::new();
    for service in snapshot.services.iter() {
        for port in &service.ports {
            let claims = ports.entry(port.port).or_default();
            // TLS is known by its server name, and UDP is not proxied.
            let named = matches!(port.protocol, Protocol::Tls | Protocol::Https | Protocol::Udp);
            if port.protocol.is_http() {
                // Known by its host, wherever it is.
                claims.http.get_or_insert(service);
            } else if !named && !service.headless && service.addresses.is_empty() {
                claims.bytes.push((service, port));
            }
        }
    }
    for (number, claims) in ports {
        let first = claims.bytes.first().map(|(service, _)| *service);
        for (position, (service, port)) in claims.bytes.iter().enumerate() {
            let message = match (first, claims.http) {
                (Some(winner), _) if position > 0 => format!(
                    "{} has no address, and captured connections to port {number} cannot be told from those to {}, which gets them",
                    service.key.hostname,
                    shown(&winner.origin.object, &winner.origin.place)
                ),
                (_, Some(http)) => format!(
                    "{} has no address, and {} speaks HTTP on port {number}: captured connections that start with HTTP go by their host",
                    service.key.hostname,
                    shown(&http.origin.object, &http.origin.place)
                ),
                _ => continue,
            };
            let subject = Subject {
                object: service.origin.object.clone(),
                place: port.place.clone(),
                field: "spec.ports".to_owned(),
            };
            let hint = "give it addresses, or let pods ask the mesh for names, where it gets one";
            found.push(subject.finding(Severity::Warning, code::CONFLICTING_PORTS, message, hint));
        }
    }
}
