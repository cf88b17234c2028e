//! Endpoints of services: which workloads stand behind which service port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weft_api::local_workload::Role;
use weft_api::meta::{Labels, selects};
use weft_api::peer_authentication::MtlsMode;
use weft_api::service::TargetPort;
use weft_api::service_entry::{Resolution, ServiceEntry, WorkloadEntry};

use super::endpoint::{EndpointAddress, Health, MeshEndpoint};
use super::inputs::Inputs;
use super::peer_authentication::PeerAuthentications;
use super::service::{MeshService, Origin, ServiceKey, ServiceKind, ServicePort};
use super::services::Services;
use super::share;
use super::slices::{self, Around, ListedHealth, Slices};
use super::workloads::{WorkloadKey, Workloads};

/// Endpoints of the ports of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortEndpoints {
    /// By service port.
    pub ports: BTreeMap<u16, Vec<Arc<MeshEndpoint>>>,
}

/// All endpoints, ready or not. What follows from the set of workloads (identities, subsets) is read from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backends {
    by_service: BTreeMap<ServiceKey, Arc<PortEndpoints>>,
    /// Service ports that fit no port of a selected workload.
    pub(super) unmatched: Vec<(Origin, String, WorkloadKey)>,
}

/// The endpoints that take requests, those that drain included: what EDS serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    by_service: BTreeMap<ServiceKey, Arc<PortEndpoints>>,
}

/// The port of a workload entry that serves a service port: its own `ports` by name, else the target number, else the
/// service's number. A target that a Service names and the entry does not know is served by none (Istio:
/// `serviceInstanceFromWorkloadInstance`).
fn entry_port(entry: &WorkloadEntry, wanted: &ServicePort) -> Option<u16> {
    if let Some(port) = entry.ports.get(&wanted.name) {
        return Some(*port);
    }
    match &wanted.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => entry.ports.get(name).copied(),
        TargetPort::Same => Some(wanted.port),
    }
}

// === impl PortEndpoints ===

impl PortEndpoints {
    /// The endpoints of a port.
    pub fn port(&self, port: u16) -> &[Arc<MeshEndpoint>] {
        self.ports.get(&port).map_or(&[], Vec::as_slice)
    }

    /// The endpoints of a port that have the labels of a subset.
    pub fn subset<'a>(&'a self, port: u16, labels: &'a Labels) -> impl Iterator<Item = &'a Arc<MeshEndpoint>> {
        self.port(port)
            .iter()
            .filter(move |endpoint| selects(labels, &endpoint.labels))
    }

    /// Only the endpoints that have a health, with it.
    fn filtered(&self, health: impl Fn(&MeshEndpoint) -> Option<Health>) -> Self {
        let with_health = |endpoint: &Arc<MeshEndpoint>| {
            let health = health(endpoint)?;
            Some(if health == endpoint.health {
                Arc::clone(endpoint)
            } else {
                Arc::new(MeshEndpoint {
                    health,
                    ..MeshEndpoint::clone(endpoint)
                })
            })
        };
        let ports = self.ports.iter();
        Self {
            ports: ports
                .map(|(port, endpoints)| (*port, endpoints.iter().filter_map(with_health).collect()))
                .collect(),
        }
    }

    pub(super) fn add(&mut self, port: u16, endpoint: MeshEndpoint) {
        self.ports.entry(port).or_default().push(Arc::new(endpoint));
    }
}

// === impl Backends ===

/// What endpoints are derived from.
struct Sources<'a> {
    inputs: &'a Inputs,
    workloads: &'a Workloads,
    policies: &'a PeerAuthentications,
}

impl Backends {
    pub(super) fn build(
        inputs: &Inputs,
        services: &Services,
        workloads: &Workloads,
        policies: &PeerAuthentications,
        previous: Option<&Self>,
    ) -> Self {
        let sources = Sources {
            inputs,
            workloads,
            policies,
        };
        let slices = Slices::new(inputs);
        let mut built = Self::default();
        for service in services.iter() {
            let mut found = PortEndpoints::default();
            built.select_workloads(service, &sources, &mut found);
            sources.select_entries(service, &mut found);
            slices.endpoints(service, sources.around(), &mut found);
            sources.listed(service, &mut found);
            Sources::external_name(service, &mut found);
            let old = previous.and_then(|previous| previous.by_service.get(&service.key));
            built.by_service.insert(service.key.clone(), share::keep(found, old));
        }
        built
    }

    fn select_workloads(&mut self, service: &MeshService, sources: &Sources<'_>, found: &mut PortEndpoints) {
        let Some(selector) = &service.selector else {
            return;
        };
        let namespace = &service.key.namespace;
        for workload in sources.workloads.selected(namespace, selector) {
            if workload.is_pod() {
                // Which pods a Service has is for Kubernetes to say, in slices.
                if service.kind == ServiceKind::Entry {
                    for port in &service.ports {
                        if let Some(own) = workload.serving_port(port) {
                            found.add(port.port, slices::of_pod(workload, own.mesh_port, sources.policies));
                        }
                    }
                }
                continue;
            }
            if workload.role != Role::Sidecar {
                continue;
            }
            let labels = Arc::new(workload.labels.clone());
            for port in &service.ports {
                match workload.serving_port(port) {
                    Some(local) => {
                        let mode = sources.policies.effective(namespace, &workload.labels, local.app_port);
                        let mtls = mode != MtlsMode::Disable;
                        let endpoint = MeshEndpoint::of_workload(workload, local.mesh_port, &labels, mtls);
                        found.add(port.port, endpoint);
                    }
                    None => self.unmatched.push((
                        Origin {
                            object: service.origin.object.clone(),
                            place: port.place.clone(),
                        },
                        port.name.clone(),
                        workload.key.clone(),
                    )),
                }
            }
        }
    }

    /// The endpoints of a service.
    pub fn of(&self, key: &ServiceKey) -> Option<&Arc<PortEndpoints>> {
        self.by_service.get(key)
    }

    /// The SPIFFE ids that may answer for a port of a service, ready or not: what clients check the server's certificate
    /// against. Does not change when a workload becomes ready.
    pub fn identities(&self, key: &ServiceKey, port: u16, trust_domain: &str) -> BTreeSet<String> {
        self.of(key)
            .map(|found| found.port(port))
            .unwrap_or_default()
            .iter()
            .filter(|endpoint| endpoint.mtls)
            .filter_map(|endpoint| endpoint.spiffe_id(trust_domain))
            .collect()
    }
}

impl Sources<'_> {
    fn around(&self) -> Around<'_> {
        Around {
            inputs: self.inputs,
            workloads: self.workloads,
            policies: self.policies,
        }
    }

    /// The WorkloadEntry objects that a service selects, those of a Kubernetes Service included (Istio:
    /// `PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES`), but for names, which EDS does not resolve (Istio: `dnsServiceEntryOnly`).
    fn select_entries(&self, service: &MeshService, found: &mut PortEndpoints) {
        let Some(selector) = &service.selector else {
            return;
        };
        let namespace = &service.key.namespace;
        for (key, entry) in &self.workloads.entries {
            let entry = &entry.spec;
            let usable = service.kind == ServiceKind::Entry || entry.address.parse::<IpAddr>().is_ok();
            if !usable || key.namespace != *namespace || !selects(selector, &entry.labels) {
                continue;
            }
            for port in &service.ports {
                if let Some(number) = entry_port(entry, port) {
                    let endpoint = MeshEndpoint::of_entry(entry, &key.name, namespace, &entry.address, number);
                    found.add(port.port, endpoint);
                }
            }
        }
    }

    /// Endpoints written in a ServiceEntry; with DNS resolution and none written, the hosts themselves.
    fn listed(&self, service: &MeshService, found: &mut PortEndpoints) {
        if service.kind != ServiceKind::Entry || service.selector.is_some() {
            return;
        }
        for name in std::iter::once(&service.name).chain(&service.merged) {
            let key = (Arc::clone(&service.key.namespace), Arc::clone(name));
            if let Some(object) = self.inputs.service_entries.get(&key) {
                Self::listed_in(&object.spec, service, name, found);
            }
        }
    }

    /// Those of one of the objects of a service, for its own ports.
    fn listed_in(object: &ServiceEntry, service: &MeshService, name: &Arc<str>, found: &mut PortEndpoints) {
        let dns = matches!(service.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        let own = |port: &&ServicePort| object.ports.iter().any(|own| own.number == port.port);
        for port in service.ports.iter().filter(own) {
            for entry in &object.endpoints {
                let address = if entry.address.is_empty() {
                    &*service.key.hostname
                } else {
                    &entry.address
                };
                if let Some(number) = entry_port(entry, port) {
                    let namespace = &service.key.namespace;
                    let endpoint = MeshEndpoint::of_entry(entry, name, namespace, address, number);
                    found.add(port.port, endpoint);
                }
            }
            // Several objects may leave it to the host's name.
            let is_known = !found.port(port.port).is_empty();
            if object.endpoints.is_empty() && dns && !service.is_wildcard() && !is_known {
                found.add(port.port, MeshEndpoint::by_name(service, port, &service.key.hostname));
            }
        }
    }

    fn external_name(service: &MeshService, found: &mut PortEndpoints) {
        if let Some(target) = &service.alias_of {
            for port in &service.ports {
                found.add(port.port, MeshEndpoint::by_name(service, port, target));
            }
        }
    }
}

/// Whether an endpoint takes requests; `None` if it does not. What nobody watches is taken to.
fn health(endpoint: &MeshEndpoint, listed: &ListedHealth, inputs: &Inputs) -> Option<Health> {
    if endpoint.from_slice
        && let EndpointAddress::Ip(address) = endpoint.address
    {
        return listed.get(&(address, endpoint.port)).copied();
    }
    let Some(key) = &endpoint.workload else {
        return Some(Health::Ready);
    };
    let name = (Arc::clone(&key.namespace), Arc::clone(&key.name));
    if let Some(pod) = inputs.pods.get(&name) {
        return slices::pod_health(&pod.spec);
    }
    let local = inputs.local_workloads.get(&name);
    local.is_some_and(|object| object.spec.ready).then_some(Health::Ready)
}

// === impl Endpoints ===

impl Endpoints {
    pub(super) fn build(inputs: &Inputs, services: &Services, backends: &Backends, previous: Option<&Self>) -> Self {
        let slices = Slices::new(inputs);
        let mut built = Self::default();
        for (key, all) in &backends.by_service {
            let service = services.get(key);
            let listed = service
                .map(|service| slices.health(service, inputs))
                .unwrap_or_default();
            let health = |endpoint: &MeshEndpoint| health(endpoint, &listed, inputs);
            let everything = |endpoint: &Arc<MeshEndpoint>| health(endpoint) == Some(Health::Ready);
            let old = previous.and_then(|previous| previous.by_service.get(key));
            let found = if all.ports.values().flatten().all(everything) {
                Arc::clone(all)
            } else {
                Arc::new(all.filtered(health))
            };
            let found = match old {
                Some(old) if *old == found => Arc::clone(old),
                _ => found,
            };
            built.by_service.insert(key.clone(), found);
        }
        built
    }

    /// The ready endpoints of a service.
    pub fn of(&self, key: &ServiceKey) -> Option<&Arc<PortEndpoints>> {
        self.by_service.get(key)
    }

    /// All services with their ready endpoints.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &Arc<PortEndpoints>)> {
        self.by_service.iter()
    }
}
