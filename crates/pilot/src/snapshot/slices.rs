//! Endpoints as Kubernetes lists them: EndpointSlices by service, joined with the pods behind their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weft_api::endpoint_slice::{EndpointSlice, SliceEndpoint};
use weft_api::local_workload::Role;
use weft_api::meta::{Labels, Object};
use weft_api::peer_authentication::MtlsMode;
use weft_api::pod::Pod;

use super::endpoint::{EndpointAddress, Health, MeshEndpoint};
use super::endpoints::PortEndpoints;
use super::inputs::Inputs;
use super::peer_authentication::PeerAuthentications;
use super::pods::of_node;
use super::service::{MeshService, ServiceKind};
use super::workloads::{Workload, Workloads};

/// The slices of all services.
#[derive(Debug)]
pub(super) struct Slices<'a> {
    /// By namespace and name of the service.
    by_service: BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Object<EndpointSlice>>>>,
}

/// What the slices are joined with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) workloads: &'a Workloads,
    pub(super) policies: &'a PeerAuthentications,
}

// === impl Slices ===

impl<'a> Slices<'a> {
    pub(super) fn new(inputs: &'a Inputs) -> Self {
        let mut by_service: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
        for ((namespace, _), slice) in inputs.endpoint_slices.iter() {
            let of_namespace = by_service.entry(&**namespace).or_default();
            of_namespace
                .entry(slice.spec.service.as_str())
                .or_default()
                .push(&**slice);
        }
        Self { by_service }
    }

    fn of(&self, service: &MeshService) -> &[&'a Object<EndpointSlice>] {
        if service.kind != ServiceKind::Kubernetes {
            return &[];
        }
        let of_namespace = self.by_service.get(&*service.key.namespace);
        let slices = of_namespace.and_then(|services| services.get(&*service.name));
        slices.map_or(&[], Vec::as_slice)
    }

    /// Adds the endpoints of a service, ready or not.
    pub(super) fn endpoints(&self, service: &MeshService, around: Around<'_>, found: &mut PortEndpoints) {
        let slices = self.of(service);
        let shadowed = secondary(slices, service, around.workloads);
        for slice in slices {
            let endpoints = || {
                let all = slice.spec.endpoints.iter();
                all.filter(|endpoint| !shadowed.contains(&endpoint.address))
            };
            for port in &service.ports {
                let Some(target) = slice.spec.ports.iter().find(|known| known.name == port.name) else {
                    continue;
                };
                for endpoint in endpoints() {
                    found.add(port.port, joined(service, endpoint, target.port, around));
                }
            }
        }
    }

    /// Whether the endpoints of a service take requests, by address; those that do not are left out.
    pub(super) fn health(&self, service: &MeshService, inputs: &Inputs) -> Option<BTreeMap<IpAddr, Health>> {
        let slices = self.of(service);
        if slices.is_empty() {
            return None;
        }
        let mut found: BTreeMap<IpAddr, Health> = BTreeMap::new();
        for endpoint in slices.iter().flat_map(|slice| &slice.spec.endpoints) {
            let pod = endpoint.pod.as_deref().and_then(|name| {
                let key = (Arc::clone(&service.key.namespace), name.into());
                inputs.pods.get(&key).map(|object| &object.spec)
            });
            if let Some(health) = health(endpoint, pod) {
                let known = found.entry(endpoint.address).or_insert(health);
                *known = (*known).min(health);
            }
        }
        Some(found)
    }
}

/// By the conditions of the slice; where an old server does not give them, the pod itself tells that it is ending.
fn health(endpoint: &SliceEndpoint, pod: Option<&Pod>) -> Option<Health> {
    if endpoint.ready {
        return Some(Health::Ready);
    }
    let ending = pod.is_some_and(|pod| pod.terminating && pod.ready);
    (endpoint.terminating && endpoint.serving || ending).then_some(Health::Draining)
}

/// Whether a pod that something other than slices selects takes requests.
pub(super) fn pod_health(pod: &Pod) -> Option<Health> {
    pod.ready.then_some(if pod.terminating {
        Health::Draining
    } else {
        Health::Ready
    })
}

/// Addresses that are the second one of a pod whose primary one is listed as well: a dual-stack service has a slice for each
/// family, and a pod is one endpoint.
fn secondary(slices: &[&Object<EndpointSlice>], service: &MeshService, workloads: &Workloads) -> BTreeSet<IpAddr> {
    let endpoints = || slices.iter().flat_map(|slice| &slice.spec.endpoints);
    let listed: BTreeSet<IpAddr> = endpoints().map(|endpoint| endpoint.address).collect();
    endpoints()
        .filter_map(|endpoint| {
            let workload = workload(service, endpoint, workloads)?;
            let primary = workload.address();
            (endpoint.address != primary && listed.contains(&primary)).then_some(endpoint.address)
        })
        .collect()
}

/// The pod behind an address, if it has the address.
fn workload<'a>(
    service: &MeshService,
    endpoint: &SliceEndpoint,
    workloads: &'a Workloads,
) -> Option<&'a Arc<Workload>> {
    let name = endpoint.pod.as_deref()?;
    let workload = workloads.get(&service.key.namespace, name)?;
    workload.addresses.contains(&endpoint.address).then_some(workload)
}

fn joined(service: &MeshService, endpoint: &SliceEndpoint, port: u16, around: Around<'_>) -> MeshEndpoint {
    let address = EndpointAddress::Ip(endpoint.address);
    match workload(service, endpoint, around.workloads) {
        Some(workload) => MeshEndpoint {
            address,
            ..of_pod(workload, port, around.policies)
        },
        None => MeshEndpoint {
            address,
            locality: of_node(around.inputs, &endpoint.node),
            ..MeshEndpoint::unknown(&service.key.namespace, port)
        },
    }
}

/// The endpoint that a port of a pod is.
pub(super) fn of_pod(workload: &Workload, port: u16, policies: &PeerAuthentications) -> MeshEndpoint {
    let labels: Arc<Labels> = Arc::new(workload.labels.clone());
    let mode = policies.effective(&workload.key.namespace, &workload.labels, port);
    let sidecar = workload.proxied && workload.role == Role::Sidecar;
    MeshEndpoint::of_workload(workload, port, &labels, sidecar && mode != MtlsMode::Disable)
}
