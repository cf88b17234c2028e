//! Verification of peers' certificates: a rule says which ones will do, and rustls proves that the peer has the key.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

/// The certificates that a peer shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The peer's own.
    pub leaf: &'a CertificateDer<'a>,
    /// Others that lead to a root, in any order.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The time at which they must be valid.
    pub now: UnixTime,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Which servers' certificates will do.
pub trait ServerRule: fmt::Debug + Send + Sync {
    /// Refuses a certificate by an error. `name` is the server name that was asked for.
    fn check(&self, shown: Shown<'_>, name: &ServerName<'_>) -> Result<(), Error>;
}

/// Which clients' certificates will do.
pub trait ClientRule: fmt::Debug + Send + Sync {
    /// Whether a client without a certificate is refused.
    fn is_required(&self) -> bool;

    /// Refuses a certificate by an error.
    fn check(&self, shown: Shown<'_>) -> Result<(), Error>;
}

/// Verifies servers or clients by a rule.
#[derive(Debug)]
pub struct Verifier<R> {
    rule: R,
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl Shown ===

impl Shown<'_> {
    /// Refuses a server's chain that does not end in one of the roots. `leaf` is [`Self::leaf`], read.
    pub fn ends_in(&self, leaf: &ParsedCertificate<'_>, roots: &RootCertStore) -> Result<(), Error> {
        verify_server_cert_signed_by_trust_anchor(leaf, roots, self.intermediates, self.now, self.algorithms.all)
    }
}

// === impl Verifier ===

impl<R> Verifier<R> {
    /// Verifies by `rule`, with the provider's algorithms.
    pub fn new(rule: R, provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self {
            rule,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    fn shown<'a>(
        &self,
        leaf: &'a CertificateDer<'a>,
        intermediates: &'a [CertificateDer<'a>],
        now: UnixTime,
    ) -> Shown<'a> {
        Shown {
            leaf,
            intermediates,
            now,
            algorithms: self.algorithms,
        }
    }
}

impl<R: ServerRule> ServerCertVerifier for Verifier<R> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.rule
            .check(self.shown(end_entity, intermediates, now), server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl<R: ClientRule> ClientCertVerifier for Verifier<R> {
    fn client_auth_mandatory(&self) -> bool {
        self.rule.is_required()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Mesh roots have no telling subjects, and hints only cost bytes.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.rule.check(self.shown(end_entity, intermediates, now))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
