//! Workloads: local processes with a proxy, and workload entries.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_api::local_workload::{DataPlane, GatewayPort, LocalPort, Role};
use weft_api::matching::Locality;
use weft_api::meta::{Kind, Labels, Object, ObjectKey};
use weft_api::service_entry::WorkloadEntry;

use super::inputs::Inputs;
use super::service::Origin;
use super::share;

/// Namespace and pod name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Pod name, as in the proxy's node id.
    pub name: Arc<str>,
}

/// A local workload. Readiness is not part of it: it changes endpoints only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Namespace and pod name.
    pub key: WorkloadKey,
    /// The LocalWorkload.
    pub origin: Origin,
    /// Labels.
    pub labels: Labels,
    /// Sidecar or gateway.
    pub role: Role,
    /// Name shared by all replicas.
    pub workload_name: Arc<str>,
    /// Service account.
    pub service_account: Arc<str>,
    /// Which proxy stands in front.
    pub data_plane: DataPlane,
    /// Address where peers reach it.
    pub address: IpAddr,
    /// Port of the `http_proxy` listener.
    pub outbound_port: Option<u16>,
    /// Application ports.
    pub ports: Vec<LocalPort>,
    /// Bound ports of a gateway.
    pub gateway_ports: Vec<GatewayPort>,
    /// Where it runs.
    pub locality: Locality,
}

/// All workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workloads {
    /// Local workloads.
    pub local: BTreeMap<WorkloadKey, Arc<Workload>>,
    /// WorkloadEntry objects.
    pub entries: BTreeMap<WorkloadKey, Arc<Object<WorkloadEntry>>>,
    /// Local workloads by namespace, label and value, so that a selector need not look at all of them.
    by_label: BTreeMap<(Arc<str>, String, String), Vec<WorkloadKey>>,
}

// === impl Workload ===

impl Workload {
    /// Canonical service name: `service.istio.io/canonical-name`, `app.kubernetes.io/name`, `app`, else the workload name.
    pub fn canonical_name(&self) -> &str {
        canonical_name(&self.labels).unwrap_or(&self.workload_name)
    }

    /// Canonical revision: `service.istio.io/canonical-revision`, `app.kubernetes.io/version`, `version`, else `latest`.
    pub fn canonical_revision(&self) -> &str {
        canonical_revision(&self.labels)
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

// === impl Workloads ===

impl Workloads {
    pub(super) fn build(inputs: &Inputs, previous: Option<&Self>) -> Self {
        let mut local: BTreeMap<WorkloadKey, Arc<Workload>> = inputs
            .local_workloads
            .iter()
            .map(|((namespace, name), object)| {
                let key = WorkloadKey {
                    namespace: Arc::clone(namespace),
                    name: Arc::clone(name),
                };
                let spec = &object.spec;
                let workload = Workload {
                    key: key.clone(),
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
                    workload_name: spec.workload_name.as_str().into(),
                    service_account: spec.service_account.as_str().into(),
                    data_plane: spec.data_plane,
                    address: spec.address,
                    outbound_port: spec.outbound_port,
                    ports: spec.ports.clone(),
                    gateway_ports: spec.gateway_ports.clone(),
                    locality: spec.locality.clone(),
                };
                (key, Arc::new(workload))
            })
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
        Self {
            local,
            entries,
            by_label,
        }
    }

    /// The local workloads of a namespace that have the labels, ordered by name. No labels select none.
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

    /// A local workload by namespace and pod name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Workload>> {
        self.local.get(&WorkloadKey {
            namespace: namespace.into(),
            name: name.into(),
        })
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
