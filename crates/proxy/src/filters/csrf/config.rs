//! Protection against forged cross-site requests, as configured (`envoy.filters.http.csrf`).

use weft_proto::xds::envoy::extensions::filters::http::csrf::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::matcher::string_matcher;
use crate::model::convert::{Path, Result, holds, required, runtime_share, unpack};
use crate::model::matcher::{Fraction, StringMatcher};

/// Which requests are looked at, and what is right (Envoy `CsrfPolicy`).
#[derive(Clone, Debug)]
pub struct Config {
    /// Requests that are refused where they are wrong.
    pub enabled: Fraction,
    /// Requests that are counted alone.
    pub shadow: Fraction,
    /// Origins that may change things beside the host itself.
    pub additional_origins: Vec<StringMatcher>,
}

/// A route's policy stands instead of the listener's.
pub type RouteConfig = Config;

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::CsrfPolicy>(any) {
        return Ok(None);
    }
    let source: pb::CsrfPolicy = unpack(any, at)?;
    let enabled = runtime_share(source.filter_enabled.as_ref(), &at.field("filter_enabled"))?;
    let shadow = runtime_share(source.shadow_enabled.as_ref(), &at.field("shadow_enabled"))?;
    let at_origins = at.field("additional_origins");
    let origins = source.additional_origins.iter().enumerate();
    Ok(Some(Config {
        enabled: *required(enabled.as_ref(), at, "filter_enabled")?,
        shadow: shadow.unwrap_or(Fraction { parts_per_million: 0 }),
        additional_origins: origins
            .map(|(index, matcher)| string_matcher(matcher, &at_origins.index(index)))
            .collect::<Result<_>>()?,
    }))
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    read(any, at)
}
