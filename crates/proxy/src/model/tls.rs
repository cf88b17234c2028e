//! TLS contexts of listeners and clusters.

use std::sync::Arc;

use super::matcher::StringMatcher;
use super::secret::{CertificateSource, DataSource, SdsRef};

/// TLS protocol versions the proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// What both directions share (Envoy `CommonTlsContext`).
#[derive(Clone, Debug)]
pub struct TlsCommon {
    /// Own certificates; several are chosen by SNI, the first is the default.
    pub certificates: Vec<CertificateSource>,
    /// How the peer is checked; `None` does not check it.
    pub validation: Option<Validation>,
    /// ALPN protocols, most wanted first.
    pub alpn: Vec<Arc<str>>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
}

/// How a peer's certificate is checked.
#[derive(Clone, Debug)]
pub struct Validation {
    /// Trust roots; `None` trusts any chain (Envoy without `trusted_ca`), the names are then still matched.
    pub roots: Option<RootSource>,
    /// The peer must have a subject alternative name that matches one of these; empty asks for none.
    pub subject_alt_names: Vec<SanMatcher>,
}

/// Where trust roots come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// A PEM bundle.
    Static(DataSource),
    /// A named validation secret.
    Sds(SdsRef),
    /// The machine's own roots.
    System,
}

/// A match on one subject alternative name.
#[derive(Clone, Debug)]
pub struct SanMatcher {
    /// Which kind of name.
    pub kind: SanKind,
    pub matcher: StringMatcher,
}

/// Kinds of subject alternative names (RFC 5280, section 4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    Dns,
    /// uniformResourceIdentifier, as SPIFFE uses.
    Uri,
    /// An iPAddress as it is printed.
    Ip,
    /// rfc822Name.
    Email,
}

/// TLS towards clients (Envoy `DownstreamTlsContext`).
#[derive(Clone, Debug)]
pub struct DownstreamTls {
    /// Certificates, validation, ALPN, versions.
    pub common: TlsCommon,
    /// A client without a certificate is refused.
    pub require_client_certificate: bool,
}

/// TLS towards upstreams (Envoy `UpstreamTlsContext`).
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Certificates, validation, ALPN, versions.
    pub common: TlsCommon,
    /// Server name to send; `None` sends none.
    pub sni: Option<Arc<str>>,
    /// Send the endpoint's name as server name, where it has one.
    pub auto_host_sni: bool,
    /// The server's certificate must be valid for the server name sent, whatever other names it is to have.
    pub auto_sni_san_validation: bool,
}
