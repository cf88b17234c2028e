//! JSON values, as servers give them, to the same tree that YAML text becomes. They have no lines and columns.

use super::tree::{DEPTH_MAX, Entry, NODES_MAX, Node, SyntaxError, Value};
use crate::meta::Position;

/// Takes over a value; `None` for null. The limits are those of text.
pub(super) fn read(value: &serde_json::Value) -> Result<Option<Node>, SyntaxError> {
    let mut nodes = 0;
    let node = json_node(value, 0, &mut nodes)?;
    Ok(Some(node).filter(|node| !node.is_null()))
}

fn json_node(value: &serde_json::Value, depth: usize, nodes: &mut usize) -> Result<Node, SyntaxError> {
    use serde_json::Value as Json;
    let at = Position::default();
    *nodes += 1;
    if depth > DEPTH_MAX || *nodes > NODES_MAX {
        return Err(SyntaxError {
            at,
            message: format!("the object is nested deeper than {DEPTH_MAX} levels or has more than {NODES_MAX} values"),
            hint: "split it",
        });
    }
    let plain = |text: String| Value::Scalar { text, plain: true };
    let value = match value {
        Json::Null => plain(String::new()),
        Json::Bool(flag) => plain(flag.to_string()),
        Json::Number(number) => plain(number.to_string()),
        Json::String(text) => Value::Scalar {
            text: text.clone(),
            plain: false,
        },
        Json::Array(items) => {
            let items = items.iter().map(|item| json_node(item, depth + 1, nodes));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Json::Object(map) => {
            let entries = map.iter().map(|(key, value)| {
                let node = json_node(value, depth + 1, nodes)?;
                let key = key.clone();
                Ok(Entry { key, at, node })
            });
            Value::Map(entries.collect::<Result<_, _>>()?)
        }
    };
    Ok(Node { at, value })
}
