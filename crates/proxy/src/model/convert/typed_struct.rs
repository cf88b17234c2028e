//! Istio's filters: types that Envoy's API does not have come as `xds.type.v3.TypedStruct`, whose fields are read here by name.

use std::collections::HashMap;
use std::time::Duration;

use weft_proto::typed_struct::TypedStruct;
use weft_proto::xds::google::protobuf as pb;

use super::{Path, Result, holds, unpack};

/// The fields of a configuration by name.
pub(in crate::model) type Fields = HashMap<String, pb::Value>;

/// The fields of a configuration of this type, which may come without any; `None` for one of another type.
pub(in crate::model) fn fields_of(any: &pb::Any, type_url: &str, at: &Path) -> Result<Option<Fields>> {
    if any.type_url == type_url {
        return Ok(Some(Fields::new()));
    }
    if !holds::<TypedStruct>(any) {
        return Ok(None);
    }
    let typed: TypedStruct = unpack(any, at)?;
    Ok((typed.type_url == type_url).then(|| typed.value.unwrap_or_default().fields))
}

/// In an order that does not change, so that errors do not.
pub(in crate::model) fn sorted(fields: &Fields) -> Vec<(&str, &pb::Value)> {
    let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

pub(in crate::model) fn boolean(value: &pb::Value, at: &Path) -> Result<bool> {
    match value.kind {
        Some(pb::value::Kind::BoolValue(value)) => Ok(value),
        _ => Err(at.error("must be true or false")),
    }
}

/// A duration in protobuf's JSON form: seconds, with a fraction where there is one, and `s`.
pub(in crate::model) fn duration(value: &pb::Value, at: &Path) -> Result<Duration> {
    let wrong = || at.error("must be a duration in seconds, such as 5s");
    let Some(pb::value::Kind::StringValue(text)) = &value.kind else {
        return Err(wrong());
    };
    let seconds = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
    let seconds = seconds.ok_or_else(wrong)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
pub(in crate::model) mod tests {
    use prost::Message;

    use super::*;

    /// A `TypedStruct` of a type with these fields.
    pub(in crate::model) fn typed_struct(type_url: &str, json: &str) -> pb::Any {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let typed = TypedStruct {
            type_url: type_url.to_owned(),
            value: Some(structure(&value)),
        };
        pb::Any {
            type_url: "type.googleapis.com/xds.type.v3.TypedStruct".to_owned(),
            value: typed.encode_to_vec(),
        }
    }

    fn structure(value: &serde_json::Value) -> pb::Struct {
        let fields = value.as_object().into_iter().flatten();
        pb::Struct {
            fields: fields.map(|(key, value)| (key.clone(), convert(value))).collect(),
        }
    }

    fn convert(value: &serde_json::Value) -> pb::Value {
        use pb::value::Kind;
        pb::Value {
            kind: Some(match value {
                serde_json::Value::Bool(value) => Kind::BoolValue(*value),
                serde_json::Value::String(text) => Kind::StringValue(text.clone()),
                serde_json::Value::Array(values) => Kind::ListValue(pb::ListValue {
                    values: values.iter().map(convert).collect(),
                }),
                serde_json::Value::Object(_) => Kind::StructValue(structure(value)),
                serde_json::Value::Null | serde_json::Value::Number(_) => Kind::NullValue(0),
            }),
        }
    }
}
