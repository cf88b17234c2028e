//! One service of the mesh, whichever object announced it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use weft_api::matching::ExportTo;
use weft_api::meta::{Labels, ObjectKey, Place};
use weft_api::protocol::Protocol;
use weft_api::service::TargetPort;
use weft_api::service_entry::{Location, Resolution};

/// Namespace and hostname: what makes a service one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Fully qualified, lower case; `*.suffix` for a wildcard ServiceEntry.
    pub hostname: Arc<str>,
    /// Namespace of the object.
    pub namespace: Arc<str>,
}

/// The object behind something, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Kind, namespace, name.
    pub object: ObjectKey,
    /// Where it starts, or where the named part of it is.
    pub place: Place,
}

/// Which kind of object announced a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    Kubernetes,
    Entry,
}

/// A service: Kubernetes Service, or one host of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshService {
    pub key: ServiceKey,
    /// Name of the object (a Service's short name).
    pub name: Arc<str>,
    /// Kind of the object.
    pub kind: ServiceKind,
    pub origin: Origin,
    /// Names of further ServiceEntries of the namespace that are one with it.
    pub merged: Vec<Arc<str>>,
    /// Ports, in the order of the object.
    pub ports: Vec<ServicePort>,
    /// How endpoints are found. `Static` includes Kubernetes services with a selector (EDS).
    pub resolution: Resolution,
    /// Inside or outside the mesh.
    pub location: Location,
    /// Virtual addresses: cluster IPs, or `addresses` of a ServiceEntry (may be CIDR).
    pub addresses: Vec<String>,
    /// Addresses that the mesh gives to a ServiceEntry without any: its clients get them where the mesh answers for names.
    pub auto_addresses: Vec<IpAddr>,
    /// `clusterIP: None`: clients may also ask for single pods (`*.` domains).
    pub headless: bool,
    /// Labels of the workloads; `None` where endpoints are given otherwise.
    pub selector: Option<Labels>,
    /// Names, one of which the server's certificate must have (ServiceEntry).
    pub subject_alt_names: Vec<String>,
    /// The host that a Service of type ExternalName stands for.
    pub alias_of: Option<Arc<str>>,
    /// Who may see it.
    pub export_to: ExportTo,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; may be empty.
    pub name: String,
    /// Number that clients use.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Port of the workload.
    pub target: TargetPort,
    /// Where it is written.
    pub place: Place,
}

// === impl ServiceKey ===

/// `hostname (namespace)`.
impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.hostname, self.namespace)
    }
}

// === impl MeshService ===

impl MeshService {
    /// A port by number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }

    /// Whether clients of `namespace` may see it.
    pub fn visible_from(&self, namespace: &str) -> bool {
        self.export_to.visible(&self.key.namespace, namespace)
    }

    /// Whether the host is a `*.` pattern.
    pub fn is_wildcard(&self) -> bool {
        self.key.hostname.starts_with('*')
    }
}
