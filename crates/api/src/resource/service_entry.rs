//! `networking.istio.io` ServiceEntry and WorkloadEntry: services and endpoints that nobody else announces.

use std::collections::BTreeMap;

use crate::matching::{ExportTo, Locality};
use crate::meta::{Labels, Position};
use crate::protocol::Protocol;

/// Services by host (istio.io, "Service Entry").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Hosts; never empty.
    pub hosts: Vec<String>,
    /// Virtual addresses or CIDR prefixes.
    pub addresses: Vec<String>,
    pub ports: Vec<EntryPort>,
    /// Inside or outside the mesh.
    pub location: Location,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Endpoints by address.
    pub endpoints: Vec<WorkloadEntry>,
    /// Endpoints by labels; excludes `endpoints`.
    pub workload_selector: Option<Labels>,
    /// Names, one of which the server's certificate must have.
    pub subject_alt_names: Vec<String>,
    /// Who may see the services.
    pub export_to: ExportTo,
}

/// One port of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPort {
    /// Where it is written.
    pub at: Position,
    /// Number that clients use.
    pub number: u16,
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Port of the endpoints; the number itself where not said.
    pub target_port: Option<u16>,
}

/// Inside or outside the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Outside: no mesh mTLS.
    External,
    Internal,
}

/// How endpoints are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// The address that the client asked for.
    None,
    /// The addresses in the configuration.
    Static,
    /// All addresses that DNS gives.
    Dns,
    /// The first address that DNS gives.
    DnsRoundRobin,
}

/// One endpoint: of a ServiceEntry, or an object by itself (istio.io, "Workload Entry").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadEntry {
    /// Where it is written.
    pub at: Position,
    /// IP address or DNS name; empty only inside a ServiceEntry with DNS resolution.
    pub address: String,
    /// Port names of the service to ports of this endpoint.
    pub ports: BTreeMap<String, u16>,
    /// Labels; an object's metadata labels are included.
    pub labels: Labels,
    pub network: String,
    /// Region, zone, sub-zone.
    pub locality: Locality,
    /// Weight in relation to the others; 1 where not said.
    pub weight: u32,
    pub service_account: Option<String>,
}
