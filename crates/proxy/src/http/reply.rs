//! An answer from where it is made to where the codec takes it: up the filters, then what every answer gets.

use http::{Method, Response};
use hyper::upgrade::OnUpgrade;

use super::body::ResponseBody;
use super::chain::HttpChain;
use super::finish::Finish;
use super::{respond, upgrade};
use crate::filters::AnswerPass;
use crate::stream::Stream;

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

    /// Whether an upstream answers.
    fn is_upstreams(&self) -> bool {
        matches!(self, Self::Body(ResponseBody::Upstream(_)) | Self::Upgrade { .. })
    }
}

/// Sends an answer up the filters and gives it the form in which the client gets it.
pub async fn send(chain: &HttpChain, reply: Reply) -> Response<ResponseBody> {
    let (mut head, mut body) = reply.into_parts();
    let is_upstreams = body.is_upstreams();
    if let Some(finish) = body.finish() {
        if !chain.filters.is_empty() {
            let finish = &mut **finish;
            let mut answer = AnswerPass {
                status: &mut head.status,
                headers: &mut head.headers,
                info: &mut finish.info,
            };
            chain.filters.on_answer(&mut finish.filters, &mut answer).await;
        }
        respond::common(&mut head.headers, chain, is_upstreams);
        respond::head(head.status, &head.headers, finish);
    }
    let body = match body {
        ReplyBody::Body(mut body) => {
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
