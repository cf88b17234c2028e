//! The one typed, normalised form of a request. Policy, routing, logs and the upstream serialiser read only this.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};

use http::{Method, Version};

use super::path::RequestPath;
use crate::model::matcher::HeaderKey;

/// A request after normalisation.
#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: Method,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host as the client wrote it, perhaps with a port.
    pub authority: HeaderValue,
    /// Normalised path with its query; a single slash for CONNECT.
    pub path: RequestPath,
    /// Headers without `host`.
    pub headers: HeaderMap,
    /// Protocol of the client.
    pub version: Version,
    /// The client sent `content-type: application/grpc`.
    pub grpc: bool,
    /// The request is gRPC as filters have left it.
    pub grpc_upstream: bool,
    /// What the client wants instead of HTTP.
    pub upgrade: Option<Arc<str>>,
}

/// Scheme of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

// === impl Scheme ===

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

// === impl RequestHead ===

impl RequestHead {
    /// Path without its query.
    pub fn path_only(&self) -> &str {
        self.path.path()
    }

    /// Host with its port, as text; empty when it is not text.
    pub fn host(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// The value of a header or pseudo header; the first where there are several.
    pub fn value(&self, key: &HeaderKey) -> Option<&[u8]> {
        match key {
            HeaderKey::Method => Some(self.method.as_str().as_bytes()),
            HeaderKey::Path => Some(self.path.as_str().as_bytes()),
            HeaderKey::Authority => Some(self.authority.as_bytes()),
            HeaderKey::Scheme => Some(self.scheme.as_str().as_bytes()),
            HeaderKey::Status => None,
            HeaderKey::Name(name) => self.headers.get(name).map(HeaderValue::as_bytes),
        }
    }
}

/// Splits `host:port`; a bare IPv6 address in brackets has no port.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => (&authority[..colon], Some(&authority[colon + 1..])),
        _ => (authority, None),
    }
}

/// Whether the content type says gRPC (`application/grpc`, or with `+` and a codec).
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let Some(rest) = value.as_bytes().strip_prefix(b"application/grpc") else {
        return false;
    };
    matches!(rest.first(), None | Some(b'+' | b';'))
}
