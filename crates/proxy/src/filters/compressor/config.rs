//! Compression of bodies, as configured (`envoy.filters.http.compressor`).

#![allow(
    deprecated,
    reason = "users' files still set Envoy's deprecated fields, and those stay in force"
)]

use std::sync::Arc;

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::compression::{brotli, gzip, zstd};
use weft_proto::xds::envoy::extensions::filters::http::compressor::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::{Path, Result, boolean, enumeration, holds, required, text, uint32, unpack};

/// Shortest body that is compressed where nothing else is said, Envoy's.
const LENGTH_MIN: u32 = 30;

/// Media types that are compressed where none are named, Envoy's.
const TYPES: [&str; 20] = [
    "text/html",
    "text/plain",
    "text/css",
    "application/javascript",
    "application/x-javascript",
    "text/javascript",
    "text/x-javascript",
    "text/ecmascript",
    "text/js",
    "text/jscript",
    "text/x-js",
    "application/ecmascript",
    "application/x-json",
    "application/xml",
    "application/json",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
    "application/grpc-web",
    "application/grpc-web+proto",
];

/// What is compressed, and how (Envoy `Compressor`).
#[derive(Clone, Debug)]
pub struct Config {
    pub library: Library,
    /// Name in statistics.
    pub name: Arc<str>,
    /// Requests; `None` where nothing is said of them.
    pub request: Option<Direction>,
    pub response: Response,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// RFC 1952, with a level of 1 to 9.
    Gzip(u32),
    /// RFC 7932.
    Brotli {
        /// 0 to 11.
        quality: u32,
        /// Base 2 logarithm of the window.
        window_bits: u32,
    },
    /// RFC 8878.
    Zstd {
        /// 1 to 22.
        level: u32,
        /// Whether frames carry a checksum.
        checksum: bool,
    },
}

/// Which bodies of one direction are compressed.
#[derive(Clone, Debug)]
pub struct Direction {
    pub enabled: bool,
    /// From this length on, where it is announced.
    pub length_min: u64,
    /// Media types, lower case.
    pub types: Arc<[Box<str>]>,
}

/// Which answers are compressed, and what else is changed.
#[derive(Clone, Debug)]
pub struct Response {
    pub direction: Direction,
    /// They are counted apart from what is counted for both directions.
    pub named: bool,
    /// One with an `etag` is left as it is.
    pub not_with_etag: bool,
    /// A strong `etag` becomes a weak one instead of being removed.
    pub weaken_etag: bool,
    /// Upstreams are not asked to compress.
    pub remove_accept_encoding: bool,
    /// Statuses of answers that are left as they are.
    pub codes_left: Vec<u32>,
    /// Chosen before others that the client likes as much.
    pub choose_first: bool,
}

/// What a route says.
#[derive(Clone, Debug)]
pub enum RouteConfig {
    /// Answers are left as they are.
    Off,
    /// Something else than the list.
    Instead {
        /// Answers are compressed, also where the list says otherwise.
        enabled: bool,
        /// The same for asking upstreams.
        remove_accept_encoding: Option<bool>,
        library: Option<Library>,
    },
}

// === impl Library ===

impl Library {
    /// Its name in `content-encoding` (RFC 9110, section 8.4.1).
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Brotli { .. } => "br",
            Self::Zstd { .. } => "zstd",
        }
    }

    /// Its name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Brotli { .. } => "brotli",
            Self::Zstd { .. } => "zstd",
        }
    }
}

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::Compressor>(any) {
        return Ok(None);
    }
    let source: pb::Compressor = unpack(any, at)?;
    let at_library = at.field("compressor_library");
    let library_source = required(source.compressor_library.as_ref(), at, "compressor_library")?;
    let request = source.request_direction_config.as_ref();
    Ok(Some(Config {
        library: library(library_source, &at_library)?,
        name: text(&library_source.name),
        request: request.map(|request| direction(request.common_config.as_ref())),
        response: response(&source),
    }))
}

fn response(source: &pb::Compressor) -> Response {
    match &source.response_direction_config {
        Some(response) => Response {
            direction: direction(response.common_config.as_ref()),
            named: true,
            not_with_etag: response.disable_on_etag_header && !response.weaken_etag_on_compress,
            weaken_etag: response.weaken_etag_on_compress,
            remove_accept_encoding: response.remove_accept_encoding_header,
            codes_left: response.uncompressible_response_codes.clone(),
            choose_first: source.choose_first,
        },
        None => Response {
            direction: direction(Some(&pb::compressor::CommonDirectionConfig {
                enabled: source.runtime_enabled.clone(),
                min_content_length: source.content_length,
                content_type: source.content_type.clone(),
                ..Default::default()
            })),
            named: false,
            not_with_etag: source.disable_on_etag_header,
            weaken_etag: false,
            remove_accept_encoding: source.remove_accept_encoding_header,
            codes_left: Vec::new(),
            choose_first: source.choose_first,
        },
    }
}

fn direction(source: Option<&pb::compressor::CommonDirectionConfig>) -> Direction {
    let none = pb::compressor::CommonDirectionConfig::default();
    let source = source.unwrap_or(&none);
    let enabled = source.enabled.as_ref().and_then(|flag| flag.default_value.as_ref());
    let types: Arc<[Box<str>]> = if source.content_type.is_empty() {
        TYPES.iter().map(|name| Box::from(*name)).collect()
    } else {
        let names = source.content_type.iter();
        names.map(|name| name.to_ascii_lowercase().into_boxed_str()).collect()
    };
    let length_min = match uint32(source.min_content_length.as_ref(), LENGTH_MIN) {
        0 => LENGTH_MIN,
        length => length,
    };
    Direction {
        enabled: boolean(enabled, true),
        length_min: u64::from(length_min),
        types,
    }
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    use pb::compressor_per_route::Override;
    if !holds::<pb::CompressorPerRoute>(any) {
        return Ok(None);
    }
    let source: pb::CompressorPerRoute = unpack(any, at)?;
    let overrides = match &source.r#override {
        Some(Override::Disabled(true)) => return Ok(Some(RouteConfig::Off)),
        Some(Override::Disabled(false)) => return Err(at.field("disabled").error("must be true where it is set")),
        Some(Override::Overrides(overrides)) => overrides,
        None => return Err(at.error("needs disabled or overrides")),
    };
    let response = overrides.response_direction_config.as_ref();
    let removes = response.and_then(|response| response.remove_accept_encoding_header.as_ref());
    let at_library = at.field("overrides").field("compressor_library");
    let other = overrides.compressor_library.as_ref();
    Ok(Some(RouteConfig::Instead {
        enabled: response.is_some(),
        remove_accept_encoding: removes.map(|value| value.value),
        library: other.map(|other| library(other, &at_library)).transpose()?,
    }))
}

fn library(source: &core::TypedExtensionConfig, at: &Path) -> Result<Library> {
    let any = required(source.typed_config.as_ref(), at, "typed_config")?;
    let at = at.field("typed_config");
    let between = |value: u32, most: u32, field: &str| {
        if value > most {
            return Err(at.field(field).error(format!("must be at most {most}")));
        }
        Ok(value)
    };
    if holds::<gzip::compressor::v3::Gzip>(any) {
        let source: gzip::compressor::v3::Gzip = unpack(any, &at)?;
        let level: gzip::compressor::v3::gzip::CompressionLevel =
            enumeration(source.compression_level, &at, "compression_level")?;
        return Ok(Library::Gzip(match level as u32 {
            0 => 6,
            level => level,
        }));
    }
    if holds::<brotli::compressor::v3::Brotli>(any) {
        let source: brotli::compressor::v3::Brotli = unpack(any, &at)?;
        let window_bits = uint32(source.window_bits.as_ref(), 18);
        if !(10..=24).contains(&window_bits) {
            return Err(at.field("window_bits").error("must be from 10 to 24"));
        }
        return Ok(Library::Brotli {
            quality: between(uint32(source.quality.as_ref(), 3), 11, "quality")?,
            window_bits,
        });
    }
    if holds::<zstd::compressor::v3::Zstd>(any) {
        let source: zstd::compressor::v3::Zstd = unpack(any, &at)?;
        let level = between(uint32(source.compression_level.as_ref(), 3), 22, "compression_level")?;
        return Ok(Library::Zstd {
            level: level.max(1),
            checksum: source.enable_checksum,
        });
    }
    Err(at.error(format!("{} is not supported: gzip, brotli and zstd are", any.type_url)))
}
