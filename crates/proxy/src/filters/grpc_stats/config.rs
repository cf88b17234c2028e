//! Counts of gRPC messages, as configured (`envoy.filters.http.grpc_stats`).

use weft_proto::xds::envoy::extensions::filters::http::grpc_stats::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::{Path, Result, boolean, holds, unpack};

/// All requests and messages are counted by cluster (Envoy `grpc_stats.v3.FilterConfig`); calls of single methods are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Requests and messages are told as filter state as well.
    pub emits_state: bool,
}

pub use super::NoRouteConfig as RouteConfig;
pub(super) use super::nothing_for_routes as read_for_route;

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    use pb::filter_config::PerMethodStatSpecifier as Methods;
    if !holds::<pb::FilterConfig>(any) {
        return Ok(None);
    }
    let source: pb::FilterConfig = unpack(any, at)?;
    if let Some(Methods::StatsForAllMethods(all)) = &source.per_method_stat_specifier
        && boolean(Some(all), false)
    {
        return Err(at
            .field("stats_for_all_methods")
            .error("true is not supported: names of methods are the clients' choice"));
    }
    Ok(Some(Config {
        emits_state: source.emit_filter_state,
    }))
}
