//! From xDS resources to the checked model. Protobuf stops here.
//!
//! A resource is first walked by field name against what the proxy carries (`supported`), so that nothing that is set is
//! ignored; the typed conversions that follow read only those fields.

#![allow(
    deprecated,
    reason = "users' files still set Envoy's deprecated fields, and those stay in force"
)]

pub(in crate::model) mod access_log;
mod chain;
mod chain_match;
mod cluster;
mod descriptors;
mod dns;
mod endpoint;
pub(in crate::model) mod format;
mod http;
mod listener;
pub(in crate::model) mod matcher;
mod outlier;
mod path;
mod policies;
pub(in crate::model) mod rbac;
mod route;
pub(in crate::model) mod route_headers;
mod route_retry;
pub(in crate::model) mod secret;
mod supported;
mod tls;
pub(in crate::model) mod typed_struct;
mod unsupported;
mod virtual_host;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prost::{Message, Name};
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::google::protobuf as pb;

pub use cluster::{cluster, cluster_security};
pub use descriptors::{carried_message, release_unused_descriptors};
pub use endpoint::load_assignment;
pub use listener::{closed_listener, listener};
pub use path::{Path, Refusals};
pub use route::route_config;
pub use route_retry::parse_retry_on;
pub use secret::{grpc_cluster, secret};
#[cfg(test)]
pub(crate) use supported::{carried_fields, carried_types};
pub use unsupported::{Unsupported, unsupported_fields};
pub use virtual_host::closed_routes;

/// Type of what a route says about a filter.
pub const FILTER_CONFIG_URL: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";

/// Type that stands in files for a configuration without a type. Only the reader of files writes it: it is no type that anybody sends.
pub const NOTHING_URL: &str = "nothing/google.protobuf.Empty";

/// Why a resource cannot become part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{reason}", if path.is_empty() { "" } else { ": " })]
pub struct ConvertError {
    /// Field path within the resource, for example `filter_chains[0].filters[0].typed_config.stat_prefix`.
    pub path: String,
    /// What is wrong, and where it helps what to write instead.
    pub reason: String,
}

pub(in crate::model) type Result<T> = std::result::Result<T, ConvertError>;

/// The value of a message field that must be there.
pub(in crate::model) fn required<'a, T>(value: Option<&'a T>, at: &Path, field: &str) -> Result<&'a T> {
    value.ok_or_else(|| at.field(field).error("is required"))
}

/// Decodes an `Any` that must hold `T`.
pub(in crate::model) fn unpack<T: Message + Name + Default>(any: &pb::Any, at: &Path) -> Result<T> {
    if any.type_url != T::type_url() {
        return Err(at.error(format!("holds {}, expected {}", any.type_url, T::type_url())));
    }
    T::decode(any.value.as_slice()).map_err(|error| at.error(format!("cannot be decoded: {error}")))
}

/// Whether an `Any` holds `T`.
pub(in crate::model) fn holds<T: Name>(any: &pb::Any) -> bool {
    any.type_url == T::type_url()
}

pub(in crate::model) fn duration(value: Option<&pb::Duration>, default: Duration, at: &Path) -> Result<Duration> {
    optional_duration(value, at).map(|value| value.unwrap_or(default))
}

pub(in crate::model) fn optional_duration(value: Option<&pb::Duration>, at: &Path) -> Result<Option<Duration>> {
    let Some(value) = value else {
        return Ok(None);
    };
    let seconds = u64::try_from(value.seconds).map_err(|_| at.error("must not be negative"))?;
    let nanos = u32::try_from(value.nanos).map_err(|_| at.error("must not be negative"))?;
    Ok(Some(Duration::new(seconds, nanos)))
}

pub(in crate::model) fn uint32(value: Option<&pb::UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |value| value.value)
}

pub(in crate::model) fn boolean(value: Option<&pb::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

/// An enum field, refused when its number is unknown.
pub(in crate::model) fn enumeration<E: TryFrom<i32>>(value: i32, at: &Path, field: &str) -> Result<E> {
    E::try_from(value).map_err(|_| at.field(field).error(format!("has the unknown value {value}")))
}

/// Refuses what does not come over the aggregated stream.
fn by_ads(config: Option<&core::ConfigSource>, at: &Path) -> Result<()> {
    use core::config_source::ConfigSourceSpecifier as Specifier;
    match config.and_then(|config| config.config_source_specifier.as_ref()) {
        Some(Specifier::Ads(_)) => Ok(()),
        _ => Err(at.error("only ads is supported")),
    }
}

/// A TCP address.
fn socket_address(address: Option<&core::Address>, at: &Path) -> Result<SocketAddr> {
    use core::address::Address as Kind;
    match address.and_then(|address| address.address.as_ref()) {
        Some(Kind::SocketAddress(socket)) => {
            let at = at.field("socket_address");
            let ip = socket.address.parse().map_err(|_| {
                at.field("address")
                    .error(format!("{:?} is not an IP address", socket.address))
            })?;
            Ok(SocketAddr::new(ip, port(socket, &at)?))
        }
        Some(Kind::Pipe(_)) => Err(at.field("pipe").error("is not supported here, use socket_address")),
        Some(Kind::EnvoyInternalAddress(_)) => Err(at.field("envoy_internal_address").error("is not supported")),
        None => Err(at.error("is required")),
    }
}

/// Where the admin server listens.
pub fn admin_address(address: &core::Address, at: &Path) -> std::result::Result<SocketAddr, ConvertError> {
    socket_address(Some(address), at)
}

fn port(socket: &core::SocketAddress, at: &Path) -> Result<u16> {
    use core::socket_address::PortSpecifier;
    if socket.protocol != 0 {
        return Err(at.field("protocol").error("only TCP is supported"));
    }
    match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => {
            u16::try_from(port).map_err(|_| at.field("port_value").error(format!("{port} is not a port")))
        }
        Some(PortSpecifier::NamedPort(_)) => Err(at.field("named_port").error("is not supported, use port_value")),
        None => Err(at.field("port_value").error("is required")),
    }
}

/// A name as shared text.
pub(in crate::model) fn text(value: &str) -> Arc<str> {
    Arc::from(value)
}

/// The RE2 expression of a safe regex, for whole strings.
fn full_regex(source: &str, at: &Path) -> Result<regex::Regex> {
    compile_regex(&format!("^(?:{source})$"), at)
}

/// Compiles with a bound on the size of the program, since expressions come from users.
fn compile_regex(source: &str, at: &Path) -> Result<regex::Regex> {
    regex::RegexBuilder::new(source)
        .size_limit(weft_proto::operators::REGEX_PROGRAM_BYTES_MAX)
        .dot_matches_new_line(false)
        .build()
        .map_err(|error| at.error(format!("{error}")))
}

/// RE2's `\1` in a substitution as the regex crate's `${1}`.
fn substitution(source: &str, at: &Path) -> Result<Arc<str>> {
    let mut out = String::with_capacity(source.len() + 4);
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                _ => return Err(at.error("a backslash must be followed by a digit or a backslash")),
            },
            other => out.push(other),
        }
    }
    Ok(Arc::from(out))
}

/// A block of addresses.
pub(in crate::model) fn cidr(source: &core::CidrRange, at: &Path) -> Result<ipnet::IpNet> {
    let address: std::net::IpAddr = source.address_prefix.parse().map_err(|_| {
        at.field("address_prefix")
            .error(format!("{:?} is not an IP address", source.address_prefix))
    })?;
    let length = u8::try_from(uint32(source.prefix_len.as_ref(), 0)).ok();
    let block = length.and_then(|length| ipnet::IpNet::new(address, length).ok());
    block.ok_or_else(|| at.field("prefix_len").error("is longer than the address"))
}

pub(in crate::model) fn header_name(value: &str, at: &Path) -> Result<::http::HeaderName> {
    value
        .parse()
        .map_err(|_| at.error(format!("{value:?} is not a header name")))
}

pub(in crate::model) fn header_key(value: &str, at: &Path) -> Result<super::matcher::HeaderKey> {
    use super::matcher::HeaderKey;
    Ok(match value.to_ascii_lowercase().as_str() {
        ":method" => HeaderKey::Method,
        ":path" => HeaderKey::Path,
        ":authority" | "host" => HeaderKey::Authority,
        ":scheme" => HeaderKey::Scheme,
        ":status" => HeaderKey::Status,
        name => HeaderKey::Name(header_name(name, at)?),
    })
}

pub(in crate::model) fn status(code: u32, at: &Path) -> Result<::http::StatusCode> {
    let code16 = u16::try_from(code).ok();
    code16
        .and_then(|code| ::http::StatusCode::from_u16(code).ok())
        .filter(|status| status.as_u16() >= 200)
        .ok_or_else(|| at.error(format!("{code} is not an HTTP status of a final answer")))
}

/// Inline bytes or a file's path.
pub(in crate::model) fn data_source(source: &core::DataSource, at: &Path) -> Result<super::secret::DataSource> {
    use core::data_source::Specifier;

    use super::secret::DataSource;
    Ok(match &source.specifier {
        Some(Specifier::Filename(path)) => DataSource::File(path.into()),
        Some(Specifier::InlineBytes(bytes)) => DataSource::Inline(bytes.clone().into()),
        Some(Specifier::InlineString(text)) => DataSource::Inline(text.clone().into_bytes().into()),
        Some(Specifier::EnvironmentVariable(_)) => {
            return Err(at
                .field("environment_variable")
                .error("is not supported, use filename or inline_string"));
        }
        None => return Err(at.error("is required")),
    })
}

pub(in crate::model) fn fraction(
    percent: &weft_proto::xds::envoy::r#type::v3::FractionalPercent,
    at: &Path,
) -> Result<super::matcher::Fraction> {
    use weft_proto::xds::envoy::r#type::v3::fractional_percent::DenominatorType;
    let scale = match enumeration(percent.denominator, at, "denominator")? {
        DenominatorType::Hundred => 10_000,
        DenominatorType::TenThousand => 100,
        DenominatorType::Million => 1,
    };
    Ok(super::matcher::Fraction {
        parts_per_million: percent.numerator.saturating_mul(scale).min(1_000_000),
    })
}

/// The share of requests that a runtime key has by default.
pub(in crate::model) fn runtime_share(
    source: Option<&core::RuntimeFractionalPercent>,
    at: &Path,
) -> Result<Option<super::matcher::Fraction>> {
    let Some(source) = source else {
        return Ok(None);
    };
    let share = required(source.default_value.as_ref(), at, "default_value")?;
    fraction(share, &at.field("default_value")).map(Some)
}

/// Fields of a protobuf struct as JSON.
pub(crate) fn struct_json(source: &pb::Struct) -> serde_json::Map<String, serde_json::Value> {
    let fields = source.fields.iter();
    fields.map(|(key, value)| (key.clone(), value_json(value))).collect()
}

fn value_json(source: &pb::Value) -> serde_json::Value {
    use pb::value::Kind;
    use serde_json::Value;
    match &source.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        // Numbers of protobuf are floating; whole ones are written without a point.
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 1e15 => Value::from(*number as i64),
        Some(Kind::NumberValue(number)) => Value::from(*number),
        Some(Kind::StringValue(text)) => Value::from(text.as_str()),
        Some(Kind::BoolValue(value)) => Value::from(*value),
        Some(Kind::StructValue(object)) => Value::Object(struct_json(object)),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(value_json).collect()),
    }
}

/// Where a resource comes from (`filter_metadata["weft"]`).
fn origin(metadata: Option<&core::Metadata>) -> Option<super::metadata::Origin> {
    let fields = &metadata?.filter_metadata.get("weft")?.fields;
    let object = struct_text(fields.get("object")?)?;
    let number = |key| match fields.get(key)?.kind {
        Some(pb::value::Kind::NumberValue(number)) if number >= 0.0 => Some(number as u32),
        _ => None,
    };
    Some(super::metadata::Origin {
        object,
        rule: number("rule"),
        file: fields.get("file").and_then(struct_text),
        line: number("line"),
    })
}

fn struct_text(value: &pb::Value) -> Option<Arc<str>> {
    match &value.kind {
        Some(pb::value::Kind::StringValue(text)) => Some(Arc::from(text.as_str())),
        _ => None,
    }
}
