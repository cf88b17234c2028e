//! Signing: a pure function of the caller's identity, the public key, the time and a random serial number.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use weft_base::identity::{SpiffeId, TrustDomain};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::csr::authority_algorithm;

/// Lifetime of workload certificates where the caller asks for none (Istio: `DEFAULT_WORKLOAD_CERT_TTL`).
pub(crate) const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Longest lifetime of a workload certificate (Istio: `MAX_WORKLOAD_CERT_TTL`, 90 days).
pub(crate) const LEAF_LIFETIME_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

/// Lifetime of a self-signed root: ten years.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Certificates begin this much earlier, for clocks that are behind.
const BACK_DATING: Duration = Duration::from_secs(120);

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// The root is over; nothing that it signs would be accepted.
    #[error("the root certificate expired at {0}")]
    RootExpired(OffsetDateTime),
    /// The library refused.
    #[error("cannot sign: {0}")]
    Sign(#[from] rcgen::Error),
    /// The root cannot be read.
    #[error("root certificate is unusable: {0}")]
    Root(String),
}

/// An issuing certificate with its key: the root itself, or an intermediate below it.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    intermediates: Vec<String>,
    not_after: OffsetDateTime,
}

/// What is asked to be signed.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// Who the certificate is for, as authentication found.
    pub id: &'a SpiffeId,
    /// DNS names beside the identity; only the authority's own servers have any.
    pub dns_names: &'a [String],
    pub public_key: &'a SubjectPublicKeyInfo,
    /// Lifetime asked for; zero takes the default.
    pub lifetime: Duration,
}

// === impl Authority ===

impl Authority {
    /// Makes a self-signed root. Returns its key in PEM beside it.
    pub(crate) fn self_signed(
        trust_domain: &TrustDomain,
        now: SystemTime,
        serial: u128,
    ) -> Result<(Self, String), SignError> {
        let key = KeyPair::generate_for(authority_algorithm())?;
        let key_pem = key.serialize_pem();
        let mut params = base_params(now, now + ROOT_LIFETIME, serial);
        params
            .distinguished_name
            .push(DnType::OrganizationName, trust_domain.as_str());
        params.distinguished_name.push(DnType::CommonName, "Weft root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let root_pem = params.self_signed(&key)?.pem();
        Ok((Self::from_pem(root_pem, &key_pem)?, key_pem))
    }

    /// Takes a root from PEM.
    pub(crate) fn from_pem(root_pem: String, key_pem: &str) -> Result<Self, SignError> {
        let certificates = weft_base::tls::certificates(root_pem.as_bytes());
        let certificates = certificates.map_err(|error| SignError::Root(error.to_string()))?;
        let (issuer, not_after) = issuer(&certificates[0], key_pem)?;
        Ok(Self {
            issuer,
            root_pem,
            intermediates: Vec::new(),
            not_after,
        })
    }

    /// Takes an authority that somebody else made: its certificate and key, the certificates between it and the root (with
    /// or without the two ends), and the root.
    pub(crate) fn plugged_in(
        cert_pem: &str,
        key_pem: &str,
        chain_pem: &str,
        root_pem: String,
    ) -> Result<Self, SignError> {
        let read = |pem: &str| {
            let certificates = weft_base::tls::certificates(pem.as_bytes());
            certificates.map_err(|error| SignError::Root(error.to_string()))
        };
        let roots = read(&root_pem)?;
        let own = read(cert_pem)?.swap_remove(0);
        let (issuer, mut not_after) = issuer(&own, key_pem)?;
        let mut chain = vec![own];
        if !chain_pem.trim().is_empty() {
            for certificate in read(chain_pem)? {
                if !chain.contains(&certificate) {
                    chain.push(certificate);
                }
            }
        }
        chain.retain(|certificate| !roots.contains(certificate));
        let parse = |der: &'_ [u8]| -> Result<(String, String, OffsetDateTime), SignError> {
            let (_, parsed) = X509Certificate::from_der(der).map_err(|error| SignError::Root(error.to_string()))?;
            let not_after = parsed.validity().not_after.to_datetime();
            Ok((parsed.issuer().to_string(), parsed.subject().to_string(), not_after))
        };
        // Each certificate is issued by the next one, the last by one of the roots.
        let mut signers = Vec::new();
        for certificate in chain.iter().skip(1).chain(&roots) {
            signers.push(parse(certificate)?);
        }
        for (i, certificate) in chain.iter().enumerate() {
            let (issuer, subject, until) = parse(certificate)?;
            not_after = not_after.min(until);
            let last = i + 1 == chain.len();
            let candidates = if last { &signers[i..] } else { &signers[i..=i] };
            if !candidates.iter().any(|(_, signer, _)| *signer == issuer) {
                return Err(SignError::Root(format!(
                    "the chain is broken: {subject:?} is issued by {issuer:?}, which does not follow"
                )));
            }
        }
        let until = roots.iter().map(|root| parse(root).map(|(_, _, until)| until));
        let until = until.collect::<Result<Vec<_>, _>>()?.into_iter().max();
        Ok(Self {
            issuer,
            intermediates: chain.iter().map(|der| pem_of(der)).collect(),
            root_pem,
            not_after: until.map_or(not_after, |until| not_after.min(until)),
        })
    }

    /// The certificates between a leaf and the root, in PEM, the issuing one first; none below a root itself.
    pub(crate) fn intermediates(&self) -> &[String] {
        &self.intermediates
    }

    /// The root in PEM.
    pub(crate) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// When the root is over.
    pub(crate) fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// Signs a leaf. Everything in it comes from the order; it never outlives the root.
    pub(crate) fn sign(&self, order: &Order<'_>, now: SystemTime, serial: u128) -> Result<String, SignError> {
        if OffsetDateTime::from(now) >= self.not_after {
            return Err(SignError::RootExpired(self.not_after));
        }
        let lifetime = if order.lifetime.is_zero() {
            LEAF_LIFETIME
        } else {
            order.lifetime.min(LEAF_LIFETIME_MAX)
        };
        let mut params = base_params(now, now + lifetime, serial);
        params.not_after = params.not_after.min(self.not_after);
        let mut names = vec![SanType::URI(order.id.to_string().try_into()?)];
        for name in order.dns_names {
            names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(order.public_key, &self.issuer)?.pem())
    }
}

/// A certificate that may sign, with its key and its end.
fn issuer(
    certificate: &CertificateDer<'_>,
    key_pem: &str,
) -> Result<(Issuer<'static, KeyPair>, OffsetDateTime), SignError> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|error| SignError::Root(error.to_string()))?;
    if !parsed.is_ca() {
        return Err(SignError::Root(
            "it may not sign certificates (basicConstraints CA is not set)".to_owned(),
        ));
    }
    let not_after = parsed.validity().not_after.to_datetime();
    let key = KeyPair::from_pem(key_pem)?;
    if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
        return Err(SignError::Root(
            "the key file belongs to another certificate".to_owned(),
        ));
    }
    Ok((Issuer::from_ca_cert_der(certificate, key)?, not_after))
}

/// A certificate in PEM (RFC 7468, section 5).
fn pem_of(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

fn base_params(now: SystemTime, until: SystemTime, serial: u128) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = OffsetDateTime::from(now - BACK_DATING);
    params.not_after = OffsetDateTime::from(until);
    params.key_identifier_method = KeyIdMethod::Sha256;
    // Positive and at most 20 octets (RFC 5280, section 4.1.2.2).
    params.serial_number = Some(SerialNumber::from_slice(&(serial >> 1).to_be_bytes()));
    params
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData;
    use x509_parser::extensions::GeneralName;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn leaf_of(lifetime: Duration, at: SystemTime) -> Result<Vec<u8>, SignError> {
        let start = NOW + Duration::from_secs(1_800_000_000);
        let (authority, key_pem) = Authority::self_signed(&TrustDomain::default(), start, 1).unwrap();
        let authority = Authority::from_pem(authority.root_pem().to_owned(), &key_pem).unwrap();
        let key = KeyPair::generate().unwrap();
        let public_key = SubjectPublicKeyInfo::from_der(&key.subject_public_key_info()).unwrap();
        let id = "spiffe://cluster.local/ns/default/sa/a".parse().unwrap();
        let order = Order {
            id: &id,
            dns_names: &[],
            public_key: &public_key,
            lifetime,
        };
        let pem = authority.sign(&order, start + at.duration_since(NOW).unwrap(), u128::MAX)?;
        Ok(weft_base::tls::certificates(pem.as_bytes()).unwrap()[0].to_vec())
    }

    #[test]
    fn a_leaf_has_what_the_authority_says() {
        let der = leaf_of(Duration::ZERO, NOW).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        assert!(!leaf.is_ca());
        let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert!(matches!(
            names.as_slice(),
            [GeneralName::URI("spiffe://cluster.local/ns/default/sa/a")]
        ));
        let lifetime = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
        assert_eq!(lifetime, 24 * 3600 + 120);
        assert!(leaf.raw_serial().len() <= 20 && leaf.raw_serial()[0] < 0x80);
    }

    #[test]
    fn a_leaf_never_outlives_its_root() {
        let late = NOW + ROOT_LIFETIME - Duration::from_secs(60);
        let der = leaf_of(LEAF_LIFETIME_MAX * 2, late).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(
            leaf.validity().not_after.timestamp(),
            1_800_000_000 + ROOT_LIFETIME.as_secs() as i64
        );
        assert!(matches!(
            leaf_of(Duration::ZERO, NOW + ROOT_LIFETIME),
            Err(SignError::RootExpired(_))
        ));
    }

    #[test]
    fn a_plugged_in_authority_signs_below_its_root() {
        let start = NOW + Duration::from_secs(1_800_000_000);
        let (root, _) = Authority::self_signed(&TrustDomain::default(), start, 1).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = base_params(start, start + Duration::from_secs(3600), 5);
        params.distinguished_name.push(DnType::CommonName, "intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let cert = params.signed_by(&key, &root.issuer).unwrap().pem();
        let (key_pem, root_pem) = (key.serialize_pem(), root.root_pem().to_owned());
        for chain in [String::new(), cert.clone(), format!("{cert}{root_pem}")] {
            let authority = Authority::plugged_in(&cert, &key_pem, &chain, root_pem.clone()).unwrap();
            assert_eq!(authority.intermediates().len(), 1, "{chain}");
            assert_eq!(authority.root_pem(), root_pem);
            // The leaf ends with the intermediate, not a day later.
            assert_eq!(authority.not_after().unix_timestamp(), 1_800_003_600);
            let own = weft_base::tls::certificates(authority.intermediates()[0].as_bytes()).unwrap();
            assert_eq!(own, weft_base::tls::certificates(cert.as_bytes()).unwrap());
        }
        let (other, _) = Authority::self_signed(&"other.example".parse().unwrap(), start, 2).unwrap();
        let error = Authority::plugged_in(&cert, &key_pem, "", other.root_pem().to_owned());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("the chain is broken"), "{error}");
    }

    #[test]
    fn a_root_and_key_that_do_not_fit_are_refused() {
        let (a, _) = Authority::self_signed(&TrustDomain::default(), NOW, 1).unwrap();
        let (_, key) = Authority::self_signed(&TrustDomain::default(), NOW, 2).unwrap();
        let error = Authority::from_pem(a.root_pem().to_owned(), &key)
            .unwrap_err()
            .to_string();
        assert!(error.contains("another certificate"), "{error}");
    }
}
