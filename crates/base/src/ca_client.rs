//! Asking the certificate authority for a workload certificate: key and request made here, signed there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::ClientConfig;
use rustls::client::Resumption;
use tonic::metadata::MetadataValue;
use weft_proto::istio_ca::IstioCertificateRequest;
use weft_proto::istio_ca::istio_certificate_service_client::IstioCertificateServiceClient;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::SpiffeId;
use crate::spiffe::{Allowed, identity_of, server_verifier};
use crate::workload::WorkloadIdentity;
use crate::{grpc_tls, tls};

/// Lifetime asked for; the authority may shorten it.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Longest wait for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest join token in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Where the authority is, and how a workload proves who it is.
#[derive(Clone, Debug)]
pub struct CaConfig {
    /// `host:port` of the authority.
    pub address: String,
    /// File with the roots that the authority's own certificate must end in.
    pub root_cert: PathBuf,
    /// File with the join token; read anew for each request.
    pub token_file: PathBuf,
    /// Who the workload is.
    pub id: SpiffeId,
}

/// Why no certificate was got.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Key material on disk is unusable.
    #[error(transparent)]
    Pem(#[from] tls::PemError),
    /// The token file cannot be used.
    #[error("cannot read join token {path}: {reason}")]
    Token { path: PathBuf, reason: String },
    /// The authority cannot be reached.
    #[error(transparent)]
    Connect(#[from] grpc_tls::ConnectError),
    #[error("certificate authority refused: {0}")]
    Refused(String),
    /// What it sent is not usable.
    #[error("certificate authority sent an unusable certificate: {0}")]
    Unusable(String),
    /// The request could not be made.
    #[error("cannot make a certificate request: {0}")]
    Request(String),
}

/// Gets a certificate. `current` is shown as client certificate where it is still valid, so that an expired join token does not end a
/// workload.
pub async fn request(config: &CaConfig, current: Option<&WorkloadIdentity>) -> Result<WorkloadIdentity, CaError> {
    let (csr, key_pem) = certificate_request(&config.id)?;
    let channel = grpc_tls::connect(&config.address, client_config(config, current)?).await?;
    let mut request = tonic::Request::new(IstioCertificateRequest {
        csr,
        validity_duration: i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX),
        metadata: None,
    });
    request.set_timeout(CALL_TIMEOUT);
    match read_token(config) {
        Ok(token) => {
            request.metadata_mut().insert("authorization", token);
        }
        Err(error) if current.is_none() => return Err(error),
        Err(error) => tracing::debug!(%error, "renewing by certificate alone"),
    }
    let mut client = IstioCertificateServiceClient::new(channel);
    let call = client.create_certificate(request);
    let answer = call
        .await
        .map_err(|status| CaError::Refused(format!("{}: {}", status.code(), status.message())))?;
    identity_from(&config.id, &answer.into_inner().cert_chain, key_pem)
}

fn certificate_request(id: &SpiffeId) -> Result<(String, String), CaError> {
    let failed = |error: rcgen::Error| CaError::Request(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let uri = id.to_string().try_into().map_err(failed)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    let csr = params
        .serialize_request(&key)
        .and_then(|csr| csr.pem())
        .map_err(failed)?;
    Ok((csr, key.serialize_pem()))
}

fn client_config(config: &CaConfig, current: Option<&WorkloadIdentity>) -> Result<Arc<ClientConfig>, CaError> {
    let roots = tls::roots(&tls::read_pem(&config.root_cert)?)?;
    let allowed = Allowed::TrustDomain(config.id.trust_domain().clone());
    client_tls(roots, allowed, current)
}

/// A client configuration that checks SPIFFE identities and shows `own` where there is one.
pub fn client_tls(
    roots: Arc<rustls::RootCertStore>,
    allowed: Allowed,
    own: Option<&WorkloadIdentity>,
) -> Result<Arc<ClientConfig>, CaError> {
    let failed = |error: rustls::Error| CaError::Request(error.to_string());
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(server_verifier(roots, allowed));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = tls::certificates(own.chain_pem.as_bytes())?;
            let key = tls::private_key(own.key_pem.as_bytes())?;
            builder.with_client_auth_cert(chain, key).map_err(failed)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn read_token(config: &CaConfig) -> Result<MetadataValue<tonic::metadata::Ascii>, CaError> {
    let failed = |reason: String| CaError::Token {
        path: config.token_file.clone(),
        reason,
    };
    let token = std::fs::read_to_string(&config.token_file).map_err(|error| failed(error.to_string()))?;
    let token = token.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(failed(format!("{} bytes are not a token", token.len())));
    }
    let value: Result<MetadataValue<_>, _> = format!("Bearer {token}").parse();
    let mut value = value.map_err(|_| failed("it has characters that a token cannot have".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Checks the chain that the authority sent: leaf first, root last, and the leaf is ours.
fn identity_from(id: &SpiffeId, chain: &[String], key_pem: String) -> Result<WorkloadIdentity, CaError> {
    let [leaf, .., root] = chain else {
        return Err(CaError::Unusable("the chain needs a leaf and a root".to_owned()));
    };
    let unusable = |error: &dyn std::fmt::Display| CaError::Unusable(error.to_string());
    let certificates = tls::certificates(leaf.as_bytes())?;
    let found = identity_of(&certificates[0]).map_err(|error| unusable(&error))?;
    if found != *id {
        return Err(CaError::Unusable(format!("it is for {found}, not for {id}")));
    }
    let (_, parsed) = X509Certificate::from_der(&certificates[0]).map_err(|error| unusable(&error))?;
    let time = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let validity = parsed.validity();
    let separated = |parts: &[String]| -> String { parts.iter().map(|pem| format!("{}\n", pem.trim_end())).collect() };
    Ok(WorkloadIdentity {
        id: found,
        chain_pem: separated(&chain[..chain.len() - 1]),
        key_pem,
        roots_pem: separated(std::slice::from_ref(root)),
        not_before: time(validity.not_before),
        not_after: time(validity.not_after),
    })
}
