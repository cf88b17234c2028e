//! What one proxy may see of the mesh.

use std::sync::Arc;

use weft_api::gateway::Gateway;
use weft_api::local_workload::{DataPlane, Role};
use weft_api::matching::NamespaceScope;
use weft_api::meta::Object;
use weft_api::sidecar::OutboundPolicy;

use crate::snapshot::{MeshService, MeshSnapshot, Workload};
use crate::xds::node::Dialect;

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
    /// The mesh.
    pub snapshot: Arc<MeshSnapshot>,
    /// The workload that the proxy stands in front of.
    pub workload: Arc<Workload>,
    /// Settings.
    pub settings: ProxySettings,
    /// What the proxy understands: as the workload says, until the proxy itself says it.
    pub dialect: Dialect,
}

// === impl ProxyView ===

impl ProxyView {
    /// The view of the proxy of a pod; `None` where no such workload is registered.
    pub fn new(snapshot: Arc<MeshSnapshot>, namespace: &str, pod: &str, settings: ProxySettings) -> Option<Self> {
        let workload = snapshot.workloads.get(namespace, pod)?.clone();
        let dialect = match workload.data_plane {
            DataPlane::Weft => Dialect::Weft,
            DataPlane::Envoy => Dialect::Envoy,
        };
        Some(Self {
            snapshot,
            workload,
            settings,
            dialect,
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

    /// The services that the workload may call, narrowed by its Sidecar where there is one.
    pub fn services(&self) -> Vec<&Arc<MeshService>> {
        let sidecar = self
            .snapshot
            .sidecars
            .for_workload(self.namespace(), &self.workload.labels);
        let egress = sidecar.map(|sidecar| (&sidecar.meta.namespace, &sidecar.spec.egress));
        let imported = |service: &MeshService| match &egress {
            None => true,
            Some((_, listeners)) if listeners.is_empty() => true,
            Some((_, listeners)) => listeners.iter().flat_map(|listener| &listener.hosts).any(|host| {
                let namespaces = host.namespace == NamespaceScope::All
                    || host.namespace.covers(self.namespace(), &service.key.namespace);
                namespaces && (host.host == "*" || weft_api::host::covers(&host.host, &service.key.hostname))
            }),
        };
        self.snapshot
            .services
            .visible_from(self.namespace())
            .filter(|service| imported(service))
            .collect()
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
        let sidecar = self
            .snapshot
            .sidecars
            .for_workload(self.namespace(), &self.workload.labels);
        let own = sidecar.and_then(|sidecar| sidecar.spec.outbound_policy);
        own.map_or(self.snapshot.settings.registry_only, |policy| {
            policy == OutboundPolicy::RegistryOnly
        })
    }
}
