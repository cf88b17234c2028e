//! TLS of both sides: rustls contexts built from the model and rebuilt when their secrets change.
//!
//! Knows key material and names, nothing of HTTP or of where secrets come from.

pub(crate) mod anchor;
pub(crate) mod asked;
pub(crate) mod client;
pub(crate) mod material;
pub(crate) mod names;
pub(crate) mod server;
pub(crate) mod verify;

#[cfg(test)]
mod tests;

use crate::model::tls::TlsVersion;

/// Why a handshake did not succeed, for logs and the transport failure reason.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The context has no key material yet, or what it has is unusable.
    #[error("TLS secret is not ready: {0}")]
    NotReady(std::sync::Arc<str>),
    /// The handshake took too long.
    #[error("TLS handshake timed out")]
    TimedOut,
    /// The certificate is good, and has not the name that the request asks for.
    #[error("certificate has not the name {0:?} of the request")]
    NotAsked(std::sync::Arc<str>),
    /// The peer is not one that the context allows, broke the protocol, or left.
    #[error("TLS handshake failed: {0}")]
    Handshake(std::io::Error),
}

/// The rustls versions of a range.
fn versions(min: TlsVersion, max: TlsVersion) -> &'static [&'static rustls::SupportedProtocolVersion] {
    use rustls::version::{TLS12, TLS13};
    static ONLY_1_2: &[&rustls::SupportedProtocolVersion] = &[&TLS12];
    static ONLY_1_3: &[&rustls::SupportedProtocolVersion] = &[&TLS13];
    static BOTH: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];
    match (min, max) {
        (TlsVersion::V1_2, TlsVersion::V1_2) => ONLY_1_2,
        (TlsVersion::V1_3, _) => ONLY_1_3,
        (TlsVersion::V1_2, TlsVersion::V1_3) => BOTH,
    }
}

/// The version a session speaks.
fn version_of(session: &rustls::CommonState) -> TlsVersion {
    match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
        _ => TlsVersion::V1_3,
    }
}
