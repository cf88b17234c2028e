//! An answer from where it is made to where the codec takes it: up the filters, then what every answer gets.

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::body::ResponseBody;
use super::context::Finish;
use super::{respond, upgrade};
use crate::filters::AnswerPass;
use crate::filters::stages::Stages;
use crate::runtime::connection_manager::HttpChain;
use crate::stream::Stream;

/// Longest body that becomes a gRPC message, Envoy's.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// An answer on its way up through the filters.
pub type Reply = Response<ReplyBody>;

/// What follows the head of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// A body, the proxy's own or an upstream's.
    Body(ResponseBody),
    /// Another protocol, to which both sides switch.
    Upgrade {
        /// The client's side.
        client: OnUpgrade,
        /// The upstream's.
        upstream: OnUpgrade,
        /// Ends with the tunnel.
        finish: Box<Finish>,
    },
    /// Bytes from and to a destination that the client named.
    Tunnel {
        /// The client's side.
        client: OnUpgrade,
        /// The destination.
        upstream: Box<Stream>,
        /// Ends with the tunnel.
        finish: Box<Finish>,
    },
}

// === impl ReplyBody ===

impl ReplyBody {
    /// The record of the request.
    fn finish(&mut self) -> Option<&mut Box<Finish>> {
        match self {
            Self::Body(body) => body.finish(),
            Self::Upgrade { finish, .. } | Self::Tunnel { finish, .. } => Some(finish),
        }
    }

    /// Whether filters see a body behind the head.
    fn has_body(&mut self, status: StatusCode) -> bool {
        let Self::Body(body) = self else {
            return false;
        };
        let to_head = body
            .finish()
            .and_then(|finish| finish.info.request.as_ref())
            .is_some_and(|request| request.method == Method::HEAD);
        !body.is_empty() && !to_head && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
    }

    /// Whether an upstream answers.
    fn is_upstreams(&self) -> bool {
        matches!(self, Self::Body(ResponseBody::Upstream(_)) | Self::Upgrade { .. })
    }
}

/// Sends an answer up the filters and gives it the form in which the client gets it.
pub async fn send(chain: &HttpChain, reply: Reply) -> Response<ResponseBody> {
    let (mut head, mut body) = reply.into_parts();
    let is_upstreams = body.is_upstreams();
    let has_body = !chain.filters.is_empty() && body.has_body(head.status);
    let mut stages = Stages::default();
    let mut body_is_message = false;
    if let Some(finish) = body.finish() {
        if !chain.filters.is_empty() {
            let finish = &mut **finish;
            let mut answer = AnswerPass {
                status: &mut head.status,
                headers: &mut head.headers,
                has_body,
                stages: &mut stages,
                body_is_message: false,
                info: &mut finish.info,
            };
            chain.filters.on_answer(&mut finish.filters, &mut answer).await;
            body_is_message = answer.body_is_message;
        }
        respond::common(&mut head.headers, chain, is_upstreams);
        respond::head(head.status, &head.headers, finish);
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
        ReplyBody::Upgrade {
            client,
            upstream,
            finish,
        } => {
            let worker = finish.worker.clone();
            upgrade::join(&worker, client, upstream, finish);
            ResponseBody::bare(bytes::Bytes::new())
        }
        ReplyBody::Tunnel {
            client,
            upstream,
            finish,
        } => {
            let worker = finish.worker.clone();
            upgrade::join_stream(&worker, client, *upstream, finish);
            ResponseBody::bare(bytes::Bytes::new())
        }
    };
    Response::from_parts(head, body)
}

/// The codec asks for no body of the proxy's own answers where there is none, or where the client wants the head alone.
fn complete_without_body(body: &mut ResponseBody) {
    if let ResponseBody::Local {
        bytes,
        finish: Some(finish),
        ..
    } = body
    {
        let to_head = finish
            .info
            .request
            .as_ref()
            .is_some_and(|request| request.method == Method::HEAD);
        if bytes.is_none() || to_head {
            finish.complete();
        }
    }
}
