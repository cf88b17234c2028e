//! Rules of access to a filter chain, as configured (`envoy.filters.network.rbac`).

use std::sync::Arc;

use weft_proto::xds::envoy::extensions::filters::network::rbac::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::rbac::{About, rules};
use crate::model::convert::{Path, Result, enumeration, holds, text, unpack};
use crate::model::rbac::Rules;

/// Rules that count, and rules that are tried out (Envoy `rbac.v3.RBAC`).
#[derive(Clone, Debug)]
pub struct Config {
    /// Those that count; without them everything passes.
    pub rules: Option<Arc<Rules>>,
    /// Those whose result is noted alone.
    pub shadow: Option<Arc<Rules>>,
    /// Of what those leave.
    pub shadow_prefix: Arc<str>,
    /// Of the names of its counters.
    pub stat_prefix: Arc<str>,
}

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::Rbac>(any) {
        return Ok(None);
    }
    let source: pb::Rbac = unpack(any, at)?;
    if source.stat_prefix.is_empty() {
        return Err(at.field("stat_prefix").error("is required"));
    }
    match enumeration(source.enforcement_type, at, "enforcement_type")? {
        pb::rbac::EnforcementType::OneTimeOnFirstByte => {}
        pb::rbac::EnforcementType::Continuous => {
            return Err(at
                .field("enforcement_type")
                .error("CONTINUOUS is not supported: connections are decided about before their first byte"));
        }
    }
    let read = |source: &Option<_>, field: &str| {
        let read = source
            .as_ref()
            .map(|source| rules(source, About::Connections, &at.field(field)));
        Ok(read.transpose()?.map(Arc::new))
    };
    Ok(Some(Config {
        rules: read(&source.rules, "rules")?,
        shadow: read(&source.shadow_rules, "shadow_rules")?,
        shadow_prefix: text(&source.shadow_rules_stat_prefix),
        stat_prefix: text(&source.stat_prefix),
    }))
}

pub(super) fn not_before_http(_config: &Config) -> Option<&'static str> {
    None
}
