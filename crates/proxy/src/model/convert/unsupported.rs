//! The walk that finds every field that is set and not carried.

use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};

use super::supported::carried_fields;

/// A field that is set and that the proxy does not carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its path within the resource.
    pub path: String,
    /// Why, for people.
    pub reason: String,
}

/// Nesting deeper than this is refused; real resources stay below thirty.
const DEPTH_MAX: usize = 64;

/// The entry of an HTTP connection manager's filter list.
const HTTP_FILTER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";

/// What a route says about a filter.
const ROUTE_FILTER: &str = "envoy.config.route.v3.FilterConfig";

/// Every field below `message` that is set and not carried, in the order of the fields.
pub fn unsupported_fields(message: &DynamicMessage, path: &str) -> Vec<Unsupported> {
    let mut found = Vec::new();
    walk(message, path, 0, &mut found);
    found
}

fn walk(message: &DynamicMessage, path: &str, depth: usize, found: &mut Vec<Unsupported>) {
    let descriptor = message.descriptor();
    let type_name = descriptor.full_name();
    if type_name == "google.protobuf.Any" {
        return walk_any(message, path, depth, found);
    }
    if type_name.starts_with("google.protobuf.") {
        return;
    }
    if depth > DEPTH_MAX {
        return found.push(refuse(path, "is nested too deeply"));
    }
    let Some(carried) = carried_fields(type_name) else {
        return found.push(refuse(path, &format!("{type_name} is not supported")));
    };
    let skipped = match type_name {
        HTTP_FILTER => is_left_out(message, &type_within(message, "typed_config")),
        ROUTE_FILTER => {
            let config = type_within(message, "config");
            // One without a type says no more than that the filter is on.
            config.is_empty() || is_set(message, "disabled") || is_left_out(message, &config)
        }
        _ => false,
    };
    if skipped {
        return;
    }
    for (field, value) in message.fields() {
        let below = if path.is_empty() {
            field.name().to_owned()
        } else {
            format!("{path}.{}", field.name())
        };
        if !carried.contains(field.name()) {
            found.push(refuse(&below, "is not supported"));
            continue;
        }
        walk_value(value, &below, depth + 1, found);
    }
    // Fields that are newer than the descriptors: nobody can say what they ask for.
    for field in message.unknown_fields() {
        found.push(refuse(path, &format!("field number {} is not known", field.number())));
    }
}

/// Whether what a filter is told may be left out: it says so itself, and its type is not carried (Envoy does the same for unknown types).
fn is_left_out(filter: &DynamicMessage, type_name: &str) -> bool {
    is_set(filter, "is_optional") && carried_fields(type_name).is_none()
}

/// Name of the type of the message that a field of type `Any` holds; empty where it holds none.
fn type_within(message: &DynamicMessage, field: &str) -> String {
    let held = message.get_field_by_name(field);
    let held = held.as_deref().and_then(Value::as_message);
    let type_url = held.and_then(|any| any.get_field_by_name("type_url"));
    let type_url = type_url.as_deref().and_then(Value::as_str).unwrap_or_default();
    type_url.rsplit('/').next().unwrap_or_default().to_owned()
}

fn is_set(message: &DynamicMessage, field: &str) -> bool {
    let value = message.get_field_by_name(field);
    value.and_then(|value| value.as_bool()) == Some(true)
}

fn walk_value(value: &Value, path: &str, depth: usize, found: &mut Vec<Unsupported>) {
    match value {
        Value::Message(message) => walk(message, path, depth, found),
        Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                walk_value(value, &format!("{path}[{index}]"), depth, found);
            }
        }
        Value::Map(values) => {
            let mut entries: Vec<(String, &Value)> = values.iter().map(|(key, value)| (key_text(key), value)).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, value) in entries {
                walk_value(value, &format!("{path}[{key:?}]"), depth, found);
            }
        }
        Value::Bool(_)
        | Value::I32(_)
        | Value::I64(_)
        | Value::U32(_)
        | Value::U64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::EnumNumber(_) => {}
    }
}

fn walk_any(any: &DynamicMessage, path: &str, depth: usize, found: &mut Vec<Unsupported>) {
    let type_url = any.get_field_by_name("type_url");
    let type_url = type_url.as_deref().and_then(Value::as_str).unwrap_or_default();
    let name = type_url.rsplit('/').next().unwrap_or_default();
    let descriptor = any.descriptor();
    let Some(descriptor) = descriptor.parent_pool().get_message_by_name(name) else {
        return found.push(refuse(path, &format!("{type_url:?} is not a supported type")));
    };
    let value = any.get_field_by_name("value");
    let bytes = value.as_deref().and_then(Value::as_bytes).cloned().unwrap_or_default();
    match DynamicMessage::decode(descriptor, bytes) {
        Ok(message) => walk(&message, path, depth, found),
        Err(error) => found.push(refuse(path, &format!("cannot be decoded as {name}: {error}"))),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
    }
}

fn refuse(path: &str, reason: &str) -> Unsupported {
    Unsupported {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
