//! Shapes of objects, and the structural schemas of Kubernetes made of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::duration;
use crate::kind::Kind;
use crate::rule::Rule;

/// What may stand at one place of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Known fields, and rules between them.
    Object {
        fields: BTreeMap<String, Self>,
        /// The rules, in the order in which they are asked.
        rules: Vec<&'static Rule>,
    },
    /// Items of one shape.
    List(Box<Self>),
    /// Free keys with values of one shape.
    Map(Box<Self>),
    Text,
    /// True or false.
    Flag,
    /// A whole number within bounds.
    Integer(i64, i64),
    /// A number or a text.
    IntegerOrText,
    /// Any number within bounds.
    Number(i64, i64),
    /// A duration such as `1m30s`, of at least so many milliseconds.
    Duration(u64),
    /// One of some words.
    Choice(Vec<String>),
    /// A list, map or text with so many items, entries or characters at most.
    AtMost(Box<Self>, usize),
    Any,
}

// === impl Shape ===

impl Shape {
    /// The shape of `spec` of a kind that the mesh defines; nothing for others.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        crate::parse::shape(kind)
    }

    /// The structural schema (Kubernetes, "Specifying a structural schema").
    ///
    /// Fields that are not known are kept, not pruned: pruning would drop a misspelt field without a word, while what is kept is
    /// refused with its name by the validation webhook and reported in the status.
    pub(crate) fn schema(&self) -> Value {
        self.within(0)
    }

    /// The schema within so many lists and maps.
    fn within(&self, lists: usize) -> Value {
        match self {
            Self::Object { fields, rules } => {
                let properties: Map<String, Value> = fields
                    .iter()
                    .map(|(name, field)| (name.clone(), field.within(lists)))
                    .collect();
                let mut schema =
                    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties});
                for rule in rules.iter().filter(|rule| lists == 0 || !rule.costly) {
                    let place = match rule.each() {
                        Some((list, _)) => &mut schema["properties"][list]["items"],
                        None => &mut schema,
                    };
                    let validations = &mut place["x-kubernetes-validations"];
                    if let Some(validations) = validations.as_array_mut() {
                        validations.push(rule.validation());
                    } else {
                        *validations = json!([rule.validation()]);
                    }
                }
                schema
            }
            Self::List(item) => json!({"type": "array", "items": item.within(lists + 1)}),
            Self::Map(value) => json!({"type": "object", "additionalProperties": value.within(lists + 1)}),
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
            Self::Number(min, max) => json!({"type": "number", "minimum": min, "maximum": max}),
            Self::Duration(min) => {
                let (message, hint) = duration::refusal(*min);
                json!({
                    "type": "string",
                    "description": "A duration such as 500ms, 2s or 1m30s.",
                    "maxLength": duration::LENGTH_MAX,
                    "x-kubernetes-validations": [{
                        "rule": format!("duration(self) >= duration('{min}ms')"),
                        "message": format!("{message}; {hint}"),
                    }],
                })
            }
            Self::Choice(names) => json!({"type": "string", "enum": names}),
            Self::AtMost(bounded, max) => {
                let mut schema = bounded.within(lists);
                let key = if matches!(**bounded, Self::List(_)) {
                    "maxItems"
                } else if matches!(**bounded, Self::Map(_)) {
                    "maxProperties"
                } else {
                    "maxLength"
                };
                schema[key] = json!(max);
                schema
            }
            Self::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
        }
    }
}
