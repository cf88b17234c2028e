//! Answers: the proxy's own, and what is changed on those of upstreams.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use super::body::ResponseBody;
use super::context::{RequestContext, grpc_status, note};
use super::headers;
use super::reply::{Reply, ReplyBody};
use crate::error::{ErrorKind, ProxyError, grpc_status_of};
use crate::journal::say;
use crate::model::http::{LocalReply, ServerHeader};
use crate::model::route::HeaderMutations;
use crate::observe::log_filter;
use crate::route::headers::{add_to_response, apply_to_response};
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream_info::header_names;
use crate::stream_info::request::RequestHead;

/// Answers instead of an upstream because something failed.
pub fn failure(error: &ProxyError, grpc: bool, mut context: Box<RequestContext>) -> Reply {
    context.info.flags.insert(error.kind.flag());
    context.info.details = Some(error.kind.details().into());
    say!(
        context.info.journal,
        reason = error.kind.details(),
        cause = error.reason.as_deref(),
        "request fails"
    );
    if let Some(reason) = &error.reason {
        context.info.transport_failure = Some(reason.clone());
    }
    let overloaded = error.kind == ErrorKind::Overflow && !context.manager.model.suppress_envoy_headers;
    let body = error.body(context.info.attempts > 1);
    let mut answer = local(
        error.kind.status(),
        body,
        grpc.then(|| error.kind.grpc_status()),
        context,
    );
    if overloaded {
        answer
            .headers_mut()
            .insert(header_names::OVERLOADED, HeaderValue::from_static("true"));
    }
    answer
}

/// Answers with what an error kind says.
pub fn fail(kind: ErrorKind, head: &RequestHead, context: Box<RequestContext>) -> Reply {
    let manager = context.manager.clone();
    failure(&ProxyError::from(kind), head.grpc, note(head, &manager, context))
}

/// An answer of the proxy's own with a text body. A gRPC client gets the status (`grpc`) and message its protocol wants.
pub fn local(status: StatusCode, body: String, grpc: Option<u32>, mut context: Box<RequestContext>) -> Reply {
    let route = context.route.as_ref();
    let mut answer = route.map_or_else(HeaderMap::new, |route| route.head(&context.info));
    if let Some(code) = grpc {
        context.info.grpc_status = Some(code);
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        answer.insert("grpc-status", HeaderValue::from(code));
        let is_head = (context.info.request.as_ref()).is_some_and(|request| request.method == Method::HEAD);
        if let Some(message) = grpc_message(body.as_bytes()).filter(|_| !is_head) {
            answer.insert("grpc-message", message);
        }
        return with_body(StatusCode::OK, answer, bytes::Bytes::new(), context);
    }
    if body.is_empty() {
        answer.remove(header::CONTENT_TYPE);
    } else {
        let text = HeaderValue::from_static("text/plain");
        answer.entry(header::CONTENT_TYPE).or_insert(text);
    }
    with_body(status, answer, bytes::Bytes::from(body), context)
}

/// An answer of the proxy's own.
pub fn with_body(
    status: StatusCode,
    headers: HeaderMap,
    body: bytes::Bytes,
    mut context: Box<RequestContext>,
) -> Reply {
    let manager = context.manager.clone();
    let mut headers = headers;
    context.info.response_code = status.as_u16();
    let replies = &manager.model.local_replies;
    let random = if replies.is_empty() { 0 } else { context.worker.random() };
    let fits = |reply: &&LocalReply| log_filter::passes(&reply.filter, &context.info, random);
    if let Some(reply) = replies.iter().find(fits) {
        add_to_response(&reply.headers, &mut headers, &context.info);
    }
    let mut reply = Reply::new(ReplyBody::Body(ResponseBody::Local {
        bytes: Some(body).filter(|body| !body.is_empty()),
        sized: true,
        context: Some(context),
    }));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}

/// Sends a client elsewhere; one of gRPC is told that it is no answer in its protocol.
pub fn redirect(
    mut answer: HeaderMap,
    location: &str,
    status: StatusCode,
    grpc: bool,
    mut context: Box<RequestContext>,
) -> Reply {
    if let Ok(location) = HeaderValue::try_from(location) {
        answer.insert(header::LOCATION, location);
    }
    context.info.details = Some("direct_response".into());
    say!(context.info.journal, location, "redirected");
    if grpc {
        let mut reply = local(status, String::new(), Some(grpc_status_of(status)), context);
        reply.headers_mut().extend(answer);
        return reply;
    }
    with_body(status, answer, bytes::Bytes::new(), context)
}

/// Notes what the log wants of the head of an answer.
pub fn head(status: StatusCode, headers: &HeaderMap, context: &mut RequestContext) {
    context.info.response_code = status.as_u16();
    if context.info.grpc_status.is_none() {
        context.info.grpc_status = grpc_status(headers);
    }
    context.info.response_headers.clear();
    for name in &context.manager.kept.response {
        if let Some(value) = headers.get(name) {
            context.info.response_headers.push((name.clone(), value.clone()));
        }
    }
}

/// Changes on the head of an upstream's answer.
pub fn from_upstream(
    response: &mut HeaderMap,
    request: &RequestHead,
    levels: &[Option<&HeaderMutations>],
    attempt_count: Option<u32>,
    context: &RequestContext,
) {
    headers::strip_hop_by_hop(response);
    for level in levels.iter().flatten() {
        apply_to_response(level, response, &context.info);
    }
    if let Some(count) = attempt_count {
        response.insert(header_names::ATTEMPT_COUNT, HeaderValue::from(count));
    }
    if context.manager.model.always_set_request_id_in_response
        && let Some(id) = request.headers.get(header_names::REQUEST_ID)
    {
        response.insert(header_names::REQUEST_ID, id.clone());
    }
}

/// `server` and `via`, which every answer has.
pub fn common(response: &mut HeaderMap, manager: &ConnectionManager, upstream: bool) {
    match (&manager.model.server_header, &manager.server) {
        (ServerHeader::Overwrite(_), Some(name)) => {
            response.insert(header::SERVER, name.clone());
        }
        (ServerHeader::AppendIfAbsent(_), Some(name)) => {
            response.entry(header::SERVER).or_insert_with(|| name.clone());
        }
        (ServerHeader::PassThrough, _) if !upstream => {
            response.remove(header::SERVER);
        }
        _ => {}
    }
    if let Some(via) = &manager.via {
        headers::append_to_list(response, &header::VIA, via, ", ");
    }
}

/// `grpc-message` is percent-encoded (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
pub fn grpc_message(text: &[u8]) -> Option<HeaderValue> {
    if text.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => out.push(char::from(*byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    HeaderValue::try_from(out).ok()
}
