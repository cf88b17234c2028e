//! What each workload with a sidecar serves: one entry per application port.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::local_workload::Role;
use weft_api::peer_authentication::MtlsMode;
use weft_api::protocol::Protocol;

use super::peer_authentication::PeerAuthentications;
use super::service::{MeshService, ServiceKey};
use super::services::Services;
use super::share;
use super::workloads::{Workload, WorkloadKey, WorkloadPort, Workloads};

/// One application port and the service ports in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundPort {
    /// Name of the workload's port.
    pub name: String,
    /// Where the application listens: at 127.0.0.1, or at the pod's address if traffic is redirected.
    pub app_port: u16,
    /// Where the sidecar listens; the same as `app_port` if traffic is redirected.
    pub mesh_port: u16,
    /// Number in the name of the inbound cluster, unique in the workload: the application's port in a pod, as Istio has it. A local
    /// workload's ports are chosen anew at each start, so the service's port stands for it as long as no other has the same.
    pub number: u16,
    /// What it speaks: by the first service port that maps here, else by the port's own name.
    pub protocol: Protocol,
    /// Service ports that map here, in the order of the services' names.
    pub services: Vec<(ServiceKey, u16)>,
    /// What callers must present.
    pub mtls: MtlsMode,
}

/// Inbound ports by workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    by_workload: BTreeMap<WorkloadKey, Arc<Vec<InboundPort>>>,
}

// === impl Inbound ===

impl Inbound {
    pub(super) fn build(
        services: &Services,
        workloads: &Workloads,
        policies: &PeerAuthentications,
        previous: Option<&Self>,
    ) -> Self {
        let mut ports: BTreeMap<&WorkloadKey, Vec<InboundPort>> = workloads
            .local
            .values()
            .filter(|workload| workload.role == Role::Sidecar && workload.proxied)
            .map(|workload| (&workload.key, own_ports(workload, policies)))
            .collect();
        for service in services.iter() {
            let Some(selector) = &service.selector else {
                continue;
            };
            for workload in workloads.selected(&service.key.namespace, selector) {
                if let Some(ports) = ports.get_mut(&workload.key) {
                    add_service(ports, workload, service, policies);
                }
            }
        }
        for ports in ports.values_mut() {
            number(ports);
        }
        let mut built = Self {
            by_workload: ports
                .into_iter()
                .map(|(key, ports)| (key.clone(), Arc::new(ports)))
                .collect(),
        };
        if let Some(previous) = previous {
            share::entries(&mut built.by_workload, &previous.by_workload);
        }
        built
    }

    /// The ports of a workload.
    pub fn of(&self, workload: &WorkloadKey) -> &[InboundPort] {
        self.by_workload.get(workload).map_or(&[], |ports| ports.as_slice())
    }
}

/// The ports of a workload before any service is known: those of a local workload, which have listeners of their own. What a
/// pod serves beyond its services passes through.
fn own_ports(workload: &Workload, policies: &PeerAuthentications) -> Vec<InboundPort> {
    if workload.is_pod() {
        return Vec::new();
    }
    let ports = workload.ports.iter();
    ports.map(|port| inbound_port(workload, port, policies)).collect()
}

fn inbound_port(workload: &Workload, port: &WorkloadPort, policies: &PeerAuthentications) -> InboundPort {
    InboundPort {
        name: port.name.clone(),
        app_port: port.app_port,
        mesh_port: port.mesh_port,
        number: port.app_port,
        protocol: Protocol::from_port_name(&port.name).unwrap_or(Protocol::Auto),
        services: Vec::new(),
        mtls: policies.effective(&workload.key.namespace, &workload.labels, port.app_port),
    }
}

/// Chooses the numbers of ports that are not redirected.
fn number(ports: &mut [InboundPort]) {
    for at in 0..ports.len() {
        let (before, rest) = ports.split_at_mut(at);
        let Some(port) = rest.first_mut().filter(|port| port.mesh_port != port.app_port) else {
            continue;
        };
        let service = port.services.first().map(|(_, number)| *number);
        let free = service.filter(|number| before.iter().all(|other| other.number != *number));
        port.number = free.unwrap_or(port.app_port);
    }
}

/// Joins the ports of a service to the workload ports that serve them.
fn add_service(
    ports: &mut Vec<InboundPort>,
    workload: &Workload,
    service: &MeshService,
    policies: &PeerAuthentications,
) {
    for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
        let Some(local) = workload.serving_port(port) else {
            continue;
        };
        let known = ports.iter().position(|inbound| inbound.mesh_port == local.mesh_port);
        let at = known.unwrap_or_else(|| {
            ports.push(inbound_port(workload, &local, policies));
            ports.len() - 1
        });
        let inbound = &mut ports[at];
        if inbound.services.is_empty() {
            inbound.protocol = port.protocol;
        }
        inbound.services.push((service.key.clone(), port.port));
    }
}
