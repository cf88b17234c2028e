//! Cross-origin resource sharing, as configured (`envoy.filters.http.cors`).

use weft_proto::xds::envoy::extensions::filters::http::cors::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::matcher::string_matcher;
use crate::model::convert::{Path, Result, holds, unpack};
use crate::model::matcher::StringMatcher;

/// The listed filter has no rules of its own and does nothing where no route has a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config;

/// A policy (Envoy `CorsPolicy`; <https://fetch.spec.whatwg.org/#http-cors-protocol>). What a route does not say, its virtual host
/// may say: field by field, not as a whole.
#[derive(Clone, Debug, Default)]
pub struct RouteConfig {
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

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::Cors>(any) {
        return Ok(None);
    }
    let _: pb::Cors = unpack(any, at)?;
    Ok(Some(Config))
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    if !holds::<pb::CorsPolicy>(any) {
        return Ok(None);
    }
    policy(&unpack(any, at)?, at).map(Some)
}

fn policy(source: &pb::CorsPolicy, at: &Path) -> Result<RouteConfig> {
    let mut origins = Vec::with_capacity(source.allow_origin_string_match.len());
    for (index, matcher) in source.allow_origin_string_match.iter().enumerate() {
        origins.push(string_matcher(
            matcher,
            &at.field("allow_origin_string_match").index(index),
        )?);
    }
    let value = |text: &str, field: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        let value = ::http::HeaderValue::from_str(text);
        value
            .map(Some)
            .map_err(|_| at.field(field).error("is not a header value"))
    };
    Ok(RouteConfig {
        origins,
        methods: value(&source.allow_methods, "allow_methods")?,
        headers: value(&source.allow_headers, "allow_headers")?,
        expose: value(&source.expose_headers, "expose_headers")?,
        max_age: value(&source.max_age, "max_age")?,
        credentials: source.allow_credentials.map(|value| value.value),
        forward_unmatched_preflights: source.forward_not_matching_preflights.map(|value| value.value),
    })
}
