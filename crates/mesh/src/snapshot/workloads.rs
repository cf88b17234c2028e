//! Workloads: pods, local processes with a proxy, and workload entries.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_api::local_workload::{DataPlane, GatewayPort, LocalPort, LocalWorkload, Role};
use weft_api::matching::Locality;
use weft_api::meta::{Kind, Labels, Object, ObjectKey};
use weft_api::service::TargetPort;
use weft_api::service_entry::WorkloadEntry;
use weft_api::sidecar::{CaptureMode, EgressListener};

use super::inputs::Inputs;
use super::service::{Origin, ServicePort};
use super::{pods, share};

const UNSPECIFIED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Namespace and pod name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    pub namespace: Arc<str>,
    /// Pod name, as in the proxy's node id.
    pub name: Arc<str>,
}

/// How traffic gets into the proxy of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// It does not by itself (Istio: `interceptionMode: NONE`). A local sidecar listens on the `mesh_port` of each port for
    /// peers and on `outbound_port` for its application; a pod without a proxy has nothing to get into.
    None,
    /// The pod's network sends inbound connections to 15006 and outbound ones to 15001 (`REDIRECT`), where the original
    /// destination is known; all three numbers of a port are the same.
    Redirect,
}

/// One port that a workload serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadPort {
    /// Name; may be empty in a pod.
    pub name: String,
    /// Port that the workload declares (0: any); Services name it in `targetPort`.
    pub declared_port: u16,
    /// Port that the application listens on: at 127.0.0.1, or at the pod's address if traffic is redirected.
    pub app_port: u16,
    /// Port where peers connect.
    pub mesh_port: u16,
}

/// A workload: a pod, or a process of this machine. Readiness is not part of it: it changes endpoints only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Namespace and pod name.
    pub key: WorkloadKey,
    /// The Pod or LocalWorkload.
    pub origin: Origin,
    pub labels: Labels,
    /// Sidecar or gateway; the former for a pod without a proxy too.
    pub role: Role,
    /// Whether a proxy stands in front. A pod outside the mesh is known as a peer only.
    pub proxied: bool,
    /// Name shared by all replicas.
    pub workload_name: Arc<str>,
    pub service_account: Arc<str>,
    /// Which proxy stands in front.
    pub data_plane: DataPlane,
    /// Addresses where peers reach it, the primary one first; never empty.
    pub addresses: Vec<IpAddr>,
    /// How traffic gets into the proxy.
    pub capture: Capture,
    /// Port of the `http_proxy` listener.
    pub outbound_port: Option<u16>,
    /// Ports that it declares. A pod may serve others as well.
    pub ports: Vec<WorkloadPort>,
    /// Bound ports of a gateway.
    pub gateway_ports: Vec<GatewayPort>,
    /// Where it runs.
    pub locality: Locality,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workloads {
    /// Pods and local workloads.
    pub local: BTreeMap<WorkloadKey, Arc<Workload>>,
    pub entries: BTreeMap<WorkloadKey, Arc<Object<WorkloadEntry>>>,
    /// Pods and local workloads by namespace, label and value, so that a selector need not look at all of them.
    by_label: BTreeMap<(Arc<str>, String, String), Vec<WorkloadKey>>,
    /// Pods by namespace and address; `None` where several claim it. Those in the network of their node have no address of their
    /// own and are not here.
    by_address: BTreeMap<(Arc<str>, IpAddr), Option<WorkloadKey>>,
}

// === impl WorkloadPort ===

impl From<&LocalPort> for WorkloadPort {
    fn from(port: &LocalPort) -> Self {
        Self {
            name: port.name.clone(),
            declared_port: port.declared_port,
            app_port: port.app_port,
            mesh_port: port.mesh_port,
        }
    }
}

// === impl Workload ===

impl Workload {
    /// The primary address.
    pub fn address(&self) -> IpAddr {
        self.addresses.first().copied().unwrap_or(UNSPECIFIED)
    }

    /// Whether it is a pod, so that Kubernetes says which endpoints its services have.
    pub fn is_pod(&self) -> bool {
        self.origin.object.kind == Kind::Pod
    }

    /// Where the proxy's own ports are bound: a pod's network is its own, so there everywhere.
    pub fn bind_address(&self) -> IpAddr {
        match self.address() {
            address if !self.is_pod() => address,
            IpAddr::V4(_) => UNSPECIFIED,
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// Where a gateway binds the port of a Gateway object. A pod binds a port that no Service names at the number itself.
    pub fn gateway_port(&self, port: u16) -> Option<u16> {
        let bound = self.gateway_ports.iter().find(|bound| bound.port == port);
        bound
            .map(|bound| bound.local_port)
            .or_else(|| self.is_pod().then_some(port))
    }

    /// The port that serves a service port. For a pod as Kubernetes has it: the named port, or the number, declared or not.
    /// For a local workload: by name of the target, by declared number, by the service port's name, or the only one.
    pub fn serving_port(&self, wanted: &ServicePort) -> Option<WorkloadPort> {
        if self.is_pod() {
            let number = match &wanted.target {
                TargetPort::Name(name) => self.ports.iter().find(|port| port.name == *name)?.app_port,
                TargetPort::Number(number) => *number,
                TargetPort::Same => wanted.port,
            };
            let declared = self.ports.iter().find(|port| port.app_port == number);
            return Some(WorkloadPort {
                name: declared.map(|port| port.name.clone()).unwrap_or_default(),
                declared_port: number,
                app_port: number,
                mesh_port: number,
            });
        }
        let declared = |number: u16| {
            let mut ports = self.ports.iter();
            ports.find(|port| port.declared_port == number && number != 0)
        };
        let target = match &wanted.target {
            TargetPort::Name(name) => self.ports.iter().find(|port| port.name == *name),
            TargetPort::Number(number) => declared(*number),
            TargetPort::Same => declared(wanted.port),
        };
        let mut ports = self.ports.iter();
        let named = || ports.find(|port| !wanted.name.is_empty() && port.name == wanted.name);
        let only = match self.ports.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        target.or_else(named).or(only).cloned()
    }

    /// Canonical service name: `service.istio.io/canonical-name`, `app.kubernetes.io/name`, `app`, else the workload name.
    pub fn canonical_name(&self) -> &str {
        canonical_name(&self.labels).unwrap_or(&self.workload_name)
    }

    /// Canonical revision: `service.istio.io/canonical-revision`, `app.kubernetes.io/version`, `version`, else `latest`.
    pub fn canonical_revision(&self) -> &str {
        canonical_revision(&self.labels)
    }

    /// Whether its proxy binds an outbound listener of a Sidecar: where traffic is not captured, the default is to bind.
    pub fn binds(&self, listener: &EgressListener) -> bool {
        let asked = match listener.capture {
            CaptureMode::None => true,
            CaptureMode::Default => self.capture == Capture::None,
            CaptureMode::Iptables => false,
        };
        self.proxied && asked && listener.port.is_some()
    }

    /// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    pub fn spiffe_id(&self, trust_domain: &str) -> String {
        format!(
            "spiffe://{trust_domain}/ns/{}/sa/{}",
            self.key.namespace, self.service_account
        )
    }
}

/// The canonical service name that labels give.
pub(super) fn canonical_name(labels: &Labels) -> Option<&str> {
    ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]
        .iter()
        .find_map(|key| labels.get(*key))
        .map(String::as_str)
}

/// The canonical revision that labels give.
pub(super) fn canonical_revision(labels: &Labels) -> &str {
    [
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]
    .iter()
    .find_map(|key| labels.get(*key))
    .map_or("latest", String::as_str)
}

fn local_workload(namespace: &Arc<str>, name: &Arc<str>, object: &Object<LocalWorkload>) -> Workload {
    let spec = &object.spec;
    Workload {
        key: WorkloadKey {
            namespace: Arc::clone(namespace),
            name: Arc::clone(name),
        },
        origin: Origin {
            object: ObjectKey {
                kind: Kind::LocalWorkload,
                namespace: Arc::clone(namespace),
                name: Arc::clone(name),
            },
            place: object.place.clone(),
        },
        labels: object.meta.labels.clone(),
        role: spec.role,
        proxied: true,
        workload_name: spec.workload_name.as_str().into(),
        service_account: spec.service_account.as_str().into(),
        data_plane: spec.data_plane,
        addresses: vec![spec.address],
        capture: Capture::None,
        outbound_port: spec.outbound_port,
        ports: spec.ports.iter().map(WorkloadPort::from).collect(),
        gateway_ports: spec.gateway_ports.clone(),
        locality: spec.locality.clone(),
    }
}

fn by_address(
    inputs: &Inputs,
    local: &BTreeMap<WorkloadKey, Arc<Workload>>,
) -> BTreeMap<(Arc<str>, IpAddr), Option<WorkloadKey>> {
    let in_node_network = |key: &WorkloadKey| {
        let pod = inputs.pods.get(&(Arc::clone(&key.namespace), Arc::clone(&key.name)));
        pod.is_none_or(|pod| pod.spec.host_network)
    };
    let mut found: BTreeMap<_, Option<WorkloadKey>> = BTreeMap::new();
    for (key, workload) in local {
        if !workload.is_pod() || in_node_network(key) {
            continue;
        }
        for address in &workload.addresses {
            found
                .entry((Arc::clone(&key.namespace), *address))
                .and_modify(|known| *known = known.take().filter(|known| known == key))
                .or_insert_with(|| Some(key.clone()));
        }
    }
    found
}

// === impl Workloads ===

impl Workloads {
    pub(super) fn build(inputs: &Inputs, previous: Option<&Self>) -> Self {
        let machine = inputs.local_workloads.iter();
        let machine = machine.map(|((namespace, name), object)| local_workload(namespace, name, object));
        let mut local: BTreeMap<WorkloadKey, Arc<Workload>> = pods::workloads(inputs)
            .chain(machine)
            .map(|workload| (workload.key.clone(), Arc::new(workload)))
            .collect();
        if let Some(previous) = previous {
            share::entries(&mut local, &previous.local);
        }
        let entries = inputs
            .workload_entries
            .iter()
            .map(|((namespace, name), object)| {
                let key = WorkloadKey {
                    namespace: Arc::clone(namespace),
                    name: Arc::clone(name),
                };
                (key, Arc::clone(object))
            })
            .collect();
        let mut by_label: BTreeMap<_, Vec<WorkloadKey>> = BTreeMap::new();
        for (key, workload) in &local {
            for (label, value) in &workload.labels {
                by_label
                    .entry((Arc::clone(&key.namespace), label.clone(), value.clone()))
                    .or_default()
                    .push(key.clone());
            }
        }
        let by_address = by_address(inputs, &local);
        Self {
            local,
            entries,
            by_label,
            by_address,
        }
    }

    /// The pods and local workloads of a namespace that have the labels, ordered by name. No labels select none.
    pub fn selected<'a>(
        &'a self,
        namespace: &Arc<str>,
        selector: &'a Labels,
    ) -> impl Iterator<Item = &'a Arc<Workload>> + use<'a> {
        let narrowest = selector
            .iter()
            .map(|(label, value)| {
                let keys = self
                    .by_label
                    .get(&(Arc::clone(namespace), label.clone(), value.clone()));
                keys.map_or(&[][..], Vec::as_slice)
            })
            .min_by_key(|keys| keys.len())
            .unwrap_or_default();
        narrowest
            .iter()
            .filter_map(|key| self.local.get(key))
            .filter(|workload| weft_api::meta::selects(selector, &workload.labels))
    }

    /// A pod or local workload by namespace and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Workload>> {
        self.local.get(&WorkloadKey {
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    /// The one pod of a namespace that has an address.
    pub(super) fn pod_at(&self, namespace: &Arc<str>, address: IpAddr) -> Option<&Arc<Workload>> {
        let found = self.by_address.get(&(Arc::clone(namespace), address))?;
        self.local.get(found.as_ref()?)
    }

    /// Whether any workload of the namespace (`None`: of any namespace) has the labels.
    pub fn any_selected(&self, namespace: Option<&str>, selector: &Labels) -> bool {
        let in_scope = |key: &WorkloadKey| namespace.is_none_or(|namespace| *key.namespace == *namespace);
        self.local
            .values()
            .any(|workload| in_scope(&workload.key) && weft_api::meta::selects(selector, &workload.labels))
            || self
                .entries
                .iter()
                .any(|(key, entry)| in_scope(key) && weft_api::meta::selects(selector, &entry.spec.labels))
    }
}
