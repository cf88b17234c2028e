//! What is known of one accepted connection, for routing, policy, logs and metrics.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use tokio::time::Instant;
use weft_base::identity::SpiffeId;

use super::identity::Identity;
use crate::journal::{Journal, Whose};
use crate::model::listener::Direction;
use crate::model::metadata::WorkloadRef;
use crate::model::tls::TlsVersion;

/// Facts of a downstream connection; fixed once its filter chain was chosen.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Unique within the process.
    pub id: u64,
    /// Listener that took it.
    pub listener: Arc<str>,
    /// Which side of the workload the listener serves.
    pub direction: Direction,
    /// Filter chain, empty where unnamed.
    pub filter_chain: Arc<str>,
    /// Local address; the original destination where the listener asks for that.
    pub local_addr: SocketAddr,
    /// The peer of the socket (or of the PROXY protocol header).
    pub remote_addr: SocketAddr,
    /// The peer of the socket itself.
    pub direct_remote_addr: SocketAddr,
    /// Where the client meant to go, where capture tells.
    pub original_dst: Option<SocketAddr>,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// Server name of the ClientHello.
    pub server_name: Option<Arc<str>>,
    /// TLS facts; `None` is plaintext.
    pub tls: Option<TlsInfo>,
    /// URI names of both certificates, for metrics.
    pub identity: Option<Rc<Identity>>,
    /// Whom the client's proxy says that it is.
    pub told: Told,
    /// What is said of it, where that is wanted.
    pub journal: Journal,
}

/// What the client's proxy told last, and who that is: it tells the same with every request.
#[derive(Clone, Debug, Default)]
pub struct Told(RefCell<Option<(HeaderValue, Option<Arc<WorkloadRef>>)>>);

/// Facts of a downstream TLS session.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    pub version: TlsVersion,
    /// Cipher suite, OpenSSL's or the standard's name.
    pub cipher: &'static str,
    /// ALPN protocol agreed on.
    pub alpn: Option<Arc<str>>,
    /// URI name of our own certificate.
    pub local_uri_san: Option<Arc<str>>,
    /// The peer's certificate, where it sent one and it was verified.
    pub peer: Option<PeerCertificate>,
}

/// What a verified client certificate says.
#[derive(Clone, Debug, Default)]
pub struct PeerCertificate {
    /// Mesh identity, where the certificate has exactly one URI name of that form.
    pub identity: Option<SpiffeId>,
    pub uri_sans: Vec<Arc<str>>,
    pub dns_sans: Vec<Arc<str>>,
    /// Subject in RFC 2253 form.
    pub subject: Arc<str>,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub sha256: Arc<str>,
    /// The certificate itself (X.509 in DER).
    pub der: Arc<[u8]>,
}

// === impl ConnectionInfo ===

impl ConnectionInfo {
    /// Whether both sides proved who they are.
    pub fn is_mutual_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.peer.is_some())
    }

    /// The verified mesh identity of the peer.
    pub fn peer_identity(&self) -> Option<&SpiffeId> {
        self.tls.as_ref()?.peer.as_ref()?.identity.as_ref()
    }
}

impl<'a> From<&'a ConnectionInfo> for Whose<'a> {
    fn from(info: &'a ConnectionInfo) -> Self {
        Self {
            connection: info.id,
            listener: &info.listener,
            peer: info.remote_addr,
        }
    }
}

// === impl Told ===

impl Told {
    /// The workload that a peer metadata header is about; `decode` is asked where it is not the header of the time before.
    pub fn workload(
        &self,
        header: &HeaderValue,
        decode: impl FnOnce(&HeaderValue) -> Option<Arc<WorkloadRef>>,
    ) -> Option<Arc<WorkloadRef>> {
        let mut told = self.0.borrow_mut();
        if let Some((_, workload)) = told.as_ref().filter(|(known, _)| known == header) {
            return workload.clone();
        }
        let workload = decode(header);
        *told = Some((header.clone(), workload.clone()));
        workload
    }
}
