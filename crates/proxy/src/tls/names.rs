//! The names that a certificate carries: subject, subject alternative names, fingerprint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::tls::{SanKind, SanMatcher};
use crate::stream_info::connection::PeerCertificate;

/// Why the names of a certificate could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate cannot be read: {0}")]
pub(crate) struct NamesError(String);

/// One subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct San {
    pub kind: SanKind,
    pub text: Arc<str>,
}

/// The subject alternative names of a certificate. Names with a NUL or of kinds that nothing matches are left out.
pub(crate) fn subject_alt_names(certificate: &CertificateDer<'_>) -> Result<Vec<San>, NamesError> {
    let parsed = parse(certificate)?;
    sans_of(&parsed)
}

/// Whether one of the names satisfies one of the matchers; true where there are no matchers.
pub(crate) fn any_matches(matchers: &[SanMatcher], sans: &[San]) -> bool {
    let fits = |matcher: &SanMatcher, san: &San| {
        matcher.kind == san.kind
            && (matcher.matcher.matches(&san.text) || (san.kind == SanKind::Dns && wildcard(matcher, &san.text)))
    };
    matchers.is_empty() || matchers.iter().any(|matcher| sans.iter().any(|san| fits(matcher, san)))
}

/// Everything a log, a header or a policy wants to know of a peer's certificate.
pub(crate) fn peer_certificate(certificate: &CertificateDer<'_>) -> Result<PeerCertificate, NamesError> {
    let parsed = parse(certificate)?;
    let sans = sans_of(&parsed)?;
    let of = |kind| {
        sans.iter()
            .filter(move |san| san.kind == kind)
            .map(|san| san.text.clone())
    };
    let uri_sans: Vec<Arc<str>> = of(SanKind::Uri).collect();
    let identity = match uri_sans.as_slice() {
        [only] => only.parse().ok(),
        _ => None,
    };
    let digest = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .map(|suite| suite.common.hash_provider.hash(certificate));
    let sha256: String = digest
        .iter()
        .flat_map(|digest| digest.as_ref().iter())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(PeerCertificate {
        identity,
        dns_sans: of(SanKind::Dns).collect(),
        uri_sans,
        subject: Arc::from(rfc2253(&parsed)),
        sha256: Arc::from(sha256),
        der: Arc::from(certificate.as_ref()),
    })
}

/// A certificate, read whole.
pub(super) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, NamesError> {
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|error| NamesError(error.to_string()))?;
    if !rest.is_empty() {
        return Err(NamesError("bytes follow the certificate".to_owned()));
    }
    Ok(parsed)
}

fn sans_of(certificate: &X509Certificate<'_>) -> Result<Vec<San>, NamesError> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|error| NamesError(error.to_string()))?;
    let Some(extension) = extension else {
        return Ok(Vec::new());
    };
    let names = extension.value.general_names.iter().filter_map(|name| {
        let (kind, text) = match name {
            GeneralName::DNSName(text) => (SanKind::Dns, (*text).to_owned()),
            GeneralName::URI(text) => (SanKind::Uri, (*text).to_owned()),
            GeneralName::RFC822Name(text) => (SanKind::Email, (*text).to_owned()),
            GeneralName::IPAddress(bytes) => (SanKind::Ip, ip_text(bytes)?),
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => return None,
        };
        (!text.contains('\0')).then(|| San {
            kind,
            text: Arc::from(text),
        })
    });
    Ok(names.collect())
}

fn ip_text(bytes: &[u8]) -> Option<String> {
    let address: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some(address.to_string())
}

/// Envoy lets an exact DNS matcher be met by a certificate's wildcard name (`*.example.com`), for one label.
fn wildcard(matcher: &SanMatcher, san: &str) -> bool {
    let crate::model::matcher::StringMatcher::Exact { value, .. } = &matcher.matcher else {
        return false;
    };
    let Some(suffix) = san.strip_prefix('*') else {
        return false;
    };
    value.split_once('.').is_some_and(|(label, _)| {
        !label.is_empty() && suffix.starts_with('.') && value[label.len()..].eq_ignore_ascii_case(suffix)
    })
}

/// The subject in RFC 2253 form: last component first, separated by commas.
fn rfc2253(certificate: &X509Certificate<'_>) -> String {
    let components: Vec<String> = certificate.subject().iter_attributes().map(attribute_text).collect();
    components.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute_text(attribute: &x509_parser::x509::AttributeTypeAndValue<'_>) -> String {
    let key = match attribute.attr_type().to_id_string().as_str() {
        "2.5.4.3" => "CN".to_owned(),
        "2.5.4.6" => "C".to_owned(),
        "2.5.4.7" => "L".to_owned(),
        "2.5.4.8" => "ST".to_owned(),
        "2.5.4.10" => "O".to_owned(),
        "2.5.4.11" => "OU".to_owned(),
        other => other.to_owned(),
    };
    let mut text = format!("{key}=");
    for c in attribute.as_str().unwrap_or_default().chars() {
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;
    use crate::model::matcher::StringMatcher;

    fn certificate(sans: &[SanType]) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans.to_vec();
        params.distinguished_name.push(DnType::OrganizationName, "a,b");
        params.self_signed(&key).unwrap().into()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn one_uri_of_the_right_form_is_an_identity() {
        let id = "spiffe://cluster.local/ns/default/sa/a";
        let one = peer_certificate(&certificate(&[uri(id)])).unwrap();
        assert_eq!(one.identity.unwrap().to_string(), id);
        assert!(one.subject.contains("O=a\\,b"), "{}", one.subject);
        assert_eq!(one.sha256.len(), 64);
        let two = peer_certificate(&certificate(&[uri(id), uri("spiffe://cluster.local/ns/x/sa/b")])).unwrap();
        assert!(two.identity.is_none());
    }

    #[test]
    fn matchers_go_by_kind() {
        let sans = subject_alt_names(&certificate(&[
            uri("spiffe://a/ns/b/sa/c"),
            SanType::DnsName("*.example.com".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
        ]))
        .unwrap();
        for (kind, value, expected) in [
            (SanKind::Uri, "spiffe://a/ns/b/sa/c", true),
            (SanKind::Dns, "spiffe://a/ns/b/sa/c", false),
            (SanKind::Dns, "x.example.com", true),
            (SanKind::Dns, "x.y.example.com", false),
            (SanKind::Dns, ".example.com", false),
            (SanKind::Ip, "10.0.0.1", true),
        ] {
            let matcher = SanMatcher {
                kind,
                matcher: StringMatcher::Exact {
                    value: Arc::from(value),
                    ignore_case: false,
                },
            };
            assert_eq!(any_matches(&[matcher], &sans), expected, "{kind:?} {value}");
        }
        assert!(any_matches(&[], &sans));
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(peer_certificate(&CertificateDer::from(vec![0x30, 0x82, 1, 2, 3])).is_err());
    }
}
