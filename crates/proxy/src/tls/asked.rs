//! What a request asks of the TLS of its connection. Connections that were made for one are for no other.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderValue;

use super::names::San;
use crate::model::cluster::HostTls;
use crate::model::tls::SanKind;

/// Names that come with a request (Envoy `UpstreamHttpProtocolOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The server name to send, lower case.
    pub server_name: Option<Arc<str>>,
    /// The server's certificate must have this name, lower case.
    pub certificate_name: Option<Arc<str>>,
}

// === impl Asked ===

impl Asked {
    /// What a request asks: by its host, or by the header that is said instead where it has one.
    pub fn new(config: &HostTls, authority: &HeaderValue, headers: &HeaderMap) -> Arc<Self> {
        let named = config.header.as_ref().and_then(|name| headers.get(name));
        let said = named.filter(|value| !value.is_empty()).unwrap_or(authority);
        let (host, is_address) = host_of(&String::from_utf8_lossy(said.as_bytes()));
        Arc::new(Self {
            server_name: (config.server_name && !is_address).then(|| host.clone()),
            certificate_name: config.certificate_name.then_some(host),
        })
    }

    /// Whether a certificate with these names is one that was asked for.
    pub fn accepts(&self, sans: &[San]) -> bool {
        let Some(host) = &self.certificate_name else {
            return true;
        };
        sans.iter().any(|san| match san.kind {
            SanKind::Dns => covers(&san.text.to_ascii_lowercase(), host),
            SanKind::Uri | SanKind::Ip => *san.text == **host,
            SanKind::Email => false,
        })
    }
}

/// A host without its port, and whether it is an address.
fn host_of(authority: &str) -> (Arc<str>, bool) {
    if let Some((literal, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (
            Arc::from(literal.to_ascii_lowercase()),
            literal.parse::<Ipv6Addr>().is_ok(),
        );
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    (Arc::from(host.to_ascii_lowercase()), host.parse::<Ipv4Addr>().is_ok())
}

/// Whether a DNS name of a certificate is a host, or a wildcard for its first label (RFC 6125, section 6.4.3).
fn covers(name: &str, host: &str) -> bool {
    let below = name.strip_prefix("*.").zip(host.split_once('.'));
    name == host || below.is_some_and(|(name, (label, rest))| !label.is_empty() && name == rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(authority: &'static str, header: Option<&'static str>, server_name: Option<&str>, certificate_name: &str) {
        let config = HostTls {
            server_name: true,
            certificate_name: true,
            header: Some(http::HeaderName::from_static("x-name")),
        };
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x-name", HeaderValue::from_static(value));
        }
        let asked = Asked::new(&config, &HeaderValue::from_static(authority), &headers);
        let found = (asked.server_name.as_deref(), asked.certificate_name.as_deref());
        assert_eq!(found, (server_name, Some(certificate_name)), "{authority}");
    }

    #[test]
    fn names_come_from_the_host_or_a_header() {
        check("A.example:8080", None, Some("a.example"), "a.example");
        check("a.example", Some("b.example:1"), Some("b.example"), "b.example");
        check("a.example", Some(""), Some("a.example"), "a.example");
        check("10.0.0.1:80", None, None, "10.0.0.1");
        check("[FD00::1]:80", None, None, "fd00::1");
        check("a.example.", None, Some("a.example."), "a.example.");
    }

    #[test]
    fn a_certificate_has_the_name_or_not() {
        for (kind, san, host, expected) in [
            (SanKind::Dns, "A.example", "a.example", true),
            (SanKind::Dns, "*.example", "a.example", true),
            (SanKind::Dns, "*.example", "a.b.example", false),
            (SanKind::Dns, "*.example", ".example", false),
            (SanKind::Dns, "*.example", "example", false),
            (SanKind::Dns, "b.example", "a.example", false),
            (SanKind::Ip, "10.0.0.1", "10.0.0.1", true),
            (SanKind::Email, "a.example", "a.example", false),
        ] {
            let asked = Asked {
                server_name: None,
                certificate_name: Some(Arc::from(host)),
            };
            let san = San {
                kind,
                text: Arc::from(san),
            };
            assert_eq!(asked.accepts(&[san]), expected, "{host}");
            assert!(!asked.accepts(&[]));
        }
        assert!(Asked::default().accepts(&[]));
    }
}
