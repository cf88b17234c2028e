//! Values over values: files and `--set` change what a profile says. Names must exist, and a value keeps its type.

use std::path::Path;

use serde_json::Value;
use weft_api::suggest::nearest;

use crate::exit::Failure;
use crate::input;

/// Values that follow from others, and those others.
const DERIVED: [(&str, &str); 6] = [
    ("proxy.revision", "revision"),
    ("proxy.trustDomain", "trustDomain"),
    ("proxy.imagePullPolicy", "imagePullPolicy"),
    ("proxy.discoveryAddress", "namespace and revision"),
    ("proxy.discoveryAccount", "namespace"),
    ("proxy.caAddress", "namespace"),
];

/// Reads a file of values; an empty one changes nothing.
pub(super) fn read(path: &Path) -> anyhow::Result<Value> {
    let file = path.display();
    let text = input::read(path)?;
    let is_blank = |line: &str| matches!(line.trim(), "" | "---") || line.trim_start().starts_with('#');
    if text.lines().all(is_blank) {
        return Ok(Value::Null);
    }
    let layer: Value = serde_saphyr::from_str(&text).map_err(|error| Failure::bad_data(format!("{file}: {error}")))?;
    if layer.is_object() || layer.is_null() {
        return Ok(layer);
    }
    Err(Failure::bad_data(format!("{file}: {} is no set of fields", brief(&layer))).into())
}

/// The profile that the last of all layers names.
pub(super) fn profile_of(layers: &[(String, Value)], sets: &[String]) -> Option<String> {
    let set = sets.iter().rev().find_map(|set| set.strip_prefix("profile="));
    let filed = || {
        layers
            .iter()
            .rev()
            .find_map(|(_, layer)| layer.get("profile")?.as_str())
    };
    set.or_else(filed).map(str::to_owned)
}

/// Puts a layer over the values, whose names and types it must have. A name without a value changes nothing.
pub(super) fn merge(values: &mut Value, layer: Value, file: &str, path: &str) -> anyhow::Result<()> {
    let wrong =
        |layer: &Value, what: &str| Failure::bad_data(format!("{file}: {path}: {} is not {what}", brief(layer))).into();
    match (values, layer) {
        (_, Value::Null) => {}
        (Value::Object(fields), Value::Object(layer)) => {
            for (name, value) in layer {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let unknown = unknown(fields.keys().map(String::as_str), &name, &path);
                let field = fields
                    .get_mut(&name)
                    .ok_or_else(|| Failure::bad_data(format!("{file}: {unknown}")))?;
                if let Some(reason) = derived(&path) {
                    return Err(Failure::bad_data(format!("{file}: {reason}")).into());
                }
                merge(field, value, file, &path)?;
            }
        }
        (values @ Value::String(_), layer @ Value::String(_)) => *values = layer,
        (Value::String(_), layer @ (Value::Number(_) | Value::Bool(_))) => {
            return Err(wrong(&layer, "text; put it in quotes"));
        }
        (Value::String(_), layer) => return Err(wrong(&layer, "text")),
        (values @ Value::Bool(_), layer @ Value::Bool(_)) => *values = layer,
        (Value::Bool(_), layer) => return Err(wrong(&layer, "true or false")),
        (values @ Value::Number(_), layer @ Value::Number(_)) if values.is_f64() || is_whole(&layer) => {
            // A whole number stays a fraction where there was one, so that a later layer may set another.
            *values = if values.is_f64() { layer.as_f64().into() } else { layer };
        }
        (Value::Number(number), layer) if number.is_f64() => return Err(wrong(&layer, "a number")),
        (Value::Number(_), layer) => return Err(wrong(&layer, "a whole number")),
        (values @ Value::Array(_), Value::Array(layer)) if layer.iter().all(Value::is_string) => {
            *values = Value::Array(layer);
        }
        (Value::Array(_), layer) => return Err(wrong(&layer, "a list of names")),
        (Value::Object(_), layer) => return Err(wrong(&layer, "a set of fields")),
        (Value::Null, layer) => return Err(wrong(&layer, "known")),
    }
    Ok(())
}

/// Sets one value, read as what the value there is.
pub(super) fn assign(values: &mut Value, path: &str, text: &str) -> anyhow::Result<()> {
    if let Some(reason) = derived(path) {
        return Err(Failure::usage(format!("--set {reason}")).into());
    }
    let mut at = values;
    for name in path.split('.') {
        let Some(fields) = at.as_object_mut() else {
            return Err(Failure::usage(format!("--set {path}: {name} is below a value that has no fields")).into());
        };
        let unknown = unknown(fields.keys().map(String::as_str), name, path);
        at = fields
            .get_mut(name)
            .ok_or_else(|| Failure::usage(format!("--set {unknown}")))?;
    }
    let wrong = |what: &str| Failure::usage(format!("--set {path}: {text:?} is not {what}"));
    *at = match at {
        Value::Bool(_) => Value::Bool(text.parse().map_err(|_| wrong("true or false"))?),
        Value::Number(number) if number.is_f64() => {
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            Value::from(value.ok_or_else(|| wrong("a number"))?)
        }
        Value::Number(_) => Value::from(text.parse::<u32>().map_err(|_| wrong("a whole number"))?),
        Value::Array(_) => text.split(',').filter(|item| !item.is_empty()).collect(),
        Value::Object(_) => return Err(wrong("a set of fields; name one of them").into()),
        Value::Null | Value::String(_) => Value::String(text.to_owned()),
    };
    Ok(())
}

fn is_whole(number: &Value) -> bool {
    number.as_u64().is_some_and(|number| u32::try_from(number).is_ok())
}

/// Why a value cannot be set itself.
fn derived(path: &str) -> Option<String> {
    let (_, source) = DERIVED.iter().find(|(derived, _)| *derived == path)?;
    Some(format!("{path} cannot be set: it follows from {source}"))
}

/// A value as a file has it, cut where it is long.
fn brief(value: &Value) -> String {
    const CHARS_MAX: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn unknown<'a>(known: impl Iterator<Item = &'a str>, name: &str, path: &str) -> String {
    match nearest(name, known) {
        Some(similar) => format!("{path}: there is no such value; did you mean {similar}?"),
        None => format!("{path}: there is no such value"),
    }
}
