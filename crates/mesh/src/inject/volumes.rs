//! Volumes and mounts that annotations give as JSON: typed, and no field that Kubernetes would drop without a word.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Objects of one type as JSON: a list of objects with names, or a map from names to objects.
pub(super) fn named_list<T: DeserializeOwned + Serialize>(value: &str) -> Result<Vec<T>, String> {
    let items = match serde_json::from_str::<Value>(value).map_err(|error| wrong(&error))? {
        Value::Array(items) => items,
        Value::Object(map) => map.into_iter().map(|(name, item)| with_name(item, name)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err("must be a JSON list, or a JSON object from names to values".to_owned());
        }
    };
    items.into_iter().map(typed).collect()
}

fn typed<T: DeserializeOwned + Serialize>(item: Value) -> Result<T, String> {
    let Some(name) = item.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        return Err("every item needs a name".to_owned());
    };
    let name = name.to_owned();
    let typed: T = serde_json::from_value(item.clone()).map_err(|error| wrong(&error))?;
    let kept = serde_json::to_value(&typed).map_err(|error| wrong(&error))?;
    match lost(&kept, &item) {
        Some(field) => Err(format!("{name}: there is no field {field}; is it misspelt?")),
        None => Ok(typed),
    }
}

fn wrong(error: &serde_json::Error) -> String {
    format!("is not what it should be: {error}")
}

fn with_name(mut item: Value, name: String) -> Value {
    if let Some(fields) = item.as_object_mut() {
        fields.insert("name".to_owned(), Value::String(name));
    }
    item
}

/// The path of a field of `part` that is not in `whole`. Null counts as left out.
fn lost(whole: &Value, part: &Value) -> Option<String> {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().find_map(|(field, value)| match whole.get(field) {
            _ if value.is_null() => None,
            Some(found) => lost(found, value).map(|below| format!("{field}.{below}")),
            None => Some(field.clone()),
        }),
        (Value::Array(whole), Value::Array(part)) => whole.iter().zip(part).find_map(|(whole, part)| lost(whole, part)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Volume, VolumeMount};

    use super::*;

    #[test]
    fn lists_and_maps_of_volumes_parse() {
        for text in [
            r#"[{"name": "c", "secret": {"secretName": "s", "optional": null}}]"#,
            r#"{"c": {"secret": {"secretName": "s"}}}"#,
        ] {
            let volumes: Vec<Volume> = named_list(text).unwrap();
            assert_eq!(volumes[0].name, "c");
            let secret = volumes[0].secret.as_ref().unwrap();
            assert_eq!(secret.secret_name.as_deref(), Some("s"));
        }
        assert_eq!(named_list::<Volume>(r#"{"t": {"emptyDir": {}}}"#).unwrap().len(), 1);
    }

    #[test]
    fn fields_that_would_be_dropped_are_refused() {
        #[track_caller]
        fn check<T: DeserializeOwned + Serialize>(text: &str, field: &str) {
            let reason = named_list::<T>(text).map(|_| ()).unwrap_err();
            assert_eq!(reason, format!("c: there is no field {field}; is it misspelt?"));
        }
        check::<VolumeMount>(r#"{"c": {"mountPath": "/c", "readonly": true}}"#, "readonly");
        check::<Volume>(r#"[{"name": "c", "secert": {"secretName": "s"}}]"#, "secert");
        check::<Volume>(
            r#"{"c": {"projected": {"sources": [{"secret": {"nmae": "s"}}]}}}"#,
            "projected.sources.secret.nmae",
        );
    }
}
