//! Rules of access to a connection manager, as configured (`envoy.filters.http.rbac`).

use std::sync::Arc;

use weft_proto::xds::envoy::extensions::filters::http::rbac::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::rbac::{About, rules};
use crate::model::convert::{Path, Result, holds, text, unpack};
use crate::model::rbac::Rules;

/// Rules that count, and rules that are tried out (Envoy `rbac.v3.RBAC`).
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Those that count; without them everything passes.
    pub rules: Option<Arc<Rules>>,
    /// Of the names of their counters and of what they leave.
    pub prefix: Arc<str>,
    /// Those whose result is noted alone.
    pub shadow: Option<Arc<Rules>>,
    /// The same of these.
    pub shadow_prefix: Arc<str>,
}

/// What a route says instead; `None` lets everything pass.
#[derive(Clone, Debug)]
pub struct RouteConfig(pub Option<Config>);

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::Rbac>(any) {
        return Ok(None);
    }
    config(&unpack::<pb::Rbac>(any, at)?, at).map(Some)
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    if !holds::<pb::RbacPerRoute>(any) {
        return Ok(None);
    }
    let source: pb::RbacPerRoute = unpack(any, at)?;
    let own = source.rbac.as_ref().map(|source| config(source, &at.field("rbac")));
    Ok(Some(RouteConfig(own.transpose()?)))
}

fn config(source: &pb::Rbac, at: &Path) -> Result<Config> {
    let read = |source: &Option<_>, field: &str| {
        let read = source
            .as_ref()
            .map(|source| rules(source, About::Requests, &at.field(field)));
        Ok(read.transpose()?.map(Arc::new))
    };
    Ok(Config {
        rules: read(&source.rules, "rules")?,
        prefix: text(&source.rules_stat_prefix),
        shadow: read(&source.shadow_rules, "shadow_rules")?,
        shadow_prefix: text(&source.shadow_rules_stat_prefix),
    })
}
