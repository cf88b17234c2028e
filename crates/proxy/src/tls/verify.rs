//! Checking a peer's certificate: the chain by webpki, the names by the context's matchers.
//!
//! webpki knows nothing of URI names, so a SPIFFE peer is checked in two steps that both must hold.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::names;
use crate::model::tls::SanMatcher;

/// What a server's certificate must satisfy.
#[derive(Debug)]
pub struct ServerRules {
    /// Roots its chain must end in; `None` accepts any chain, as Envoy does without `trusted_ca`.
    pub roots: Option<Arc<RootCertStore>>,
    /// One of its names must match one of these, where there are any.
    pub names: Vec<SanMatcher>,
    /// It must be valid for the server name sent.
    pub check_server_name: bool,
    /// Signature algorithms.
    pub provider: Arc<CryptoProvider>,
}

/// What a client's certificate must satisfy.
#[derive(Debug)]
pub struct ClientRules {
    /// Checks the chain; `None` accepts any.
    pub chain: Option<Arc<dyn ClientCertVerifier>>,
    /// One of its names must match one of these, where there are any.
    pub names: Vec<SanMatcher>,
    /// A client without a certificate is refused.
    pub required: bool,
    /// Signature algorithms.
    pub provider: Arc<CryptoProvider>,
}

/// A certificate whose chain is good but which belongs to somebody else.
#[derive(Debug, thiserror::Error)]
#[error("certificate has none of the allowed names, it has: {found}")]
struct NameNotAllowed {
    found: String,
}

// === impl ServerRules ===

impl ServerCertVerifier for ServerRules {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if let Some(roots) = &self.roots {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        }
        if self.check_server_name {
            verify_server_name(&parsed, server_name)?;
        }
        check_names(&self.names, end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

// === impl ClientRules ===

impl ClientCertVerifier for ClientRules {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Mesh roots have no telling subjects, and hints only cost bytes.
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        check_names(&self.names, end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
