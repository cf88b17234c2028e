//! Endpoints as Kubernetes lists them: EndpointSlices by service, joined with the pods behind their addresses.

use std::collections::BTreeMap;
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
use super::service::{MeshService, ServiceKind, ServicePort};
use super::workloads::{Workload, Workloads};

/// The slices of all services.
#[derive(Debug)]
pub(super) struct Slices<'a> {
    /// By namespace and name of the service.
    by_service: BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Object<EndpointSlice>>>>,
}

/// Whether endpoints take requests, by address and port; those that do not are left out.
pub(super) type ListedHealth = BTreeMap<(IpAddr, u16), Health>;

/// An endpoint of a slice, with the workload behind it.
#[derive(Clone, Copy, Debug)]
struct Member<'a> {
    endpoint: &'a SliceEndpoint,
    /// `None` for one that is no pod's.
    workload: Option<&'a Arc<Workload>>,
}

/// The members of one service port, by address and port.
type Members<'a> = BTreeMap<(IpAddr, u16), Member<'a>>;

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

    /// Adds the endpoints of a service, ready or not: one for every pod, also where it has an address of each family.
    pub(super) fn endpoints(&self, service: &MeshService, around: Around<'_>, found: &mut PortEndpoints) {
        let slices: Vec<(&EndpointSlice, Vec<Member<'_>>)> = self
            .of(service)
            .iter()
            .map(|slice| {
                let endpoints = slice.spec.endpoints.iter();
                let members = endpoints.filter_map(|endpoint| member(service, endpoint, around.workloads));
                (&slice.spec, members.collect())
            })
            .collect();
        for port in &service.ports {
            let mut members = members(&slices, port);
            let mut further = take_further(&mut members);
            for (place, member) in members {
                let further_addresses = further.remove(&place).unwrap_or_default();
                let endpoint = MeshEndpoint {
                    address: EndpointAddress::Ip(place.0),
                    further_addresses,
                    from_slice: true,
                    ..joined(service, member, place.1, around)
                };
                found.add(port.port, endpoint);
            }
        }
    }

    /// Whether the endpoints of a service take requests. One that several slices list does if one of them says so.
    pub(super) fn health(&self, service: &MeshService, inputs: &Inputs) -> ListedHealth {
        let mut found = ListedHealth::new();
        for slice in self.of(service) {
            for endpoint in &slice.spec.endpoints {
                let name = endpoint.pod.as_deref();
                let key = name.map(|name| (Arc::clone(&service.key.namespace), Arc::<str>::from(name)));
                if key.is_some_and(|key| !inputs.pods.contains_key(&key) && !inputs.local_workloads.contains_key(&key))
                {
                    // Not a member.
                    continue;
                }
                let Some(health) = health(endpoint) else {
                    continue;
                };
                for port in &slice.spec.ports {
                    let known = found.entry((endpoint.address, port.port)).or_insert(health);
                    *known = (*known).min(health);
                }
            }
        }
        found
    }
}

/// By the conditions of the slice.
fn health(endpoint: &SliceEndpoint) -> Option<Health> {
    if endpoint.ready {
        return Some(Health::Ready);
    }
    (endpoint.terminating && endpoint.serving).then_some(Health::Draining)
}

/// Whether a pod that something other than slices selects takes requests.
pub(super) fn pod_health(pod: &Pod) -> Option<Health> {
    pod.ready.then_some(if pod.terminating {
        Health::Draining
    } else {
        Health::Ready
    })
}

/// An endpoint with its workload: the pod that it names, else the one that has its address. `None` while the pod that it names is not
/// known: what is not known of it, such as whether it takes mTLS, would be wrong (Istio's `getPod`, which waits for it likewise).
fn member<'a>(service: &MeshService, endpoint: &'a SliceEndpoint, workloads: &'a Workloads) -> Option<Member<'a>> {
    let namespace = &service.key.namespace;
    let workload = match &endpoint.pod {
        Some(name) => Some(workloads.get(namespace, name)?),
        None => workloads.pod_at(namespace, endpoint.address),
    };
    Some(Member { endpoint, workload })
}

/// The members of a service port. While an endpoint moves from one slice to another both may list it, and readers are to count it
/// once (Kubernetes, "EndpointSlices", "Duplicate endpoints"); the slice that says more in its favour is heard.
fn members<'a>(slices: &[(&EndpointSlice, Vec<Member<'a>>)], port: &ServicePort) -> Members<'a> {
    let mut found = Members::new();
    for (slice, members) in slices {
        let Some(target) = slice.ports.iter().find(|known| known.name == port.name) else {
            continue;
        };
        for member in members {
            let known = found.entry((member.endpoint.address, target.port)).or_insert(*member);
            if member.favour() > known.favour() {
                *known = *member;
            }
        }
    }
    found
}

/// Takes out the members that are a further address of a pod whose primary one is listed as well, and returns them by the latter:
/// a dual-stack service has a slice for each family, and a pod is one endpoint.
fn take_further(members: &mut Members<'_>) -> BTreeMap<(IpAddr, u16), Vec<IpAddr>> {
    let mut further: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
    for ((address, port), member) in &*members {
        let Some(workload) = member.workload else {
            continue;
        };
        let primary = (workload.address(), *port);
        if *address != primary.0 && workload.addresses.contains(address) && members.contains_key(&primary) {
            further.entry(primary).or_default().push(*address);
        }
    }
    for ((_, port), addresses) in &further {
        for address in addresses {
            members.remove(&(*address, *port));
        }
    }
    further
}

/// What a member is but for its addresses.
fn joined(service: &MeshService, member: Member<'_>, port: u16, around: Around<'_>) -> MeshEndpoint {
    match member.workload {
        Some(workload) => of_pod(workload, port, around.policies),
        None => MeshEndpoint {
            locality: of_node(around.inputs, &member.endpoint.node),
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

// === impl Member ===

impl Member<'_> {
    /// Grows with what its slice says in its favour.
    fn favour(&self) -> (bool, bool) {
        (self.endpoint.ready, self.endpoint.serving)
    }
}
