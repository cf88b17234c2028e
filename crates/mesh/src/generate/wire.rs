//! Small pieces of Envoy's API that many resources are made of.

use std::net::IpAddr;
use std::time::Duration;

use prost::{Message, Name};
use weft_api::meta::Place;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;
use weft_proto::xds::google::protobuf as pb;

use super::writer::SECTION;
use crate::snapshot::Origin;

pub(super) fn any<T: Message + Name>(message: &T) -> pb::Any {
    pb::Any {
        type_url: T::type_url(),
        value: message.encode_to_vec(),
    }
}

/// A filter of connections.
pub(super) fn network_filter(name: &str, config: pb::Any) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    }
}

pub(super) fn duration(value: Duration) -> pb::Duration {
    pb::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn uint32(value: u32) -> pb::UInt32Value {
    pb::UInt32Value { value }
}

pub(super) fn boolean(value: bool) -> pb::BoolValue {
    pb::BoolValue { value }
}

pub(super) fn address(host: &str, port: u16) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: host.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(port))),
            ..core::SocketAddress::default()
        })),
    }
}

pub(super) fn ip_address(ip: IpAddr, port: u16) -> core::Address {
    address(&ip.to_string(), port)
}

pub(super) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..core::ConfigSource::default()
    }
}

/// A gRPC service reached through a cluster.
pub(super) fn grpc_service(cluster: &str) -> core::GrpcService {
    core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
            core::grpc_service::EnvoyGrpc {
                cluster_name: cluster.to_owned(),
                ..core::grpc_service::EnvoyGrpc::default()
            },
        )),
        ..core::GrpcService::default()
    }
}

pub(super) fn text(value: &str) -> pb::Value {
    pb::Value {
        kind: Some(pb::value::Kind::StringValue(value.to_owned())),
    }
}

pub(super) fn number(value: f64) -> pb::Value {
    pb::Value {
        kind: Some(pb::value::Kind::NumberValue(value)),
    }
}

pub(super) fn truth(value: bool) -> pb::Value {
    pb::Value {
        kind: Some(pb::value::Kind::BoolValue(value)),
    }
}

pub(super) fn nested(value: pb::Struct) -> pb::Value {
    pb::Value {
        kind: Some(pb::value::Kind::StructValue(value)),
    }
}

pub(super) fn list(values: Vec<pb::Value>) -> pb::Value {
    pb::Value {
        kind: Some(pb::value::Kind::ListValue(pb::ListValue { values })),
    }
}

pub(super) fn structure<const N: usize>(fields: [(&str, pb::Value); N]) -> pb::Struct {
    pb::Struct {
        fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

/// Names the object, rule and line that something was generated from.
pub(super) fn origin(origin: &Origin, rule: Option<usize>, place: &Place) -> core::Metadata {
    let mut fields = structure([
        ("object", text(&origin.object.to_string())),
        ("file", text(&place.file)),
        ("line", number(f64::from(place.at.line))),
    ]);
    if let Some(rule) = rule.and_then(|rule| u32::try_from(rule).ok()) {
        fields.fields.insert("rule".to_owned(), number(f64::from(rule)));
    }
    metadata(SECTION, fields)
}

pub(super) fn metadata(section: &str, fields: pb::Struct) -> core::Metadata {
    core::Metadata {
        filter_metadata: [(section.to_owned(), fields)].into(),
        ..core::Metadata::default()
    }
}

pub(super) fn exact(value: &str) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(value.to_owned())),
        ignore_case: false,
    }
}

pub(super) fn regex(source: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: source.to_owned(),
        ..matcher::RegexMatcher::default()
    }
}
