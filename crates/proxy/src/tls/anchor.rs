//! Trust roots, and peers' certificates that are themselves among them.
//!
//! webpki takes no certificate of an authority for a peer's. OpenSSL does, and one that `openssl req -x509` makes is such a one: it is
//! trusted as it stands, with nobody else to vouch for it.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::certificate::X509Certificate;

use super::names;

/// Trust roots as chains end in them, and as they are.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    pub store: Arc<RootCertStore>,
    certificates: Arc<[CertificateDer<'static>]>,
}

/// Which side a certificate is shown by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

// === impl Roots ===

impl Roots {
    /// `certificates` are those that `store` was made of.
    pub(crate) fn new(store: RootCertStore, certificates: Vec<CertificateDer<'static>>) -> Self {
        Self {
            store: Arc::new(store),
            certificates: certificates.into(),
        }
    }

    /// Whether a certificate is one of the roots, to the byte.
    pub(crate) fn hold(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|root| **root == **certificate)
    }
}

/// Checks a certificate that is a root itself. It must be valid now, and for what it is used for: by its extended key usage and its key
/// usage, where it has any (RFC 5280, sections 4.2.1.3 and 4.2.1.12; OpenSSL's purposes `sslclient` and `sslserver`).
pub(crate) fn check(certificate: &CertificateDer<'_>, side: Side, now: UnixTime) -> Result<(), Error> {
    // Refuses what is critical and unknown.
    ParsedCertificate::try_from(certificate)?;
    let parsed = names::parse(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > parsed.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    if serves(&parsed, side).unwrap_or(false) {
        Ok(())
    } else {
        Err(CertificateError::InvalidPurpose.into())
    }
}

/// `None` where an extension cannot be read.
fn serves(certificate: &X509Certificate<'_>, side: Side) -> Option<bool> {
    let purpose = certificate.extended_key_usage().ok()?.is_none_or(|usage| match side {
        Side::Client => usage.value.client_auth,
        Side::Server => usage.value.server_auth,
    });
    let usage = certificate.key_usage().ok()?.is_none_or(|usage| {
        let usage = usage.value;
        let of_server = side == Side::Server && usage.key_encipherment();
        usage.digital_signature() || usage.key_agreement() || of_server
    });
    Some(purpose && usage)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

    use super::*;

    fn now() -> UnixTime {
        // 2030.
        UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000))
    }

    #[track_caller]
    fn check_with(edit: impl Fn(&mut CertificateParams), server: bool, client: bool) {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        edit(&mut params);
        let certificate: CertificateDer<'static> = params.self_signed(&KeyPair::generate().unwrap()).unwrap().into();
        for (side, expected) in [(Side::Server, server), (Side::Client, client)] {
            assert_eq!(check(&certificate, side, now()).is_ok(), expected, "{side:?}");
        }
    }

    #[test]
    fn a_root_serves_for_what_it_says() {
        use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, ServerAuth};
        use KeyUsagePurpose::{DigitalSignature, KeyCertSign, KeyEncipherment};
        check_with(|_| {}, true, true);
        check_with(|params| params.is_ca = IsCa::NoCa, true, true);
        check_with(|params| params.extended_key_usages = vec![ServerAuth], true, false);
        check_with(|params| params.extended_key_usages = vec![ClientAuth], false, true);
        check_with(|params| params.extended_key_usages = vec![CodeSigning], false, false);
        check_with(
            |params| params.key_usages = vec![KeyCertSign, DigitalSignature],
            true,
            true,
        );
        check_with(|params| params.key_usages = vec![KeyEncipherment], true, false);
        check_with(|params| params.key_usages = vec![KeyCertSign], false, false);
        check_with(
            |params| params.not_after = rcgen::date_time_ymd(2029, 1, 1),
            false,
            false,
        );
        check_with(
            |params| params.not_before = rcgen::date_time_ymd(2031, 1, 1),
            false,
            false,
        );
    }

    #[test]
    fn only_the_very_certificate_is_held() {
        let make = || {
            CertificateParams::new(vec!["a.example".to_owned()])
                .unwrap()
                .self_signed(&KeyPair::generate().unwrap())
                .unwrap()
        };
        let (one, other): (CertificateDer<'static>, CertificateDer<'static>) = (make().into(), make().into());
        let roots = Roots::new(RootCertStore::empty(), vec![one.clone()]);
        assert!(roots.hold(&one) && !roots.hold(&other));
    }
}
