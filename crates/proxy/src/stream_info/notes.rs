//! What filters leave of a request for later filters and for the log: dynamic metadata and filter state.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};
use smallvec::SmallVec;

/// Both, of one request or connection, and what filters of one kind tell each other of it. What a filter adds is bounded by its
/// configuration.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Dynamic metadata: objects by namespace.
    metadata: Map<String, Value>,
    state: SmallVec<[(Arc<str>, StateValue); 2]>,
    /// What filters of one kind tell each other, by its type.
    pub shared: http::Extensions,
}

/// A value of filter state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateValue {
    Text(Arc<str>),
    /// Protocols of ALPN.
    Protocols(Arc<[Arc<str>]>),
    /// Numbers of gRPC messages (Envoy `grpc_stats.v3.FilterObject`).
    Messages {
        /// Of the request.
        requests: u64,
        /// Of the answer.
        responses: u64,
    },
}

// === impl Notes ===

impl Notes {
    /// An object of dynamic metadata.
    pub fn metadata(&self, namespace: &str) -> Option<&Value> {
        self.metadata.get(namespace)
    }

    /// A value within an object of dynamic metadata.
    pub fn find(&self, namespace: &str, path: &[Arc<str>]) -> Option<&Value> {
        let within = self.metadata(namespace)?;
        path.iter()
            .try_fold(within, |value, key| value.as_object()?.get(&**key))
    }

    /// Merges an object into the dynamic metadata of a namespace: objects with objects, lists behind lists; of values of other kinds and of
    /// different ones the new one stands (Envoy, `Config.metadata.value` of `set_metadata`).
    pub fn merge(&mut self, namespace: &str, object: &Map<String, Value>) {
        match self.metadata.get_mut(namespace) {
            Some(Value::Object(into)) => merge(into, object),
            _ => {
                self.metadata
                    .insert(namespace.to_owned(), Value::Object(object.clone()));
            }
        }
    }

    /// A value of filter state.
    pub fn state(&self, key: &str) -> Option<&StateValue> {
        self.state
            .iter()
            .find(|(known, _)| **known == *key)
            .map(|(_, value)| value)
    }

    /// Sets a value of filter state.
    pub fn set_state(&mut self, key: &Arc<str>, value: StateValue) {
        match self.state.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => self.state.push((key.clone(), value)),
        }
    }
}

fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (Some(Value::Array(into)), Value::Array(from)) => into.extend(from.iter().cloned()),
            (Some(into), value) => *into = value.clone(),
            (None, value) => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

// === impl StateValue ===

impl StateValue {
    pub fn plain(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Protocols(list) => Cow::Owned(list.join(",")),
            Self::Messages { requests, responses } => Cow::Owned(format!("{requests},{responses}")),
        }
    }

    /// As JSON, in which protobuf writes numbers of 64 bits as text.
    pub fn typed(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(&**text),
            Self::Protocols(list) => Value::from(list.join(",")),
            Self::Messages { requests, responses } => serde_json::json!({
                "requestMessageCount": requests.to_string(),
                "responseMessageCount": responses.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_merged() {
        let mut notes = Notes::default();
        for (object, expected) in [
            (json!({"a": 1, "b": {"c": [1]}}), json!({"a": 1, "b": {"c": [1]}})),
            (
                json!({"a": 2, "b": {"d": "x"}}),
                json!({"a": 2, "b": {"c": [1], "d": "x"}}),
            ),
            (json!({"b": {"c": [2]}}), json!({"a": 2, "b": {"c": [1, 2], "d": "x"}})),
            (json!({"b": "text"}), json!({"a": 2, "b": "text"})),
        ] {
            notes.merge("n", object.as_object().unwrap());
            assert_eq!(notes.metadata("n"), Some(&expected));
        }
        assert_eq!(notes.find("n", &["b".into()]), Some(&json!("text")));
        assert_eq!(notes.find("n", &["b".into(), "c".into()]), None);
        assert_eq!(notes.find("other", &[]), None);
    }

    #[test]
    fn state_is_set_and_told() {
        let mut notes = Notes::default();
        let key: Arc<str> = "k".into();
        notes.set_state(&key, StateValue::Text("one".into()));
        notes.set_state(
            &key,
            StateValue::Messages {
                requests: 1,
                responses: 2,
            },
        );
        let value = notes.state("k").unwrap();
        assert_eq!(value.plain(), "1,2");
        assert_eq!(
            value.typed().to_string(),
            r#"{"requestMessageCount":"1","responseMessageCount":"2"}"#
        );
        assert_eq!(notes.state("other"), None);
    }
}
