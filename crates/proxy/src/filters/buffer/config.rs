//! Requests that are forwarded once they have come whole, as configured (`envoy.filters.http.buffer`).

use weft_proto::xds::envoy::extensions::filters::http::buffer::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::{Path, Result, holds, required, unpack};

/// What is waited for (Envoy `buffer.v3.Buffer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    pub bytes_max: usize,
}

/// What a route says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteConfig {
    /// Nothing is waited for.
    Off,
    Instead(Config),
}

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::Buffer>(any) {
        return Ok(None);
    }
    config(&unpack(any, at)?, at).map(Some)
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    use pb::buffer_per_route::Override;
    if !holds::<pb::BufferPerRoute>(any) {
        return Ok(None);
    }
    let source: pb::BufferPerRoute = unpack(any, at)?;
    Ok(Some(match &source.r#override {
        Some(Override::Disabled(true)) => RouteConfig::Off,
        Some(Override::Buffer(buffer)) => RouteConfig::Instead(config(buffer, &at.field("buffer"))?),
        Some(Override::Disabled(false)) => return Err(at.field("disabled").error("must be true where it is set")),
        None => return Err(at.error("needs disabled or buffer")),
    }))
}

fn config(source: &pb::Buffer, at: &Path) -> Result<Config> {
    let most = required(source.max_request_bytes.as_ref(), at, "max_request_bytes")?;
    if most.value == 0 {
        return Err(at.field("max_request_bytes").error("must be above 0"));
    }
    Ok(Config {
        bytes_max: most.value as usize,
    })
}
