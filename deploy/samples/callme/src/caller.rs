//! The `caller` role: calls another service for every request and answers with what that said.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::proxied::Client;

/// Headers that every hop must pass on: trace context (W3C, B3), the request id, and the one that the demo routes by.
const PROPAGATED: [&str; 10] = [
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "user-agent",
];

/// One instance of `caller`.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    version: Arc<str>,
    instance: Arc<str>,
    target: Uri,
    client: Arc<Client>,
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(version: String, instance: String, target: Uri, client: Client) -> Self {
        Self {
            version: version.into(),
            instance: instance.into(),
            target,
            client: Arc::new(client),
        }
    }

    /// `/healthz` answers alone; every other path is asked of the target.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .fallback(ask)
            .with_state(self)
    }

    /// The request to the target for one that came in.
    fn onward(&self, uri: &Uri, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, http::Error> {
        let mut parts = self.target.clone().into_parts();
        parts.path_and_query = uri.path_and_query().cloned();
        let mut request = Request::builder().uri(Uri::from_parts(parts)?).body(Empty::new())?;
        for name in PROPAGATED.map(HeaderName::from_static) {
            for value in headers.get_all(&name) {
                request.headers_mut().append(name.clone(), value.clone());
            }
        }
        Ok(request)
    }

    fn describe(&self, answer: anyhow::Result<Response<Bytes>>, took_ms: u128) -> (StatusCode, Json<Value>) {
        let (status, said) = match answer {
            Ok(answer) => {
                let text = || String::from_utf8_lossy(answer.body()).into_owned().into();
                let body = serde_json::from_slice(answer.body()).unwrap_or_else(|_| text());
                (answer.status(), body)
            }
            Err(error) => (StatusCode::BAD_GATEWAY, json!({"error": format!("{error:#}")})),
        };
        let body = json!({
            "service": "caller",
            "version": &*self.version,
            "instance": &*self.instance,
            "tookMs": u64::try_from(took_ms).unwrap_or(u64::MAX),
            "status": status.as_u16(),
            "callme": said,
        });
        (status, Json(body))
    }
}

async fn ask(State(caller): State<Caller>, uri: Uri, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let started = Instant::now();
    let answer = match caller.onward(&uri, &headers) {
        Ok(request) => caller.client.call(request).await,
        Err(error) => Err(error.into()),
    };
    caller.describe(answer, started.elapsed().as_millis())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn caller() -> Caller {
        Caller::new(
            "v1".into(),
            "caller-0".into(),
            Uri::from_static("http://callme"),
            Client::new(None).unwrap(),
        )
    }

    #[test]
    fn path_query_and_trace_headers_go_on() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static("00-1-2-01"));
        headers.insert("user-agent", HeaderValue::from_static("canary"));
        headers.insert("authorization", HeaderValue::from_static("secret"));
        let request = caller().onward(&Uri::from_static("/a?b=c"), &headers).unwrap();
        assert_eq!(request.uri(), "http://callme/a?b=c");
        assert_eq!(request.headers()["traceparent"], "00-1-2-01");
        assert_eq!(request.headers()["user-agent"], "canary");
        assert!(!request.headers().contains_key("authorization"));
    }

    #[test]
    fn the_targets_status_and_body_are_passed_back() {
        let answer = Response::builder()
            .status(503)
            .body(Bytes::from_static(b"{\"version\":\"v2\"}"))
            .unwrap();
        let (status, Json(body)) = caller().describe(Ok(answer), 7);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["callme"]["version"], "v2");
        let (status, Json(body)) = caller().describe(Err(anyhow::anyhow!("cannot connect")), 7);
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert_eq!(body["callme"]["error"], "cannot connect");
    }
}
