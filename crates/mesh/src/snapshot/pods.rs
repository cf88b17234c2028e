//! Pods as workloads: the same model as local workloads, filled from what Kubernetes knows.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_api::cluster;
use weft_api::local_workload::{DataPlane, GatewayPort, Role};
use weft_api::matching::Locality;
use weft_api::meta::{Kind, Labels, Object, ObjectKey, selects};
use weft_api::pod::Pod;
use weft_api::service::{Service, TargetPort};

use super::inputs::Inputs;
use super::service::Origin;
use super::workloads::{Capture, Workload, WorkloadKey, WorkloadPort};

/// All pods that have an address and have not ended, as workloads.
pub(super) fn workloads(inputs: &Inputs) -> impl Iterator<Item = Workload> + use<'_> {
    let mut services: BTreeMap<&Arc<str>, Vec<&Arc<Object<Service>>>> = BTreeMap::new();
    for ((namespace, _), service) in inputs.services.iter() {
        services.entry(namespace).or_default().push(service);
    }
    inputs
        .pods
        .values()
        .filter(|object| !object.spec.finished && !object.spec.ips.is_empty())
        .map(move |object| {
            let own = services.get(&object.meta.namespace).map_or(&[][..], Vec::as_slice);
            workload(object, own, inputs)
        })
}

/// A pod of the mesh that has no address yet, as the workload that it will be: its proxy, which says the address itself, may ask before the
/// kubelet has told it. The kubelet may even wait with that until the proxy is ready, where it starts with the pod's first container.
pub(super) fn starting(inputs: &Inputs, namespace: &Arc<str>, name: &Arc<str>, address: IpAddr) -> Option<Workload> {
    let object = inputs.pods.get(&(Arc::clone(namespace), Arc::clone(name)))?;
    let pod = &object.spec;
    if pod.finished || pod.proxy.is_none() || !pod.ips.is_empty() {
        return None;
    }
    let services = inputs.services.iter();
    let own: Vec<_> = services
        .filter(|((of, _), _)| of == namespace)
        .map(|(_, service)| service)
        .collect();
    Some(Workload {
        addresses: vec![address],
        ..workload(object, &own, inputs)
    })
}

/// Pods that have no address yet and have not ended.
pub(super) fn without_address(inputs: &Inputs) -> impl Iterator<Item = &Arc<Object<Pod>>> {
    let pods = inputs.pods.values();
    pods.filter(|object| !object.spec.finished && object.spec.ips.is_empty())
}

/// The pods of which only the proxy still runs, with their uid.
pub(super) fn ended(inputs: &Inputs) -> BTreeMap<WorkloadKey, Arc<str>> {
    let ended = inputs.pods.values().filter(|object| object.spec.application_ended);
    ended
        .map(|object| {
            let key = WorkloadKey {
                namespace: Arc::clone(&object.meta.namespace),
                name: Arc::clone(&object.meta.name),
            };
            (key, object.spec.uid.as_str().into())
        })
        .collect()
}

fn workload(object: &Object<Pod>, services: &[&Arc<Object<Service>>], inputs: &Inputs) -> Workload {
    let (meta, pod) = (&object.meta, &object.spec);
    let role = pod.proxy.map_or(Role::Sidecar, |proxy| proxy.role);
    let captured = pod.proxy.is_some_and(|proxy| proxy.captured);
    let ports = pod.ports.iter().map(|port| WorkloadPort {
        name: port.name.clone(),
        declared_port: port.port,
        app_port: port.port,
        mesh_port: port.port,
    });
    Workload {
        key: WorkloadKey {
            namespace: Arc::clone(&meta.namespace),
            name: Arc::clone(&meta.name),
        },
        origin: Origin {
            object: ObjectKey {
                kind: Kind::Pod,
                namespace: Arc::clone(&meta.namespace),
                name: Arc::clone(&meta.name),
            },
            place: object.place.clone(),
        },
        labels: meta.labels.clone(),
        role,
        proxied: pod.proxy.is_some(),
        workload_name: pod.workload_name.as_str().into(),
        service_account: pod.service_account.as_str().into(),
        data_plane: DataPlane::Weft,
        addresses: pod.ips.clone(),
        capture: if captured { Capture::Redirect } else { Capture::None },
        outbound_port: None,
        ports: ports.collect(),
        gateway_ports: match role {
            Role::Gateway => gateway_ports(object, services),
            Role::Sidecar => Vec::new(),
        },
        locality: locality(object, inputs),
    }
}

/// Where a gateway binds the ports of its Services: at their target ports, as the Services send traffic there.
fn gateway_ports(object: &Object<Pod>, services: &[&Arc<Object<Service>>]) -> Vec<GatewayPort> {
    let mut bound: Vec<GatewayPort> = Vec::new();
    let selecting = services.iter().filter(|service| {
        let selector = &service.spec.selector;
        !selector.is_empty() && selects(selector, &object.meta.labels)
    });
    for port in selecting.flat_map(|service| &service.spec.ports) {
        let local = match &port.target {
            TargetPort::Same => Some(port.port),
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => {
                let named = object.spec.ports.iter().find(|own| own.name == *name);
                named.map(|own| own.port)
            }
        };
        if let Some(local_port) = local
            && !bound.iter().any(|known| known.port == port.port)
        {
            bound.push(GatewayPort {
                port: port.port,
                local_port,
            });
        }
    }
    bound
}

/// Where the pod's node is, unless the pod says it itself.
fn locality(object: &Object<Pod>, inputs: &Inputs) -> Locality {
    said_locality(&object.meta.labels).unwrap_or_else(|| of_node(inputs, &object.spec.node))
}

/// The locality that labels give, with dots for slashes: by `topology.istio.io/locality` if it is there, even empty, else by the
/// older `istio-locality` (Istio 1.29: `GetLocalityLabel`, `SanitizeLocalityLabel`).
pub(super) fn said_locality(labels: &Labels) -> Option<Locality> {
    let said = ["topology.istio.io/locality", "istio-locality"]
        .iter()
        .find_map(|key| labels.get(*key))
        .filter(|text| !text.is_empty())?;
    Some(if said.contains('/') {
        Locality::parse(said)
    } else {
        Locality::parse(&said.replace('.', "/"))
    })
}

/// Where a node is; nothing for an unknown one.
pub(super) fn of_node(inputs: &Inputs, node: &str) -> Locality {
    let found = inputs.nodes.get(&("".into(), node.into()));
    found
        .map(|node| cluster::locality(&node.meta.labels))
        .unwrap_or_default()
}
