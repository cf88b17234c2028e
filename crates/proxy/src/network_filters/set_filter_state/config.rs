//! Objects that are left in the filter state of every connection, as configured (`envoy.filters.network.set_filter_state`).

use std::sync::Arc;

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::filters::common::set_filter_state::v3 as common;
use weft_proto::xds::envoy::extensions::filters::network::set_filter_state::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::{Path, Result, holds, text, unpack};
use crate::model::filters::set_filter_state::{self, Object as TextObject};

/// The object whose value Envoy offers to upstreams by ALPN.
pub const UPSTREAM_PROTOCOLS: &str = "envoy.network.application_protocols";

/// What is left (Envoy `set_filter_state.v3.Config`).
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// In this order.
    pub objects: Vec<Object>,
}

#[derive(Clone, Debug)]
pub enum Object {
    /// A text, for later filters and for the log.
    Text(TextObject),
    /// Protocols offered by ALPN to an upstream with TLS, instead of the cluster's.
    UpstreamProtocols(Arc<[Arc<str>]>),
}

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    use common::filter_state_value::Key;
    if !holds::<pb::Config>(any) {
        return Ok(None);
    }
    let source: pb::Config = unpack(any, at)?;
    let at = at.field("on_new_connection");
    let mut out = Config::default();
    for (index, source) in source.on_new_connection.iter().enumerate() {
        let at = at.index(index);
        out.objects.push(match &source.key {
            Some(Key::ObjectKey(key)) if key == UPSTREAM_PROTOCOLS => {
                Object::UpstreamProtocols(protocols(source, &at)?)
            }
            Some(Key::ObjectKey(_)) | None => Object::Text(set_filter_state::object(source, &at)?),
        });
    }
    Ok(Some(out))
}

/// Nobody reads the protocols of a connection whose requests go to many.
pub(super) fn not_before_http(config: &Config) -> Option<&'static str> {
    let mut objects = config.objects.iter();
    let leaves_protocols = objects.any(|object| matches!(object, Object::UpstreamProtocols(_)));
    leaves_protocols.then_some("envoy.network.application_protocols is supported before tcp_proxy only")
}

fn protocols(source: &common::FilterStateValue, at: &Path) -> Result<Arc<[Arc<str>]>> {
    use common::filter_state_value::{SharedWithUpstream, Value};
    use core::substitution_format_string::Format;
    if !source.factory_key.is_empty() {
        return Err(at.field("factory_key").error("is not supported here"));
    }
    if source.skip_if_empty {
        return Err(at.field("skip_if_empty").error("is not supported here"));
    }
    if source.shared_with_upstream == SharedWithUpstream::None as i32 {
        return Err(at.field("shared_with_upstream").error("NONE would have no effect"));
    }
    let format = source
        .value
        .as_ref()
        .and_then(|Value::FormatString(format)| format.format.as_ref());
    let text_source = match format {
        Some(Format::TextFormatSource(source)) => source.specifier.as_ref(),
        _ => None,
    };
    match text_source {
        Some(core::data_source::Specifier::InlineString(list)) if !list.contains('%') => {
            Ok(list.split(',').map(|protocol| text(protocol.trim())).collect())
        }
        _ => Err(at
            .field("format_string")
            .error("only a plain text_format_source.inline_string is supported")),
    }
}

#[cfg(test)]
mod tests {
    use prost::Name as _;
    use serde_json::json;

    use super::*;

    fn any(object: &serde_json::Value) -> Any {
        let pool = weft_proto::descriptors::pool();
        let name = pb::Config::full_name();
        let descriptor = pool.get_message_by_name(&name).unwrap();
        let config = json!({"on_new_connection": [object]});
        let message = prost_reflect::DynamicMessage::deserialize(descriptor, config).unwrap();
        Any {
            type_url: pb::Config::type_url(),
            value: prost::Message::encode_to_vec(&message),
        }
    }

    #[track_caller]
    fn check(object: &serde_json::Value, expected: std::result::Result<&str, &str>) {
        let got = read(&any(object), &Path::root("c")).map_err(|error| error.to_string());
        match (got, expected) {
            (Ok(Some(got)), Ok(expected)) => {
                let told = match &got.objects[0] {
                    Object::Text(object) => object.name.to_string(),
                    Object::UpstreamProtocols(list) => list.join("+"),
                };
                assert_eq!(told, expected, "{object}");
                assert_eq!(not_before_http(&got).is_some(), expected.contains('+'), "{object}");
            }
            (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{got}\nshould start with\n{expected}"),
            (got, _) => panic!("{object}: {got:?}"),
        }
    }

    #[test]
    fn objects_are_texts_or_protocols() {
        let plain = |text: &str| json!({"text_format_source": {"inline_string": text}});
        let alpn = |more: serde_json::Value| {
            let mut object = json!({"object_key": UPSTREAM_PROTOCOLS, "format_string": plain("a, b"),
                "shared_with_upstream": "ONCE"});
            for (key, value) in more.as_object().unwrap() {
                object[key] = value.clone();
            }
            object
        };
        check(&alpn(json!({})), Ok("a+b"));
        check(
            &alpn(json!({"shared_with_upstream": "NONE"})),
            Err("c.on_new_connection[0].shared_with_upstream: NONE"),
        );
        check(
            &alpn(json!({"factory_key": "envoy.string"})),
            Err("c.on_new_connection[0].factory_key: is not"),
        );
        check(
            &alpn(json!({"format_string": plain("%PROTOCOL%")})),
            Err("c.on_new_connection[0].format_string: only a plain"),
        );
        check(
            &json!({"object_key": "k", "factory_key": "envoy.string", "format_string": plain("%CONNECTION_ID%")}),
            Ok("k"),
        );
        check(
            &json!({"object_key": "k", "format_string": plain("v")}),
            Err("c.on_new_connection[0].factory_key: "),
        );
    }
}
