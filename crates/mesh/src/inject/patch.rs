//! The difference of two pods as a JSON patch (RFC 6902). Whole lists and maps are replaced: the result is short to read and the same
//! at every call.

use serde::Serialize;
use serde_json::Value;

/// What injection changes in a pod.
const PLACES: [&str; 6] = [
    "/metadata/labels",
    "/metadata/annotations",
    "/spec/initContainers",
    "/spec/containers",
    "/spec/volumes",
    "/spec/imagePullSecrets",
];

/// One operation. `add` of a member that exists replaces it (RFC 6902, 4.1).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operation {
    op: &'static str,
    path: &'static str,
    value: Value,
}

/// The operations that lead from `before` to `after`, where `after` is an injected `before`.
pub fn patch(before: &Value, after: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    if before.get("metadata").is_none() {
        operations.push(Operation {
            op: "add",
            path: "/metadata",
            value: Value::Object(serde_json::Map::new()),
        });
    }
    for path in PLACES {
        let after = after.pointer(path);
        if let Some(value) = after.filter(|_| before.pointer(path) != after) {
            operations.push(Operation {
                op: "add",
                path,
                value: value.clone(),
            });
        }
    }
    operations
}
