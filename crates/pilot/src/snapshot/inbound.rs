//! What each local workload serves: one entry per application port.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::local_workload::Role;
use weft_api::meta::selects;
use weft_api::peer_authentication::MtlsMode;
use weft_api::protocol::Protocol;

use super::endpoints::workload_port;
use super::peer_authentication::PeerAuthentications;
use super::service::ServiceKey;
use super::services::Services;
use super::share;
use super::workloads::{Workload, WorkloadKey, Workloads};

/// One application port and the service ports in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundPort {
    /// Name of the workload's port.
    pub name: String,
    /// Where the application listens, at 127.0.0.1.
    pub app_port: u16,
    /// Where the sidecar listens.
    pub mesh_port: u16,
    /// What it speaks: by the first service port that maps here, else by the port's own name.
    pub protocol: Protocol,
    /// Service ports that map here, in the order of the services' names; the first names the inbound cluster.
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
        let mut built = Self::default();
        for workload in workloads.local.values() {
            if workload.role == Role::Sidecar {
                let ports = inbound_ports(workload, services, policies);
                built.by_workload.insert(workload.key.clone(), Arc::new(ports));
            }
        }
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

fn inbound_ports(workload: &Workload, services: &Services, policies: &PeerAuthentications) -> Vec<InboundPort> {
    let mut ports: Vec<InboundPort> = workload
        .ports
        .iter()
        .map(|port| InboundPort {
            name: port.name.clone(),
            app_port: port.app_port,
            mesh_port: port.mesh_port,
            protocol: Protocol::from_port_name(&port.name).unwrap_or(Protocol::Auto),
            services: Vec::new(),
            mtls: policies.effective(&workload.key.namespace, &workload.labels, port.app_port),
        })
        .collect();
    for service in services.iter() {
        let selected = service.key.namespace == workload.key.namespace
            && service
                .selector
                .as_ref()
                .is_some_and(|selector| selects(selector, &workload.labels));
        if !selected {
            continue;
        }
        for port in &service.ports {
            let Some(local) = workload_port(&workload.ports, port) else {
                continue;
            };
            if let Some(inbound) = ports.iter_mut().find(|inbound| inbound.mesh_port == local.mesh_port) {
                if inbound.services.is_empty() {
                    inbound.protocol = port.protocol;
                }
                inbound.services.push((service.key.clone(), port.port));
            }
        }
    }
    ports
}
