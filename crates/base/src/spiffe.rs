//! Checking peers by SPIFFE identity: the chain by webpki, then the one URI name of the leaf.
//!
//! A certificate with several URI names, or that could sign others, is nobody's identity (X.509-SVID specification, section 5.2).

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{SpiffeId, TrustDomain};
use crate::tls;
use crate::verify::{ClientRule, ServerRule, Shown, Verifier};

/// Which identities are let in.
#[derive(Clone, Debug)]
pub enum Allowed {
    /// Any of the trust domain.
    TrustDomain(TrustDomain),
    Ids(Vec<SpiffeId>),
}

/// Why a certificate is not an identity that is let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// It cannot be parsed.
    #[error("certificate cannot be read: {0}")]
    Unreadable(String),
    /// It may sign others.
    #[error("certificate is one of an authority")]
    Authority,
    /// It has no URI name, or several.
    #[error("certificate has {0} URI names, an identity has exactly one")]
    UriNames(usize),
    /// Its URI name is not an identity of a mesh.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// It is somebody else.
    #[error("peer is {0}, which is not allowed here")]
    NotAllowed(SpiffeId),
}

/// Any server whose chain ends in the roots and whose identity is let in, whatever its DNS names.
#[derive(Debug)]
struct Servers {
    roots: Arc<RootCertStore>,
    allowed: Allowed,
}

/// Any client of which the same holds.
#[derive(Debug)]
struct Clients {
    chain: Arc<dyn ClientCertVerifier>,
    allowed: Allowed,
    required: bool,
}

/// Verifies servers whose chain ends in `roots` and whose identity is allowed.
pub fn server_verifier(roots: Arc<RootCertStore>, allowed: Allowed) -> Arc<dyn ServerCertVerifier> {
    Verifier::new(Servers { roots, allowed }, &tls::provider())
}

/// Verifies clients whose chain ends in `roots` and whose identity is allowed. Without `required` a client may have no certificate.
pub fn client_verifier(
    roots: Arc<RootCertStore>,
    allowed: Allowed,
    required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let chain = WebPkiClientVerifier::builder_with_provider(roots, tls::provider()).build();
    let clients = Clients {
        chain: chain.map_err(|error| Error::General(error.to_string()))?,
        allowed,
        required,
    };
    Ok(Verifier::new(clients, &tls::provider()))
}

/// The identity of a leaf certificate.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Result<SpiffeId, SpiffeError> {
    let unreadable = |reason: &dyn fmt::Display| SpiffeError::Unreadable(reason.to_string());
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| unreadable(&error))?;
    if parsed.is_ca() {
        return Err(SpiffeError::Authority);
    }
    let names = parsed.subject_alternative_name().map_err(|error| unreadable(&error))?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| {
            if let GeneralName::URI(uri) = name {
                Some(*uri)
            } else {
                None
            }
        })
        .collect();
    match uris.as_slice() {
        [only] => Ok(only.parse()?),
        several => Err(SpiffeError::UriNames(several.len())),
    }
}

// === impl Allowed ===

impl Allowed {
    /// The identity of a certificate, if it is let in.
    pub fn check(&self, certificate: &CertificateDer<'_>) -> Result<SpiffeId, SpiffeError> {
        let id = identity_of(certificate)?;
        let fits = match self {
            Self::TrustDomain(domain) => id.trust_domain() == domain,
            Self::Ids(ids) => ids.contains(&id),
        };
        if fits { Ok(id) } else { Err(SpiffeError::NotAllowed(id)) }
    }
}

// === impl Servers ===

impl ServerRule for Servers {
    fn check(&self, shown: Shown<'_>, _name: &ServerName<'_>) -> Result<(), Error> {
        shown.ends_in(&ParsedCertificate::try_from(shown.leaf)?, &self.roots)?;
        self.allowed.check(shown.leaf).map_err(refuse)?;
        Ok(())
    }
}

// === impl Clients ===

impl ClientRule for Clients {
    fn is_required(&self) -> bool {
        self.required
    }

    fn check(&self, shown: Shown<'_>) -> Result<(), Error> {
        (self.chain).verify_client_cert(shown.leaf, shown.intermediates, shown.now)?;
        self.allowed.check(shown.leaf).map_err(refuse)?;
        Ok(())
    }
}

fn refuse(error: SpiffeError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str], ca: bool) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()))
            .collect();
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    #[test]
    fn exactly_one_uri_of_a_leaf_is_an_identity() {
        let id = "spiffe://cluster.local/ns/a/sa/b";
        let domain = Allowed::TrustDomain(TrustDomain::default());
        assert_eq!(domain.check(&certificate(&[id], false)).unwrap().to_string(), id);
        assert_eq!(domain.check(&certificate(&[id], true)), Err(SpiffeError::Authority));
        assert_eq!(
            domain.check(&certificate(&[id, "spiffe://x/ns/a/sa/b"], false)),
            Err(SpiffeError::UriNames(2))
        );
        assert_eq!(domain.check(&certificate(&[], false)), Err(SpiffeError::UriNames(0)));
        let other = domain.check(&certificate(&["spiffe://other/ns/a/sa/b"], false));
        assert!(matches!(other, Err(SpiffeError::NotAllowed(_))), "{other:?}");
        assert!(matches!(
            domain.check(&certificate(&["https://x"], false)),
            Err(SpiffeError::Identity(_))
        ));
        let ids = Allowed::Ids(vec![id.parse().unwrap()]);
        assert!(
            ids.check(&certificate(&["spiffe://cluster.local/ns/a/sa/c"], false))
                .is_err()
        );
    }

    #[test]
    fn garbage_is_unreadable() {
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert!(matches!(identity_of(&garbage), Err(SpiffeError::Unreadable(_))));
    }
}
