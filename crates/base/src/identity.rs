//! SPIFFE identities of mesh workloads: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
//!
//! Pure parsing and printing; knows nothing of certificates.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use weft_proto::defaults::TRUST_DOMAIN;

/// Longest SPIFFE id that may be accepted, in bytes (SPIFFE-ID specification, section 2.3).
const SPIFFE_ID_BYTES_MAX: usize = 2048;

/// A trust domain: lower-case letters, digits, dots, dashes and underscores (SPIFFE-ID specification, section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// The identity of one mesh workload, in the form Istio uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    namespace: Arc<str>,
    service_account: Arc<str>,
}

/// Why a text is not an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The text is longer than a SPIFFE id may be.
    #[error("identity is {bytes} bytes long, at most {SPIFFE_ID_BYTES_MAX} are allowed")]
    TooLong { bytes: usize },
    /// It does not start with `spiffe://`.
    #[error("identity {0:?} does not start with spiffe://")]
    Scheme(String),
    /// The trust domain is empty or has a character that is not allowed.
    #[error("trust domain {0:?} must be lower-case letters, digits, '.', '-' or '_'")]
    TrustDomain(String),
    /// The path is not `/ns/<namespace>/sa/<service account>`.
    #[error("identity {0:?} is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
    Path(String),
}

// === impl TrustDomain ===

impl TrustDomain {
    /// The name, without a scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self(Arc::from(TRUST_DOMAIN))
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
            return Err(IdentityError::TrustDomain(text.to_owned()));
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl SpiffeId ===

impl SpiffeId {
    /// Builds an identity; namespace and service account must be Kubernetes names (DNS-1123 subdomains).
    pub fn new(trust_domain: TrustDomain, namespace: &str, service_account: &str) -> Result<Self, IdentityError> {
        for part in [namespace, service_account] {
            if !is_path_segment(part) {
                return Err(IdentityError::Path(format!(
                    "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"
                )));
            }
        }
        Ok(Self {
            trust_domain,
            namespace: Arc::from(namespace),
            service_account: Arc::from(service_account),
        })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account within the namespace.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// The form policies use: the id without its scheme.
    pub fn principal(&self) -> String {
        format!(
            "{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(IdentityError::TooLong { bytes: text.len() });
        }
        let Some(rest) = text.strip_prefix("spiffe://") else {
            return Err(IdentityError::Scheme(text.to_owned()));
        };
        let mut parts = rest.split('/');
        let (domain, ns, namespace, sa, account) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
        match (domain, ns, namespace, sa, account, parts.next()) {
            (Some(domain), Some("ns"), Some(namespace), Some("sa"), Some(account), None) => {
                Self::new(domain.parse()?, namespace, account).map_err(|_| IdentityError::Path(text.to_owned()))
            }
            _ => Err(IdentityError::Path(text.to_owned())),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "spiffe://{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

/// A path segment of a SPIFFE id (section 2.2), narrowed to what Kubernetes allows in names.
fn is_path_segment(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(allowed)
        && text.bytes().any(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, &str, &str), ()>) {
        let got = text.parse::<SpiffeId>();
        match expected {
            Ok((domain, namespace, account)) => {
                let id = got.unwrap();
                assert_eq!(id.trust_domain().as_str(), domain);
                assert_eq!(id.namespace(), namespace);
                assert_eq!(id.service_account(), account);
                assert_eq!(id.to_string(), text);
            }
            Err(()) => assert!(got.is_err(), "{text} was accepted"),
        }
    }

    #[test]
    fn only_istio_identities_parse() {
        check(
            "spiffe://cluster.local/ns/default/sa/caller",
            Ok(("cluster.local", "default", "caller")),
        );
        check("spiffe://td-1.x/ns/a.b/sa/c-d", Ok(("td-1.x", "a.b", "c-d")));
        for bad in [
            "",
            "spiffe://",
            "https://cluster.local/ns/default/sa/caller",
            "spiffe://cluster.local/ns/default/sa/",
            "spiffe://cluster.local/ns//sa/x",
            "spiffe://cluster.local/ns/default/sa/x/",
            "spiffe://cluster.local/ns/default/sa/x/y",
            "spiffe://Cluster.local/ns/default/sa/x",
            "spiffe://cluster.local/ns/default/sa/x\0y",
            "spiffe://cluster.local/ns/../sa/x",
            "spiffe://cluster.local/ns/de+fault/sa/x",
        ] {
            check(bad, Err(()));
        }
        check(&format!("spiffe://a/ns/b/sa/{}", "x".repeat(3000)), Err(()));
    }
}
