//! `networking.istio.io` Sidecar: what a workload's proxy sees and binds.

use std::net::IpAddr;

use crate::matching::NamespaceScope;
use crate::meta::{Labels, Position};
use crate::protocol::Protocol;

/// Scope of the proxies of some workloads (istio.io, "Sidecar").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Workloads of the namespace; `None` is all of them (in the root namespace: of the mesh).
    pub workload_selector: Option<Labels>,
    /// Outbound listeners; empty sees everything.
    pub egress: Vec<EgressListener>,
    /// What happens to unknown hosts; `None` is the mesh default.
    pub outbound_policy: Option<OutboundPolicy>,
}

/// One outbound listener and the hosts behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressListener {
    /// Where it is written.
    pub at: Position,
    /// Port that is bound or captured; `None` is the catch-all for visible hosts.
    pub port: Option<SidecarPort>,
    /// Address to bind; `None` is 127.0.0.1.
    pub bind: Option<IpAddr>,
    /// How traffic reaches it.
    pub capture: CaptureMode,
    /// Visible hosts; never empty.
    pub hosts: Vec<EgressHost>,
}

/// Port of an outbound listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarPort {
    pub number: u16,
    /// What it speaks.
    pub protocol: Protocol,
    pub name: String,
}

/// How traffic reaches a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CaptureMode {
    /// The environment decides.
    #[default]
    Default,
    Iptables,
    /// The application connects to the port by itself.
    None,
}

/// `namespace/host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressHost {
    /// Namespaces that services are taken from.
    pub namespace: NamespaceScope,
    /// Name, `*`, or `*.suffix`.
    pub host: String,
}

/// What happens to hosts that no service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundPolicy {
    /// Refused with 502.
    RegistryOnly,
    AllowAny,
}

// === impl EgressListener ===

impl EgressListener {
    /// Whether a workload of namespace `own` sees a host of `namespace` through this listener.
    pub fn imports(&self, own: &str, namespace: &str, hostname: &str) -> bool {
        self.hosts.iter().any(|host| {
            host.namespace.covers(own, namespace) && (host.host == "*" || crate::host::covers(&host.host, hostname))
        })
    }

    /// The same for a host of rules, which may be a wildcard that covers a host of the listener.
    pub fn imports_rules(&self, own: &str, namespace: &str, hostname: &str) -> bool {
        let mut hosts = self.hosts.iter();
        hosts.any(|host| host.namespace.covers(own, namespace) && crate::host::overlap(&host.host, hostname))
    }
}
