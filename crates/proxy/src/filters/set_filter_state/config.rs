//! Objects that are left in the filter state of every request, as configured (`envoy.filters.http.set_filter_state`).

use std::sync::Arc;

use weft_proto::xds::envoy::extensions::filters::common::set_filter_state::v3 as common;
use weft_proto::xds::envoy::extensions::filters::http::set_filter_state::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::access_log::{Format, LogFormat};
use crate::model::convert::access_log::format_string;
use crate::model::convert::{Path, Result, holds, text, unpack};

/// Factory of the only objects that are supported.
const TEXT: &str = "envoy.string";

/// What is left (Envoy `set_filter_state.v3.Config`).
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// In this order.
    pub objects: Vec<Object>,
}

#[derive(Clone, Debug)]
pub struct Object {
    pub name: Arc<str>,
    /// What it says.
    pub value: Format,
    /// It is not left where it comes out empty.
    pub skip_if_empty: bool,
}

/// What the levels of a route say is left as well, the most specific last.
pub type RouteConfig = Config;

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::Config>(any) {
        return Ok(None);
    }
    let source: pb::Config = unpack(any, at)?;
    let at = at.field("on_request_headers");
    let objects = source.on_request_headers.iter().enumerate();
    Ok(Some(Config {
        objects: objects
            .map(|(index, source)| object(source, &at.index(index)))
            .collect::<Result<_>>()?,
    }))
}

pub(in crate::model) fn object(source: &common::FilterStateValue, at: &Path) -> Result<Object> {
    use common::filter_state_value::{Key, Value};
    let Some(Key::ObjectKey(name)) = &source.key else {
        return Err(at.field("object_key").error("is required"));
    };
    if source.shared_with_upstream != common::filter_state_value::SharedWithUpstream::None as i32 {
        return Err(at.field("shared_with_upstream").error("only NONE is supported here"));
    }
    if source.factory_key != TEXT {
        return Err(at
            .field("factory_key")
            .error(format!("{:?} is not supported, only {TEXT} is", source.factory_key)));
    }
    let Some(Value::FormatString(format)) = &source.value else {
        return Err(at.field("format_string").error("is required"));
    };
    Ok(Object {
        name: text(name),
        value: match format_string(format, &at.field("format_string"))? {
            LogFormat::Text(format) => format,
            LogFormat::Json(_) => return Err(at.field("format_string").error("must be text")),
        },
        skip_if_empty: source.skip_if_empty,
    })
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    read(any, at)
}
