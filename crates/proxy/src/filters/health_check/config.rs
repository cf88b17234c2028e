//! Health checks of this proxy and what it stands before, as configured (`envoy.filters.http.health_check`).

use std::sync::Arc;
use std::time::Duration;

use weft_proto::xds::envoy::extensions::filters::http::health_check::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::matcher::header_matchers;
use crate::model::convert::{Path, Result, holds, optional_duration, required, text, unpack};
use crate::model::matcher::HeaderMatcher;

/// Which requests are health checks, and who answers them (Envoy `HealthCheck`).
#[derive(Clone, Debug)]
pub struct Config {
    pub answers: Answers,
    /// All must match; without any every request is one.
    pub headers: Vec<HeaderMatcher>,
}

/// Who answers health checks.
#[derive(Clone, Debug)]
pub enum Answers {
    /// The proxy: it is well while these clusters have at least these shares of healthy endpoints, in percent.
    Proxy(Vec<(Arc<str>, f64)>),
    /// The upstream, at most once in this time; others get the status that it gave last.
    Upstream(Option<Duration>),
}

pub use super::NoRouteConfig as RouteConfig;
pub(super) use super::nothing_for_routes as read_for_route;

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::HealthCheck>(any) {
        return Ok(None);
    }
    let source: pb::HealthCheck = unpack(any, at)?;
    let passes = required(source.pass_through_mode.as_ref(), at, "pass_through_mode")?.value;
    let cache_time = optional_duration(source.cache_time.as_ref(), &at.field("cache_time"))?;
    let answers = if passes {
        Answers::Upstream(cache_time.filter(|time| !time.is_zero()))
    } else if cache_time.is_some_and(|time| !time.is_zero()) {
        return Err(at
            .field("cache_time")
            .error("is for pass_through_mode: true, where the upstream answers"));
    } else {
        let shares = source.cluster_min_healthy_percentages.iter();
        let mut shares: Vec<_> = shares.map(|(name, share)| (text(name), share.value)).collect();
        shares.sort_by(|a, b| a.0.cmp(&b.0));
        Answers::Proxy(shares)
    };
    Ok(Some(Config {
        answers,
        headers: header_matchers(&source.headers, &at.field("headers"))?,
    }))
}
