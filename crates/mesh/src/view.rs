//! What one proxy may see of the mesh.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_api::gateway::Gateway;
use weft_api::local_workload::{DataPlane, Role};
use weft_api::matching::Locality;
use weft_api::meta::{Kind, Object, ObjectKey, Place, Position};
use weft_api::sidecar::{EgressListener, OutboundPolicy, Sidecar};

use crate::node::{Dialect, ProxyNode};
use crate::snapshot::{
    Capture, GatewayRef, MeshDestinationRule, MeshService, MeshSnapshot, MeshVirtualService, Origin, Workload,
    WorkloadKey,
};

/// Settings of generated configuration that are the same for every proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// File of the access log; empty writes none.
    pub access_log_file: String,
    /// Access-log service of the collector, host and port; none where absent.
    pub collector: Option<(String, u16)>,
    /// OTLP service of the collector, host and port; no spans where absent.
    pub spans: Option<(String, u16)>,
    /// Share of the requests without a trace of their own that are sampled, in parts per million (Istio: 1 %).
    pub sampling_ppm: u32,
}

/// One proxy's part of a snapshot.
#[derive(Clone, Debug)]
pub struct ProxyView {
    pub snapshot: Arc<MeshSnapshot>,
    /// The workload that the proxy stands in front of.
    pub workload: Arc<Workload>,
    pub settings: ProxySettings,
    /// What the proxy speaks.
    pub dialect: Dialect,
}

// === impl ProxyView ===

impl ProxyView {
    /// The view of the proxy of a pod; `None` where no such workload is registered.
    pub fn new(snapshot: Arc<MeshSnapshot>, namespace: &str, pod: &str, settings: ProxySettings) -> Option<Self> {
        let workload = snapshot.workloads.get(namespace, pod)?.clone();
        Some(Self::of_workload(snapshot, workload, settings))
    }

    fn of_workload(snapshot: Arc<MeshSnapshot>, workload: Arc<Workload>, settings: ProxySettings) -> Self {
        Self {
            dialect: match workload.data_plane {
                DataPlane::Weft => Dialect::Weft,
                DataPlane::Envoy => Dialect::Envoy,
            },
            snapshot,
            workload,
            settings,
        }
    }

    /// The view of a connected client. A gRPC client needs no registration: it serves nothing, and says itself where it is.
    pub fn of(snapshot: Arc<MeshSnapshot>, node: &ProxyNode, settings: ProxySettings) -> Option<Self> {
        let known = snapshot.workload_of(&node.namespace, &node.pod, node.address);
        let outside = || (node.dialect == Dialect::Grpc).then(|| Arc::new(unregistered(node)));
        let workload = known.or_else(outside)?;
        Some(Self {
            dialect: node.dialect,
            ..Self::of_workload(snapshot, workload, settings)
        })
    }

    /// Namespace of the workload.
    pub fn namespace(&self) -> &str {
        &self.workload.key.namespace
    }

    /// Whether it is a gateway.
    pub fn is_gateway(&self) -> bool {
        self.workload.role == Role::Gateway
    }

    /// The Sidecar object of the workload, where it has one; gateways never have (Istio: `SetSidecarScope`).
    pub fn sidecar(&self) -> Option<&Arc<Object<Sidecar>>> {
        if self.is_gateway() {
            return None;
        }
        let sidecars = &self.snapshot.sidecars;
        sidecars.for_workload(self.namespace(), &self.workload.labels)
    }

    /// The services that the workload may call, narrowed by its Sidecar where there is one.
    pub fn services(&self) -> Vec<&Arc<MeshService>> {
        let listeners = self.sidecar().map_or(&[][..], |sidecar| &sidecar.spec.egress);
        let imported = |service: &MeshService| {
            let key = &service.key;
            listeners.is_empty()
                || listeners
                    .iter()
                    .any(|listener| listener.imports(self.namespace(), &key.namespace, &key.hostname))
        };
        self.snapshot
            .services
            .visible_from(self.namespace())
            .filter(|service| imported(service))
            .collect()
    }

    /// Whether a Sidecar says which services the workload may call.
    pub fn is_narrowed(&self) -> bool {
        self.sidecar().is_some_and(|sidecar| !sidecar.spec.egress.is_empty())
    }

    /// The services that there are clusters for: those that the workload may call, and the destinations of the rules that a Sidecar lets
    /// in (Istio: `pilot/pkg/model/sidecar.go`).
    pub fn reachable(&self) -> Vec<&Arc<MeshService>> {
        let mut services = self.services();
        if !self.is_narrowed() {
            return services;
        }
        let mut known: BTreeSet<&str> = services.iter().map(|service| &*service.key.hostname).collect();
        let namespace = self.namespace();
        let rules = self.snapshot.virtual_services.at_gateway(&GatewayRef::Mesh, namespace);
        for rules in rules.into_iter().filter(|rules| self.imports(rules)) {
            for (_, destination) in rules.object.spec.destinations() {
                let found = self
                    .snapshot
                    .services
                    .exact(&rules.resolve(&destination.host), namespace);
                services.extend(found.filter(|service| known.insert(&service.key.hostname)));
            }
        }
        services
    }

    /// Whether the workload's proxy applies the rules of an object that it sees: all, unless a Sidecar names hosts and none of the
    /// object's is among them. As in Istio a wildcard on either side suffices.
    pub fn imports(&self, rules: &MeshVirtualService) -> bool {
        let listeners = self.sidecar().map_or(&[][..], |sidecar| &sidecar.spec.egress);
        let namespace = &rules.object.meta.namespace;
        let by = |listener: &EgressListener| {
            let mut hosts = rules.hosts.iter();
            hosts.any(|host| listener.imports_rules(self.namespace(), namespace, host))
        };
        listeners.is_empty() || listeners.iter().any(by)
    }

    /// The rules that may apply to requests of this workload for a host, the first that say anything winning.
    pub fn rules_of(&self, hostname: &str) -> Vec<&Arc<MeshVirtualService>> {
        let seen = |rules: &MeshVirtualService| rules.visible_from(self.namespace()) && self.imports(rules);
        self.snapshot
            .virtual_services
            .for_host(&GatewayRef::Mesh, hostname, seen)
    }

    /// The rule of a service for this client.
    pub fn destination_rule(&self, service: &MeshService) -> Option<&Arc<MeshDestinationRule>> {
        let (namespace, hostname) = (&service.key.namespace, &service.key.hostname);
        self.snapshot
            .destination_rules
            .lookup(self.namespace(), &self.workload.labels, namespace, hostname)
    }

    /// The outbound listeners that the workload's Sidecar binds.
    pub fn bound_egress(&self) -> impl Iterator<Item = &EgressListener> {
        let listeners = self.sidecar().map_or(&[][..], |sidecar| &sidecar.spec.egress);
        listeners.iter().filter(|listener| self.workload.binds(listener))
    }

    /// Gateway objects that choose this workload; none for a sidecar.
    pub fn gateways(&self) -> Vec<&Arc<Object<Gateway>>> {
        if !self.is_gateway() {
            return Vec::new();
        }
        self.snapshot.gateways.for_workload(&self.workload.labels).collect()
    }

    /// Whether hosts that nobody registered are refused.
    pub fn registry_only(&self) -> bool {
        let own = self.sidecar().and_then(|sidecar| sidecar.spec.outbound_policy);
        own.map_or(self.snapshot.settings.registry_only, |policy| {
            policy == OutboundPolicy::RegistryOnly
        })
    }
}

/// A client that nobody registered, as it describes itself.
fn unregistered(node: &ProxyNode) -> Workload {
    Workload {
        key: WorkloadKey {
            namespace: node.namespace.clone(),
            name: node.pod.clone(),
        },
        origin: Origin {
            object: ObjectKey {
                kind: Kind::LocalWorkload,
                namespace: node.namespace.clone(),
                name: node.pod.clone(),
            },
            place: Place {
                file: "".into(),
                at: Position::default(),
            },
        },
        labels: node.labels.clone(),
        role: Role::Sidecar,
        workload_name: node.pod.clone(),
        service_account: node.service_account.clone().unwrap_or_else(|| "default".into()),
        data_plane: DataPlane::Envoy,
        addresses: vec![std::net::IpAddr::from([127, 0, 0, 1])],
        capture: Capture::None,
        proxied: false,
        outbound_port: None,
        ports: Vec::new(),
        gateway_ports: Vec::new(),
        locality: Locality::default(),
    }
}
