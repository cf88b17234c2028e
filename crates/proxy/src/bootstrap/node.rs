//! This proxy as others are told of it.

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::google::protobuf as pb;

use crate::model::bootstrap::Node;

/// The node that control planes and collectors are told.
pub fn node(source: &Node) -> core::Node {
    let fields = source
        .metadata
        .iter()
        .map(|(key, value)| (key.clone(), json_value(value)));
    core::Node {
        id: source.id.to_string(),
        cluster: source.cluster.to_string(),
        metadata: Some(pb::Struct {
            fields: fields.collect(),
        }),
        locality: Some(core::Locality {
            region: source.locality.region.to_string(),
            zone: source.locality.zone.to_string(),
            sub_zone: source.locality.sub_zone.to_string(),
        }),
        user_agent_name: "weft-proxy".to_owned(),
        user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").to_owned(),
        )),
        ..core::Node::default()
    }
}

fn json_value(source: &serde_json::Value) -> pb::Value {
    use pb::value::Kind as Value;
    let kind = match source {
        serde_json::Value::Null => Value::NullValue(0),
        serde_json::Value::Bool(value) => Value::BoolValue(*value),
        serde_json::Value::Number(number) => Value::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Value::StringValue(text.clone()),
        serde_json::Value::Array(values) => Value::ListValue(pb::ListValue {
            values: values.iter().map(json_value).collect(),
        }),
        serde_json::Value::Object(fields) => Value::StructValue(pb::Struct {
            fields: fields
                .iter()
                .map(|(key, value)| (key.clone(), json_value(value)))
                .collect(),
        }),
    };
    pb::Value { kind: Some(kind) }
}
