//! The `callme` role: answers with who it is.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::flaky::Flaky;
use crate::grpc;

/// Longest delay that `/slow` gives.
const SLOWEST_MS: u64 = 60_000;

/// Delay of `/slow` without `?ms=`.
const SLOW_MS: u64 = 1_000;

/// One instance of `callme`.
#[derive(Clone, Debug)]
pub(crate) struct Callee {
    version: Arc<str>,
    instance: Arc<str>,
    flaky: Arc<Mutex<Flaky>>,
}

// === impl Callee ===

impl Callee {
    pub(crate) fn new(version: String, instance: String, fail_percent: u8) -> Self {
        Self {
            version: version.into(),
            instance: instance.into(),
            flaky: Arc::new(Mutex::new(Flaky::new(fail_percent))),
        }
    }

    /// `/healthz`, `/headers`, `/slow?ms=N`, `/flaky`, the gRPC method, and an answer to every other path.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/headers", get(echo_headers))
            .route("/slow", get(slow))
            .route("/flaky", get(flaky))
            .route(grpc::PATH, post(describe_by_grpc))
            .fallback(answer)
            .with_state(self)
    }

    fn describe(&self, uri: &Uri, headers: &HeaderMap) -> Json<Value> {
        Json(json!({
            "service": "callme",
            "version": &*self.version,
            "instance": &*self.instance,
            "path": uri.path(),
            "requestId": text(headers, "x-request-id"),
            // Set by proxies: 1 for the first try, more when they retried.
            "attempt": text(headers, "x-envoy-attempt-count").and_then(|count| count.parse::<u32>().ok()).unwrap_or(1),
        }))
    }
}

/// A header's value, if it is there and readable.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn answer(State(callee): State<Callee>, uri: Uri, headers: HeaderMap) -> Json<Value> {
    callee.describe(&uri, &headers)
}

async fn describe_by_grpc(State(callee): State<Callee>, body: Body) -> Response {
    grpc::describe(&callee.version, &callee.instance, body).await
}

async fn flaky(State(callee): State<Callee>, uri: Uri, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let failed = callee.flaky.lock().fails(text(&headers, "x-request-id"));
    let Json(mut body) = callee.describe(&uri, &headers);
    if failed {
        body["error"] = "injected failure".into();
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body));
    }
    (StatusCode::OK, Json(body))
}

async fn slow(
    State(callee): State<Callee>,
    Query(query): Query<Vec<(String, String)>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Value>, (StatusCode, String)> {
    let mut delay = SLOW_MS;
    for (key, value) in query {
        if key == "ms" {
            delay = value
                .parse()
                .map_err(|_| (StatusCode::BAD_REQUEST, format!("ms={value} is not a number\n")))?;
        }
    }
    tokio::time::sleep(Duration::from_millis(delay.min(SLOWEST_MS))).await;
    Ok(callee.describe(&uri, &headers))
}

async fn echo_headers(State(callee): State<Callee>, uri: Uri, headers: HeaderMap) -> Json<Value> {
    let Json(mut body) = callee.describe(&uri, &headers);
    let list: serde_json::Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    body["headers"] = list.into();
    Json(body)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn an_answer_says_who_and_which_attempt() {
        let callee = Callee::new("v2".into(), "callme-v2-0".into(), 0);
        let uri = Uri::from_static("/a/b?c=d");
        let Json(body) = callee.describe(&uri, &headers(&[("x-request-id", "r"), ("x-envoy-attempt-count", "3")]));
        assert_eq!(
            body,
            json!({"service": "callme", "version": "v2", "instance": "callme-v2-0", "path": "/a/b", "requestId": "r", "attempt": 3})
        );
        let Json(body) = callee.describe(&uri, &headers(&[("x-envoy-attempt-count", "many")]));
        assert_eq!((&body["attempt"], &body["requestId"]), (&json!(1), &Value::Null));
    }

    #[tokio::test]
    async fn a_flaky_request_fails_once() {
        let callee = Callee::new("v1".into(), "x".into(), 100);
        let uri = Uri::from_static("/flaky");
        let request = headers(&[("x-request-id", "r")]);
        let (first, Json(body)) = flaky(State(callee.clone()), uri.clone(), request.clone()).await;
        assert_eq!(
            (first, &body["error"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("injected failure"))
        );
        let (second, _) = flaky(State(callee), uri, request).await;
        assert_eq!(second, StatusCode::OK);
    }
}
