//! `networking.istio.io` Gateway: ports and hosts that a proxy at the edge serves.

use crate::matching::NamespaceScope;
use crate::meta::{Labels, Position};
use crate::protocol::Protocol;

/// Servers of the gateways that a selector chooses (istio.io, "Gateway").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Labels of the gateway workloads, in any namespace; never empty.
    pub selector: Labels,
    /// What they serve; never empty.
    pub servers: Vec<Server>,
}

/// One port with its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is written.
    pub at: Position,
    pub name: Option<String>,
    pub port: u16,
    pub port_name: String,
    /// What the port speaks.
    pub protocol: Protocol,
    /// Address to listen on instead of all.
    pub bind: Option<String>,
    /// Hosts; never empty.
    pub hosts: Vec<ServerHost>,
    /// TLS; always there for HTTPS and TLS.
    pub tls: Option<ServerTls>,
    /// It asks for a protection that this mesh does not have, so that it may not be served.
    pub closed: bool,
}

/// `host` or `namespace/host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHost {
    /// Namespaces whose VirtualServices may bind; `All` where not said.
    pub namespace: NamespaceScope,
    /// Name, `*`, or `*.suffix`.
    pub host: String,
}

/// TLS of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Where it is written.
    pub at: Position,
    /// Answer plain HTTP with a redirect to HTTPS.
    pub https_redirect: bool,
    /// Terminate or pass through.
    pub mode: ServerTlsMode,
    /// Secret with certificate and key.
    pub credential_name: Option<String>,
    pub server_certificate: Option<String>,
    pub private_key: Option<String>,
    /// CA file for client certificates.
    pub ca_certificates: Option<String>,
    /// Names, one of which a client's certificate must have.
    pub subject_alt_names: Vec<String>,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

/// `tls.mode` of a Gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTlsMode {
    /// By SNI, not terminated.
    Passthrough,
    /// Terminated, no client certificate.
    Simple,
    /// Terminated, client certificate required.
    Mutual,
    IstioMutual,
}

/// A TLS version that this mesh speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2.
    V1_2,
    /// 1.3.
    V1_3,
}
