//! An answer from where it is made to where the codec takes it: up the filters, then what every answer gets.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, UPGRADE};
use http::response::Parts;
use http::{Method, Response, StatusCode};

use super::body::ResponseBody;
use super::reply::{Reply, ReplyBody};
use super::respond;
use super::upgrade::ClientSwitch;
use crate::filters::AnswerPass;
use crate::filters::stages::Stages;
use crate::journal::say;
use crate::runtime::connection_manager::ConnectionManager;

/// Longest body that becomes a gRPC message, Envoy's.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Sends an answer up the filters and gives it the form in which the client gets it.
pub async fn send(manager: &ConnectionManager, reply: Reply) -> Response<ResponseBody> {
    let (mut head, mut body) = reply.into_parts();
    let is_upstreams = body.is_upstreams();
    let has_body = !manager.filters.is_empty() && body.has_body(head.status);
    let mut stages = Stages::default();
    let mut body_is_message = false;
    if let Some(context) = body.context() {
        if !manager.filters.is_empty() {
            let context = &mut **context;
            let mut answer = AnswerPass {
                status: &mut head.status,
                headers: &mut head.headers,
                has_body,
                stages: &mut stages,
                body_is_message: false,
                info: &mut context.info,
            };
            manager.filters.on_answer(&mut context.filters, &mut answer).await;
            body_is_message = answer.body_is_message;
        }
        respond::common(&mut head.headers, manager, is_upstreams);
        respond::head(head.status, &head.headers, context);
        let details = context.info.details.as_deref();
        say!(
            context.info.journal,
            status = head.status.as_u16(),
            details,
            upstreams = is_upstreams,
            "answered"
        );
    }
    let body = match body {
        ReplyBody::Body(mut body) => {
            if body_is_message {
                let text = body.gather(MESSAGE_BYTES_MAX).await;
                if let Some(message) = respond::grpc_message(&text) {
                    head.headers.insert("grpc-message", message);
                }
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            }
            if !stages.is_empty()
                && let Err(error) = body.through(stages)
            {
                tracing::warn!(%error, "a filter cannot change an answer of the proxy's own");
            }
            complete_without_body(&mut body);
            body
        }
        ReplyBody::Tunnel(tunnel) => {
            let worker = tunnel.context.worker.clone();
            say!(tunnel.context.info.journal, "switched to another protocol");
            if matches!(tunnel.client, ClientSwitch::Http2(_)) {
                as_stream(&mut head);
            }
            worker.spawn(tunnel.run());
            ResponseBody::bare(bytes::Bytes::new())
        }
    };
    Response::from_parts(head, body)
}

/// A switch as clients of HTTP/2 are told of it (RFC 8441, section 5).
fn as_stream(head: &mut Parts) {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        head.status = StatusCode::OK;
        head.headers.remove(CONNECTION);
        head.headers.remove(UPGRADE);
    }
}

/// The codec asks for no body of the proxy's own answers where there is none, or where the client wants the head alone.
fn complete_without_body(body: &mut ResponseBody) {
    if let ResponseBody::Local {
        bytes,
        context: Some(context),
        ..
    } = body
    {
        let to_head = context
            .info
            .request
            .as_ref()
            .is_some_and(|request| request.method == Method::HEAD);
        if bytes.is_none() || to_head {
            context.complete();
        }
    }
}
