//! What the parts of a mesh are called where nobody chose otherwise. All of them have to agree: a proxy talks only to the discovery server
//! whose certificate names this account.

/// The trust domain of identities (Istio's).
pub const TRUST_DOMAIN: &str = "cluster.local";

/// Namespace of the control plane.
pub const SYSTEM_NAMESPACE: &str = "weft-system";

/// Service account of the discovery server, as `namespace/name`.
pub const DISCOVERY_ACCOUNT: &str = "weft-system/weft-pilot";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_discovery_server_is_in_the_system_namespace() {
        assert_eq!(
            DISCOVERY_ACCOUNT.split_once('/'),
            Some((SYSTEM_NAMESPACE, "weft-pilot"))
        );
    }
}
