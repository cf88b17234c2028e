//! Accepted means enforced: every field of the table of carried fields changes the model, or is in a short list that says why not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use super::{TYPE, convert_bootstrap, from_value, pb};
use crate::model::convert;

/// A bootstrap in which every carried field is set to something else than its default.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/carried.yaml");

/// Fields without an effect, each with its reason.
const WITHOUT_EFFECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/without_effect.yaml");

/// Fields that have no effect for one reason.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    because: String,
    fields: Vec<String>,
}

/// What is proven, and how a configuration that is a little different is made.
struct Proof {
    whole: String,
    /// Fields by name, with whether a change of theirs changed the model.
    effects: BTreeMap<String, bool>,
}

type Rebuild<'a> = &'a dyn Fn(DynamicMessage) -> DynamicMessage;

// === impl Proof ===

impl Proof {
    /// Tries every carried field of a message and of those below it; `rebuild` puts a changed one into the whole.
    fn visit(&mut self, message: &DynamicMessage, rebuild: Rebuild<'_>) {
        let descriptor = message.descriptor();
        if descriptor.full_name() == "google.protobuf.Any" {
            return self.visit_any(message, rebuild);
        }
        let Some(carried) = convert::carried_fields(descriptor.full_name()) else {
            return;
        };
        for field in descriptor.fields() {
            if !carried.contains(field.name()) {
                continue;
            }
            let name = format!("{}.{}", descriptor.full_name(), field.name());
            let known = self.effects.get(&name).copied();
            let is_set = message.has_field(&field);
            if known != Some(true) {
                let changes = variants(message, &field).into_iter();
                let any = { changes }.any(|changed| self.differs(&rebuild(changed)));
                if is_set || any {
                    self.effects.insert(name, any);
                }
            }
            if is_set {
                self.visit_value(message, &field, rebuild);
            }
        }
    }

    fn visit_value(&mut self, message: &DynamicMessage, field: &FieldDescriptor, rebuild: Rebuild<'_>) {
        let set = |value: Value| {
            let mut changed = message.clone();
            changed.set_field(field, value);
            rebuild(changed)
        };
        let value = message.get_field(field);
        if let Some(inner) = value.as_message() {
            self.visit(inner, &|inner| set(Value::Message(inner)));
        }
        let values = value.as_list().unwrap_or_default();
        for (at, value) in values.iter().enumerate() {
            let Some(inner) = value.as_message() else { continue };
            self.visit(inner, &|inner| {
                let mut values = values.to_vec();
                values[at] = Value::Message(inner);
                set(Value::List(values))
            });
        }
        for (key, value) in value.as_map().into_iter().flatten() {
            let Some(inner) = value.as_message() else { continue };
            self.visit(inner, &|inner| {
                let mut values = value_map(message, field);
                values.insert(key.clone(), Value::Message(inner));
                set(Value::Map(values))
            });
        }
    }

    fn visit_any(&mut self, any: &DynamicMessage, rebuild: Rebuild<'_>) {
        let text = any.get_field_by_name("type_url").unwrap();
        let name = text.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let Some(descriptor) = convert::carried_message(&name) else {
            return;
        };
        let bytes = any.get_field_by_name("value").unwrap().as_bytes().unwrap().clone();
        let inner = DynamicMessage::decode(descriptor, bytes).unwrap();
        self.visit(&inner, &|inner| {
            let mut changed = any.clone();
            changed.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
            rebuild(changed)
        });
    }

    /// Whether a configuration becomes another model, or is refused.
    fn differs(&self, changed: &DynamicMessage) -> bool {
        model(changed).map_or(true, |model| model != self.whole)
    }
}

/// The entries of a field that is a map.
fn value_map(message: &DynamicMessage, field: &FieldDescriptor) -> std::collections::HashMap<MapKey, Value> {
    message.get_field(field).as_map().cloned().unwrap_or_default()
}

/// The same message with a field taken away, and with another value in it.
fn variants(message: &DynamicMessage, field: &FieldDescriptor) -> Vec<DynamicMessage> {
    let mut variants = Vec::new();
    let mut with = |value: Option<Value>| {
        let mut changed = message.clone();
        match value {
            Some(value) => changed.set_field(field, value),
            None => changed.clear_field(field),
        }
        variants.push(changed);
    };
    if message.has_field(field) {
        with(None);
    }
    match (message.get_field(field).as_ref(), field.kind()) {
        (Value::Bool(value), _) => with(Some(Value::Bool(!value))),
        (Value::EnumNumber(value), Kind::Enum(descriptor)) => {
            for other in descriptor.values().filter(|other| other.number() != *value) {
                with(Some(Value::EnumNumber(other.number())));
            }
        }
        (Value::Message(wrapper), _) if wrapper.descriptor().full_name() == "google.protobuf.UInt32Value" => {
            let value = wrapper.get_field_by_name("value").unwrap().as_u32().unwrap();
            let mut wrapper = wrapper.clone();
            wrapper.set_field_by_name("value", Value::U32(value + 1));
            with(Some(Value::Message(wrapper)));
        }
        (Value::Message(wrapper), _) if wrapper.descriptor().full_name() == "google.protobuf.BoolValue" => {
            let value = wrapper.get_field_by_name("value").unwrap().as_bool().unwrap();
            let mut wrapper = wrapper.clone();
            wrapper.set_field_by_name("value", Value::Bool(!value));
            with(Some(Value::Message(wrapper)));
        }
        _ => {}
    }
    variants
}

/// The model as text; the error where the configuration is refused.
fn model(source: &DynamicMessage) -> Result<String, String> {
    if let Some(field) = convert::unsupported_fields(source, "").first() {
        return Err(format!("{} {}", field.path, field.reason));
    }
    let typed = pb::Bootstrap::decode(source.encode_to_vec().as_slice()).map_err(|error| error.to_string())?;
    let converted = convert_bootstrap(&typed).map_err(|error| error.to_string())?;
    Ok(format!("{converted:?}"))
}

#[test]
fn every_carried_field_has_an_effect() {
    let text = std::fs::read_to_string(SOURCE).unwrap();
    let value = serde_saphyr::from_str(&text).unwrap();
    let message = from_value(
        Path::new("carried.yaml"),
        &value,
        convert::carried_message(TYPE).unwrap(),
    )
    .unwrap();
    let whole = model(&message).unwrap();
    assert_eq!(
        model(&message).unwrap(),
        whole,
        "the text of a model is always the same"
    );
    let mut proof = Proof {
        whole,
        effects: BTreeMap::new(),
    };
    proof.visit(&message, &|changed| changed);

    let exceptions = std::fs::read_to_string(WITHOUT_EFFECT).unwrap();
    let exceptions: Vec<Exception> = serde_saphyr::from_str(&exceptions).unwrap();
    assert!(exceptions.len() < 10, "the list of reasons stays short");
    assert!(exceptions.iter().all(|exception| !exception.because.is_empty()));
    let excepted: BTreeSet<String> = exceptions.into_iter().flat_map(|exception| exception.fields).collect();
    let mut wrong = Vec::new();
    for (type_name, _) in convert::carried_types() {
        let carried = convert::carried_fields(type_name).unwrap();
        let descriptor = convert::carried_message(type_name).unwrap();
        for field in descriptor.fields() {
            let name = format!("{type_name}.{}", field.name());
            if !carried.contains(field.name()) {
                continue;
            }
            match (proof.effects.get(&name), excepted.contains(&name)) {
                (Some(true), false) | (Some(false), true) => {}
                (Some(true), true) => wrong.push(format!("{name} is excepted and has an effect")),
                (Some(false), false) => wrong.push(format!("{name} is accepted without effect")),
                (None, _) => wrong.push(format!("{name} is not in tests/data/carried.yaml")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
