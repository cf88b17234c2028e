//! Reading a certificate signing request. Only its public key is ever used.

use rcgen::{PublicKeyData, SignatureAlgorithm, SubjectPublicKeyInfo};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use x509_parser::public_key::PublicKey;

/// Largest request in bytes; an RSA 4096 request with many names has about 3 KB.
const CSR_BYTES_MAX: usize = 16 << 10;

/// Smallest RSA modulus in bits.
const RSA_BITS_MIN: usize = 2048;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Too many bytes.
    #[error("certificate request has {0} bytes, at most {CSR_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// Not a PEM request.
    #[error("certificate request is not PEM of type CERTIFICATE REQUEST: {0}")]
    Pem(String),
    /// Not a PKCS #10 request.
    #[error("certificate request cannot be parsed: {0}")]
    Der(String),
    /// The requester does not have the private key.
    #[error("certificate request is not signed by its own key")]
    Signature,
    /// The key is too weak or of an unknown kind.
    #[error("public key is not accepted: {0}")]
    Key(String),
}

/// The public key of a request whose signature proves that the requester holds the private key.
pub fn public_key(pem: &str) -> Result<SubjectPublicKeyInfo, CsrError> {
    if pem.len() > CSR_BYTES_MAX {
        return Err(CsrError::TooLarge(pem.len()));
    }
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|error| CsrError::Pem(error.to_string()))?;
    if !matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return Err(CsrError::Pem(format!("it is a {}", block.label)));
    }
    let parsed = X509CertificationRequest::from_der(&block.contents);
    let (rest, request) = parsed.map_err(|error| CsrError::Der(error.to_string()))?;
    if !rest.is_empty() {
        return Err(CsrError::Der("bytes follow the request".to_owned()));
    }
    strong_enough(&request)?;
    let raw = request.certification_request_info.subject_pki.raw;
    verify_signature(&request)?;
    SubjectPublicKeyInfo::from_der(raw).map_err(|error| CsrError::Key(error.to_string()))
}

fn strong_enough(request: &X509CertificationRequest<'_>) -> Result<(), CsrError> {
    let key = request.certification_request_info.subject_pki.parsed();
    match key.map_err(|error| CsrError::Key(error.to_string()))? {
        PublicKey::RSA(rsa) if rsa.key_size() < RSA_BITS_MIN => Err(CsrError::Key(format!(
            "RSA of {} bits, at least {RSA_BITS_MIN} are needed",
            rsa.key_size()
        ))),
        PublicKey::RSA(_) | PublicKey::EC(_) => Ok(()),
        PublicKey::DSA(_) | PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_) | PublicKey::Unknown(_) => {
            Err(CsrError::Key("only RSA and ECDSA are supported".to_owned()))
        }
    }
}

/// Checks proof of possession with the algorithm that the request names.
fn verify_signature(request: &X509CertificationRequest<'_>) -> Result<(), CsrError> {
    use aws_lc_rs::signature as algorithms;
    let named = request.signature_algorithm.algorithm.to_id_string();
    let key = &request.certification_request_info.subject_pki;
    let curve = key
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok());
    let p384 = curve.is_some_and(|curve| curve.to_id_string() == "1.3.132.0.34");
    let algorithm: &dyn algorithms::VerificationAlgorithm = match (named.as_str(), p384) {
        ("1.2.840.10045.4.3.2", false) => &algorithms::ECDSA_P256_SHA256_ASN1,
        ("1.2.840.10045.4.3.2", true) => &algorithms::ECDSA_P384_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", false) => &algorithms::ECDSA_P256_SHA384_ASN1,
        ("1.2.840.10045.4.3.3", true) => &algorithms::ECDSA_P384_SHA384_ASN1,
        ("1.2.840.113549.1.1.11", _) => &algorithms::RSA_PKCS1_2048_8192_SHA256,
        ("1.2.840.113549.1.1.12", _) => &algorithms::RSA_PKCS1_2048_8192_SHA384,
        ("1.2.840.113549.1.1.13", _) => &algorithms::RSA_PKCS1_2048_8192_SHA512,
        (other, _) => return Err(CsrError::Key(format!("signature algorithm {other} is not supported"))),
    };
    let message = request.certification_request_info.raw;
    let public = algorithms::UnparsedPublicKey::new(algorithm, &key.subject_public_key.data);
    public
        .verify(message, &request.signature_value.data)
        .map_err(|_| CsrError::Signature)
}

/// The signature algorithm of certificates signed with P-256, as the authority's are.
pub fn authority_algorithm() -> &'static SignatureAlgorithm {
    &rcgen::PKCS_ECDSA_P256_SHA256
}

/// Whether two keys are the same, by their encoded form.
pub fn same_key(a: &impl PublicKeyData, b: &impl PublicKeyData) -> bool {
    a.subject_public_key_info() == b.subject_public_key_info()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn the_key_comes_out() {
        let key = KeyPair::generate().unwrap();
        let pem = CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap();
        assert!(same_key(&public_key(&pem).unwrap(), &key));
    }

    #[test]
    fn broken_requests_are_refused() {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let pem = request.pem().unwrap();
        assert!(matches!(public_key(""), Err(CsrError::Pem(_))));
        assert!(matches!(
            public_key(&pem.replace("CERTIFICATE REQUEST", "CERTIFICATE")),
            Err(CsrError::Pem(_))
        ));
        assert!(matches!(
            public_key(&"x".repeat(100_000)),
            Err(CsrError::TooLarge(100_000))
        ));
        let mut der = request.der().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        let forged = x509_pem(&der);
        assert_eq!(public_key(&forged).unwrap_err(), CsrError::Signature);
        assert!(matches!(public_key(&x509_pem(&der[..40])), Err(CsrError::Der(_))));
    }

    fn x509_pem(der: &[u8]) -> String {
        use base64::Engine;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
    }
}
