//! The one TLS stack of every process: rustls on aws-lc, TLS 1.2 and above, and PEM parsing with telling errors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why key material is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is no certificate, or one is malformed.
    #[error("certificates: {0}")]
    Certificates(String),
    /// There is no key, or it is malformed.
    #[error("private key: {0}")]
    Key(String),
}

/// The crypto provider; every TLS configuration names it, so that no process-wide default is needed.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// Makes the provider the process's default, for libraries that ask for one. Calling it again changes nothing.
pub fn install_provider() {
    // An error says that one was installed before; it is the same, since no other is linked.
    let _ = CryptoProvider::install_default((*provider()).clone());
}

/// Reads a file of PEM.
pub fn read_pem(path: &Path) -> Result<Vec<u8>, PemError> {
    std::fs::read(path).map_err(|error| PemError::Read {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// All certificates of a PEM text, in order; at least one.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| PemError::Certificates(error.to_string()))?;
    if certificates.is_empty() {
        return Err(PemError::Certificates("no CERTIFICATE block".to_owned()));
    }
    Ok(certificates)
}

/// The private key of a PEM text.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| PemError::Key(error.to_string()))
}

/// A bundle of trust roots. One unusable certificate refuses the whole bundle.
pub fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, PemError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store
            .add(certificate)
            .map_err(|error| PemError::Certificates(error.to_string()))?;
    }
    Ok(Arc::new(store))
}
