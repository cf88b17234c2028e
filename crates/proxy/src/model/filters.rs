//! HTTP filters before the router, and what routes say about them.

use std::time::Duration;

use super::matcher::{Fraction, StringMatcher};

/// What filters do with the requests of a listener, a virtual host or a route; the most specific one that says something counts.
#[derive(Clone, Debug, Default)]
pub struct FilterRules {
    /// `envoy.filters.http.fault`.
    pub fault: Option<Box<Fault>>,
    /// `envoy.filters.http.cors`.
    pub cors: Option<Box<Cors>>,
}

/// Faults that are injected on purpose (Envoy `HTTPFault`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Waits before anything else is done with the request.
    pub delay: Option<(Duration, Fraction)>,
    /// Answers instead of anything else.
    pub abort: Option<(AbortStatus, Fraction)>,
}

/// What an injected answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// An HTTP status.
    Http(::http::StatusCode),
    /// A gRPC status.
    Grpc(u32),
}

/// Cross-origin resource sharing (Envoy `CorsPolicy`; <https://fetch.spec.whatwg.org/#http-cors-protocol>). What a route does not
/// say, its virtual host may say: field by field, not as a whole.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// Origins of which one must match; empty says nothing.
    pub origins: Vec<StringMatcher>,
    /// `access-control-allow-methods`.
    pub methods: Option<::http::HeaderValue>,
    /// `access-control-allow-headers`.
    pub headers: Option<::http::HeaderValue>,
    /// `access-control-expose-headers`.
    pub expose: Option<::http::HeaderValue>,
    /// `access-control-max-age`.
    pub max_age: Option<::http::HeaderValue>,
    /// `access-control-allow-credentials: true`.
    pub credentials: Option<bool>,
    /// Preflights of other origins are forwarded instead of answered; they are where nothing is said.
    pub forward_unmatched_preflights: Option<bool>,
}
