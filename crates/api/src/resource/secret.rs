//! Kubernetes `v1` Secret, as far as gateways use it for certificates.

use std::collections::BTreeMap;
use std::fmt;

/// Data of a secret. `Debug` shows the keys only.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// `data` (decoded) and `stringData`.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl Secret {
    /// Certificate chain in PEM: `tls.crt`, or `cert` as Istio's generic secrets name it.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.entry(&["tls.crt", "cert"])
    }

    /// Private key in PEM: `tls.key` or `key`.
    pub fn private_key(&self) -> Option<&[u8]> {
        self.entry(&["tls.key", "key"])
    }

    /// CA certificates in PEM: `ca.crt` or `cacert`.
    pub fn ca_certificate(&self) -> Option<&[u8]> {
        self.entry(&["ca.crt", "cacert"])
    }

    fn entry(&self, names: &[&str]) -> Option<&[u8]> {
        names
            .iter()
            .find_map(|name| self.data.get(*name))
            .map(Vec::as_slice)
            .filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("keys", &self.data.keys()).finish()
    }
}
