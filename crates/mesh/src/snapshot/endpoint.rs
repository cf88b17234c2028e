//! One endpoint of one service port: where clients connect to and who answers there.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use weft_api::matching::Locality;
use weft_api::meta::Labels;
use weft_api::service::TargetPort;
use weft_api::service_entry::WorkloadEntry;

use super::pods;
use super::service::{MeshService, ServicePort};
use super::workloads::{Workload, WorkloadKey, canonical_name, canonical_revision};

/// Address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A name for DNS.
    Name(Arc<str>),
}

/// Whether an endpoint takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    Ready,
    /// It still answers, but is about to end: what goes there already may stay, nothing new comes.
    Draining,
}

/// One endpoint of one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshEndpoint {
    /// Address that clients connect to (for a local workload its sidecar).
    pub address: EndpointAddress,
    /// Further addresses of the same pod that slices list for the service: the other family of a dual-stack one.
    pub further_addresses: Vec<IpAddr>,
    /// Port that clients connect to.
    pub port: u16,
    /// Slices list it, and say whether it takes requests.
    pub from_slice: bool,
    /// Whether it takes requests. Always ready among `Backends`, which do not follow it.
    pub health: Health,
    /// The pod or local workload behind it, if there is one.
    pub workload: Option<WorkloadKey>,
    pub labels: Arc<Labels>,
    /// Namespace of the workload.
    pub namespace: Arc<str>,
    /// Workload name; empty if unknown.
    pub workload_name: Arc<str>,
    /// Canonical service name; empty if unknown.
    pub canonical_name: Arc<str>,
    pub canonical_revision: Arc<str>,
    /// Service account; `None` outside the mesh.
    pub service_account: Option<Arc<str>>,
    /// Region, zone, sub-zone.
    pub locality: Locality,
    /// Weight in relation to the others.
    pub weight: u32,
    /// Accepts mesh mTLS (`tlsMode: istio`).
    pub mtls: bool,
}

// === impl EndpointAddress ===

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl EndpointAddress {
    /// An IP address if it is one, else a name.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.into()), Self::Ip)
    }
}

// === impl MeshEndpoint ===

impl MeshEndpoint {
    /// SPIFFE id, where there is a service account.
    pub fn spiffe_id(&self, trust_domain: &str) -> Option<String> {
        let account = self.service_account.as_ref()?;
        Some(format!("spiffe://{trust_domain}/ns/{}/sa/{account}", self.namespace))
    }

    /// Value of the endpoint metadata `istio.workload`: `name;ns;canonical;revision;cluster`, and then the labels `app` and `version`,
    /// which readers of Istio's five parts pass over.
    pub fn workload_metadata(&self) -> String {
        let label = |key| self.labels.get(key).map_or("", String::as_str);
        format!(
            "{};{};{};{};Kubernetes;{};{}",
            self.workload_name,
            self.namespace,
            self.canonical_name,
            self.canonical_revision,
            label("app"),
            label("version")
        )
    }

    /// The endpoint that a port of a workload is.
    pub(super) fn of_workload(workload: &Workload, port: u16, labels: &Arc<Labels>, mtls: bool) -> Self {
        Self {
            address: EndpointAddress::Ip(workload.address()),
            further_addresses: Vec::new(),
            port,
            from_slice: false,
            health: Health::Ready,
            workload: Some(workload.key.clone()),
            labels: Arc::clone(labels),
            namespace: Arc::clone(&workload.key.namespace),
            workload_name: Arc::clone(&workload.workload_name),
            canonical_name: workload.canonical_name().into(),
            canonical_revision: workload.canonical_revision().into(),
            service_account: Some(Arc::clone(&workload.service_account)),
            locality: workload.locality.clone(),
            weight: 1,
            mtls,
        }
    }

    /// An endpoint of which only the place is known; the address is for the caller to fill in.
    pub(super) fn unknown(namespace: &Arc<str>, port: u16) -> Self {
        Self {
            address: EndpointAddress::Name("".into()),
            further_addresses: Vec::new(),
            port,
            from_slice: false,
            health: Health::Ready,
            workload: None,
            labels: Arc::default(),
            namespace: Arc::clone(namespace),
            workload_name: "".into(),
            canonical_name: "".into(),
            canonical_revision: "latest".into(),
            service_account: None,
            locality: Locality::default(),
            weight: 1,
            mtls: false,
        }
    }

    /// The endpoint that a workload entry is, on one port. Its labels tell where it is if it does not say so itself, as Istio has it
    /// (`convertWorkloadEntryToWorkloadInstance`).
    pub(super) fn of_entry(entry: &WorkloadEntry, name: &str, namespace: &Arc<str>, address: &str, port: u16) -> Self {
        let said = Some(&entry.locality).filter(|locality| !locality.is_empty()).cloned();
        Self {
            address: EndpointAddress::parse(address),
            further_addresses: Vec::new(),
            port,
            from_slice: false,
            health: Health::Ready,
            workload: None,
            labels: Arc::new(entry.labels.clone()),
            namespace: Arc::clone(namespace),
            workload_name: name.into(),
            canonical_name: canonical_name(&entry.labels).unwrap_or(name).into(),
            canonical_revision: canonical_revision(&entry.labels).into(),
            service_account: entry.service_account.as_deref().map(Into::into),
            locality: said.or_else(|| pods::said_locality(&entry.labels)).unwrap_or_default(),
            weight: entry.weight,
            mtls: entry.labels.get("security.istio.io/tlsMode").map(String::as_str) == Some("istio"),
        }
    }

    /// An endpoint outside the mesh that DNS finds.
    pub(super) fn by_name(service: &MeshService, port: &ServicePort, host: &str) -> Self {
        Self {
            address: EndpointAddress::parse(host),
            port: match port.target {
                // An alias is a name of DNS, which knows no ports.
                TargetPort::Number(number) if service.alias_of.is_none() => number,
                TargetPort::Number(_) | TargetPort::Name(_) | TargetPort::Same => port.port,
            },
            ..Self::unknown(&service.key.namespace, port.port)
        }
    }
}
