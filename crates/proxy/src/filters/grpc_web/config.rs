//! gRPC for browsers, as configured (`envoy.filters.http.grpc_web`): there is nothing to say.

use weft_proto::xds::envoy::extensions::filters::http::grpc_web::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::{Path, Result, holds, unpack};

/// Nothing (Envoy `GrpcWeb`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config;

pub use super::NoRouteConfig as RouteConfig;
pub(super) use super::nothing_for_routes as read_for_route;

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::GrpcWeb>(any) {
        return Ok(None);
    }
    let _: pb::GrpcWeb = unpack(any, at)?;
    Ok(Some(Config))
}
