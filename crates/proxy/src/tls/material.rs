//! Key material in rustls' form, parsed once per change.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::anchor::Roots;
use super::names;
use crate::model::secret::{DataSource, Secret};
use crate::model::tls::SanKind;

/// Why PEM bytes are not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MaterialError {
    /// The chain has no certificate or is malformed.
    #[error("certificate chain: {0}")]
    Chain(String),
    /// The key is missing, malformed or of a kind that TLS cannot use.
    #[error("private key: {0}")]
    Key(String),
    /// Key and leaf do not belong together.
    #[error("the private key is not that of the certificate")]
    Mismatch,
    /// The bundle has no usable root.
    #[error("trust bundle: {0}")]
    Roots(String),
}

/// A certificate with its key, ready to sign, and the names it serves.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// Chain and signer.
    pub key: Arc<CertifiedKey>,
    /// DNS names, lower case, for choosing among several by server name.
    pub dns_names: Vec<Arc<str>>,
    /// The first URI name: the workload's identity in a mesh.
    pub uri_san: Option<Arc<str>>,
}

/// Parses a PEM chain and its key.
pub(crate) fn certificate(chain_pem: &[u8], key_pem: &[u8]) -> Result<Certificate, MaterialError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|error| MaterialError::Chain(error.to_string()))?;
    let Some(leaf) = chain.first() else {
        return Err(MaterialError::Chain("no CERTIFICATE block".to_owned()));
    };
    let sans = names::subject_alt_names(leaf).map_err(|error| MaterialError::Chain(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| MaterialError::Key(error.to_string()))?;
    let signer = any_supported_type(&key).map_err(|error| MaterialError::Key(error.to_string()))?;
    let of = |kind| sans.iter().filter(move |san| san.kind == kind);
    let dns_names = of(SanKind::Dns)
        .map(|san| Arc::from(san.text.to_ascii_lowercase()))
        .collect();
    let uri_san = of(SanKind::Uri).map(|san| san.text.clone()).next();
    let key = CertifiedKey::new(chain, signer);
    match key.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(_) => return Err(MaterialError::Mismatch),
    }
    Ok(Certificate {
        key: Arc::new(key),
        dns_names,
        uri_san,
    })
}

/// Whether a secret can be used as far as it is inline; what files hold is read when it is used.
pub(crate) fn check(secret: &Secret) -> Result<(), MaterialError> {
    match secret {
        Secret::Certificate {
            chain: DataSource::Inline(chain),
            key: DataSource::Inline(key),
        } => certificate(chain, key).map(drop),
        Secret::Validation {
            roots: DataSource::Inline(pem),
        } => roots(pem).map(drop),
        Secret::Certificate { .. } | Secret::Validation { .. } => Ok(()),
    }
}

/// Parses a PEM bundle of roots. A bundle with one unusable certificate is refused whole: it would trust less than was meant.
pub(crate) fn roots(pem: &[u8]) -> Result<Roots, MaterialError> {
    let mut store = RootCertStore::empty();
    let mut certificates = Vec::new();
    for root in CertificateDer::pem_slice_iter(pem) {
        let root = root.map_err(|error| MaterialError::Roots(error.to_string()))?;
        store
            .add(root.clone())
            .map_err(|error| MaterialError::Roots(error.to_string()))?;
        certificates.push(root);
    }
    if store.is_empty() {
        return Err(MaterialError::Roots("no CERTIFICATE block".to_owned()));
    }
    Ok(Roots::new(store, certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_certificate_must_fit() {
        let a = rcgen::generate_simple_self_signed(["A.example".to_owned()]).unwrap();
        let b = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
        let chain = a.cert.pem();
        let good = certificate(chain.as_bytes(), a.signing_key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(good.dns_names, [Arc::from("a.example")]);
        let wrong = certificate(chain.as_bytes(), b.signing_key.serialize_pem().as_bytes()).unwrap_err();
        assert_eq!(wrong, MaterialError::Mismatch);
        assert!(matches!(certificate(b"", b""), Err(MaterialError::Chain(_))));
        assert!(matches!(
            certificate(chain.as_bytes(), b"x"),
            Err(MaterialError::Key(_))
        ));
        assert_eq!(roots(chain.as_bytes()).unwrap().store.len(), 1);
        assert!(matches!(roots(b"nothing"), Err(MaterialError::Roots(_))));
    }
}
