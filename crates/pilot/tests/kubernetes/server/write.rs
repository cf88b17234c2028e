//! Requests that change something: create, replace if unchanged, merge into the status if unchanged.

use axum::http::Method;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Caller, Fault, Objects, Write, failure, target};

pub(super) fn answer(caller: &Caller, method: &Method, path: &str, body: Value, fault: Option<Fault>) -> Response {
    let mut state = caller.world.state.lock();
    let (kind, rest) = target(path).unwrap();
    let name = rest.first().copied().or_else(|| body["metadata"]["name"].as_str());
    let id = (kind, name.unwrap().to_owned());
    if fault == Some(Fault::Overtake)
        && let Some(mut object) = state.objects.get(&id).cloned()
    {
        object["status"]["conditions"] = json!([{"type": "Other", "status": "True"}]);
        state.put(id.clone(), object);
    }
    let done = match fault {
        Some(Fault::Refuse(code)) => Err(code),
        _ if state.down => Err(503),
        _ => apply(&mut state, id, method, &rest, body),
    };
    let lost = fault == Some(Fault::LoseAnswer);
    state.writes.push(Write {
        client: caller.client,
        answer: (!lost).then(|| done.as_ref().map_or_else(|code| *code, |_| 200)),
        object: done.clone().unwrap_or_default(),
    });
    match done {
        Ok(object) => axum::Json(object).into_response(),
        Err(code) => failure(code),
    }
}

fn apply(state: &mut Objects, id: (String, String), method: &Method, rest: &[&str], body: Value) -> Result<Value, u16> {
    let current = state.objects.get(&id).cloned();
    if *method == Method::POST {
        return match current {
            Some(_) => Err(409),
            None => Ok(state.put(id, body)),
        };
    }
    let mut object = current.ok_or(404_u16)?;
    let expected = &body["metadata"]["resourceVersion"];
    if !expected.is_null() && *expected != object["metadata"]["resourceVersion"] {
        return Err(409);
    }
    match (method.as_str(), rest) {
        // A write that is not conditional is what these tests must find.
        ("PUT", _) if expected.is_null() => Err(422),
        ("PUT", _) => Ok(state.put(id, body)),
        ("PATCH", [_, "status"]) => {
            merge(&mut object["status"], &body["status"]);
            Ok(state.put(id, object))
        }
        _ => Err(405),
    }
}

/// RFC 7396.
fn merge(old: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *old = patch.clone();
        return;
    };
    if !old.is_object() {
        *old = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            old.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut old[name], value);
        }
    }
}
