//! Decompression of bodies, as configured (`envoy.filters.http.decompressor`).

use std::sync::Arc;

use weft_proto::xds::envoy::extensions::compression::{brotli, gzip, zstd};
use weft_proto::xds::envoy::extensions::filters::http::decompressor::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::{Path, Result, boolean, holds, required, text, uint32, unpack};

/// Most bytes that one compressed byte may become where nothing else is said, Envoy's.
const RATIO_MAX: u32 = 100;

/// What is decompressed (Envoy `Decompressor`).
#[derive(Clone, Debug)]
pub struct Config {
    pub library: Library,
    /// Most bytes that one compressed byte may become.
    pub ratio_max: u32,
    /// Name in statistics and trailers.
    pub name: Arc<str>,
    pub request: Direction,
    pub response: Direction,
    /// Upstreams are told that they may compress.
    pub advertise: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

/// Which bodies of one direction are decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    pub enabled: bool,
    /// Also those whose sender forbids changes.
    pub ignores_no_transform: bool,
}

pub use super::NoRouteConfig as RouteConfig;
pub(super) use super::nothing_for_routes as read_for_route;

// === impl Library ===

impl Library {
    /// Its name in `content-encoding` (RFC 9110, section 8.4.1).
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Its name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "brotli",
            Self::Zstd => "zstd",
        }
    }
}

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::Decompressor>(any) {
        return Ok(None);
    }
    let source: pb::Decompressor = unpack(any, at)?;
    let at_library = at.field("decompressor_library");
    let named = required(source.decompressor_library.as_ref(), at, "decompressor_library")?;
    let typed = required(named.typed_config.as_ref(), &at_library, "typed_config")?;
    let (library, ratio_max) = library(typed, &at_library.field("typed_config"))?;
    let request = source.request_direction_config.unwrap_or_default();
    let response = source.response_direction_config.unwrap_or_default();
    Ok(Some(Config {
        library,
        ratio_max,
        name: text(&named.name),
        advertise: boolean(request.advertise_accept_encoding.as_ref(), true),
        request: direction(request.common_config.as_ref()),
        response: direction(response.common_config.as_ref()),
    }))
}

fn direction(source: Option<&pb::decompressor::CommonDirectionConfig>) -> Direction {
    let enabled = source.and_then(|source| source.enabled.as_ref()?.default_value.as_ref());
    Direction {
        enabled: boolean(enabled, true),
        ignores_no_transform: source.is_some_and(|source| source.ignore_no_transform_header),
    }
}

fn library(any: &Any, at: &Path) -> Result<(Library, u32)> {
    if holds::<gzip::decompressor::v3::Gzip>(any) {
        let source: gzip::decompressor::v3::Gzip = unpack(any, at)?;
        return Ok((Library::Gzip, uint32(source.max_inflate_ratio.as_ref(), RATIO_MAX)));
    }
    if holds::<brotli::decompressor::v3::Brotli>(any) {
        let _: brotli::decompressor::v3::Brotli = unpack(any, at)?;
        return Ok((Library::Brotli, RATIO_MAX));
    }
    if holds::<zstd::decompressor::v3::Zstd>(any) {
        let _: zstd::decompressor::v3::Zstd = unpack(any, at)?;
        return Ok((Library::Zstd, RATIO_MAX));
    }
    Err(at.error(format!("{} is not supported: gzip, brotli and zstd are", any.type_url)))
}
