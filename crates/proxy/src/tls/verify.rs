//! Checking a peer's certificate: the chain by webpki, the names by the context's matchers.
//!
//! webpki knows nothing of URI names, so a SPIFFE peer is checked in two steps that both must hold.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, OtherError};
use weft_base::verify::{ClientRule, ServerRule, Shown};

use super::anchor::{self, Roots, Side};
use super::names;
use crate::model::tls::SanMatcher;

/// What a server's certificate must satisfy.
#[derive(Debug)]
pub(crate) struct ServerRules {
    /// Roots its chain must end in; `None` accepts any chain, as Envoy does without `trusted_ca`.
    pub roots: Option<Roots>,
    /// One of its names must match one of these, where there are any.
    pub names: Vec<SanMatcher>,
    /// It must be valid for the server name sent, instead of those names; where none is sent, for the address and those names.
    pub check_server_name: bool,
}

/// What a client's certificate must satisfy.
#[derive(Debug)]
pub(crate) struct ClientRules {
    /// Roots its chain must end in, and who checks that; `None` accepts any.
    pub chain: Option<(Roots, Arc<dyn ClientCertVerifier>)>,
    /// One of its names must match one of these, where there are any.
    pub names: Vec<SanMatcher>,
    /// A client without a certificate is refused.
    pub required: bool,
}

/// A certificate whose chain is good but which belongs to somebody else.
#[derive(Debug, thiserror::Error)]
#[error("certificate has none of the allowed names, it has: {found}")]
struct NameNotAllowed {
    found: String,
}

// === impl ServerRules ===

impl ServerRule for ServerRules {
    fn check(&self, shown: Shown<'_>, name: &ServerName<'_>) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(shown.leaf)?;
        if let Some(roots) = &self.roots {
            if roots.hold(shown.leaf) {
                anchor::check(shown.leaf, Side::Server, shown.now)?;
            } else {
                shown.ends_in(&parsed, &roots.store)?;
            }
        }
        if self.check_server_name {
            verify_server_name(&parsed, name)?;
            if matches!(name, ServerName::DnsName(_)) {
                return Ok(());
            }
        }
        check_names(&self.names, shown.leaf)
    }
}

// === impl ClientRules ===

impl ClientRule for ClientRules {
    fn is_required(&self) -> bool {
        self.required
    }

    fn check(&self, shown: Shown<'_>) -> Result<(), Error> {
        if let Some((roots, chain)) = &self.chain {
            if roots.hold(shown.leaf) {
                anchor::check(shown.leaf, Side::Client, shown.now)?;
                return check_names(&self.names, shown.leaf);
            }
            chain.verify_client_cert(shown.leaf, shown.intermediates, shown.now)?;
        }
        check_names(&self.names, shown.leaf)
    }
}

fn check_names(allowed: &[SanMatcher], certificate: &CertificateDer<'_>) -> Result<(), Error> {
    if allowed.is_empty() {
        return Ok(());
    }
    let refuse = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::from(error))))
    };
    let sans = names::subject_alt_names(certificate).map_err(|error| refuse(Box::new(error)))?;
    if names::any_matches(allowed, &sans) {
        return Ok(());
    }
    let found = sans.iter().map(|san| san.text.as_ref()).collect::<Vec<_>>().join(", ");
    Err(refuse(Box::new(NameNotAllowed { found })))
}
