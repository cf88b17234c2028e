//! gRPC for browsers, which see no trailers: gRPC-Web comes in and gRPC goes out (`envoy.filters.http.grpc_web`,
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>).

mod stages;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub(crate) use self::stages::{Decode, Encode};
use super::{AnswerPass, HttpFilter, Making, Next, RequestPass, Route, Stage};
use crate::error::grpc_status_of;
use crate::model::filters::grpc_web::{Config, RouteConfig};
use crate::stream_info::request::is_grpc;

const WEB: &str = "application/grpc-web";
const WEB_PROTO: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";
const TEXT_PROTO: &str = "application/grpc-web-text+proto";

/// gRPC status of an answer that is well but not gRPC (`UNKNOWN`).
const UNKNOWN: u32 = 2;

const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Turns gRPC-Web into gRPC, and its answers back.
#[derive(Debug)]
pub(crate) struct Filter;

/// Kept of requests of gRPC-Web.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The answer is to be text.
    text: bool,
}

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = Asked;

    fn new(_config: &Config, _making: &Making<'_>) -> Self {
        Self
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, _route: Route<'_, RouteConfig>) -> Next<Asked> {
        let has_body = request.has_body();
        let headers = &mut request.head.headers;
        let Some(value) = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) else {
            return Next::go();
        };
        if ![WEB, WEB_PROTO, TEXT, TEXT_PROTO]
            .iter()
            .any(|name| name.as_bytes() == value)
        {
            return Next::go();
        }
        let is_text = is_text(value);
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers
            .entry(ACCEPT_ENCODING)
            .or_insert(HeaderValue::from_static("identity"));
        let accepted = headers.get(header::ACCEPT).map(HeaderValue::as_bytes);
        let asked = Asked {
            text: accepted.is_some_and(self::is_text),
        };
        request.head.grpc_upstream = true;
        if is_text && has_body {
            request.body.through(Stage::GrpcWebDecode(Decode::default()));
        } else if has_body {
            request.body.hide_length();
        }
        Next::keep(asked)
    }

    async fn on_answer(&self, state: Option<&mut Asked>, answer: &mut AnswerPass<'_>, _route: Route<'_, RouteConfig>) {
        let Some(Asked { text }) = state else {
            return;
        };
        let understood = is_understood(*answer.status, answer.headers, answer.has_body);
        answer.headers.remove(header::CONTENT_LENGTH);
        let name = if *text { TEXT_PROTO } else { WEB_PROTO };
        answer
            .headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(name));
        if !answer.has_body {
            return;
        }
        if understood {
            answer.stages.add(Stage::GrpcWebEncode(Encode::new(*text)));
        } else {
            let code = match *answer.status {
                StatusCode::OK => UNKNOWN,
                status => grpc_status_of(status),
            };
            answer.headers.insert("grpc-status", HeaderValue::from(code));
            // What is left for filters after this one is an answer without a body.
            answer.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            answer.has_body = false;
            answer.body_is_message = true;
        }
    }
}

fn is_text(content_type: &[u8]) -> bool {
    content_type == TEXT.as_bytes() || content_type == TEXT_PROTO.as_bytes()
}

/// Whether an answer is one of gRPC, or already one of gRPC-Web. Anything else becomes a status with a message.
fn is_understood(status: StatusCode, headers: &HeaderMap, has_body: bool) -> bool {
    if !has_body && headers.contains_key("grpc-status") {
        return true;
    }
    if status != StatusCode::OK {
        return false;
    }
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let media_type = content_type.and_then(|value| value.split(|byte| *byte == b';').next());
    let is_web = media_type.is_some_and(|media_type| {
        let media_type = media_type.trim_ascii_end();
        [WEB, WEB_PROTO]
            .iter()
            .any(|name| media_type.eq_ignore_ascii_case(name.as_bytes()))
    });
    is_web || is_grpc(headers)
}
