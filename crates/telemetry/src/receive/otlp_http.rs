//! Spans over OTLP/HTTP: `POST /v1/traces` with protobuf (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prost::Message;
use weft_proto::otlp::ExportTraceServiceRequest;

use super::otlp::Otlp;

/// Largest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

const PROTOBUF: &str = "application/x-protobuf";

pub fn router(otlp: Otlp) -> Router {
    Router::new()
        .route("/v1/traces", post(take))
        .layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX))
        .with_state(otlp)
}

async fn take(State(otlp): State<Otlp>, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if kind != PROTOBUF {
        let text =
            format!("content-type {kind:?} is not taken; set the exporter's protocol to http/protobuf or grpc\n");
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        let text = "compressed messages are not taken; switch the exporter's compression off\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    }
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            let answer = otlp.take(request).encode_to_vec();
            ([(header::CONTENT_TYPE, PROTOBUF)], answer).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("not an OTLP message: {error}\n")).into_response(),
    }
}
