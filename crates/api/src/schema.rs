//! Shapes of objects, and the structural schemas of Kubernetes made of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::meta::Kind;

/// What may stand at one place of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Known fields.
    Object(BTreeMap<String, Self>),
    /// Items of one shape.
    List(Box<Self>),
    /// Free keys with values of one shape.
    Map(Box<Self>),
    /// Any text.
    Text,
    /// True or false.
    Flag,
    /// A whole number within bounds.
    Integer(i64, i64),
    /// A number or a text.
    IntegerOrText,
    /// Any number.
    Number,
    /// A duration such as `1m30s`.
    Duration,
    /// One of some words.
    Choice(Vec<String>),
    /// Not said.
    Any,
}

// === impl Shape ===

impl Shape {
    /// The shape of `spec` of a kind that is a custom resource of the mesh; nothing for others.
    pub fn of(kind: Kind) -> Option<Self> {
        crate::parse::shape(kind)
    }

    /// The structural schema (Kubernetes, "Specifying a structural schema").
    ///
    /// Fields that are not known are kept, not pruned: pruning would drop a misspelt field without a word, while what is kept is refused with
    /// its name by the validation webhook and reported in the status.
    pub fn schema(&self) -> Value {
        match self {
            Self::Object(fields) => {
                let properties: Map<String, Value> = fields
                    .iter()
                    .map(|(name, field)| (name.clone(), field.schema()))
                    .collect();
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties})
            }
            Self::List(item) => json!({"type": "array", "items": item.schema()}),
            Self::Map(value) => json!({"type": "object", "additionalProperties": value.schema()}),
            Self::Text => json!({"type": "string"}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Integer(min, max) => {
                let mut schema = json!({"type": "integer", "format": "int64", "minimum": min});
                if *max < i64::MAX {
                    schema["maximum"] = json!(max);
                }
                schema
            }
            Self::IntegerOrText => json!({"x-kubernetes-int-or-string": true}),
            Self::Number => json!({"type": "number"}),
            Self::Duration => json!({"type": "string", "description": "A duration such as 500ms, 2s or 1m30s."}),
            Self::Choice(names) => json!({"type": "string", "enum": names}),
            Self::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
        }
    }
}
