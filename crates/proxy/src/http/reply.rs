//! An answer on its way up through the filters: its head, and what follows it.

use http::{Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::body::ResponseBody;
use super::context::Finish;
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
    pub(super) fn finish(&mut self) -> Option<&mut Box<Finish>> {
        match self {
            Self::Body(body) => body.finish(),
            Self::Upgrade { finish, .. } | Self::Tunnel { finish, .. } => Some(finish),
        }
    }

    /// Whether filters see a body behind the head.
    pub(super) fn has_body(&mut self, status: StatusCode) -> bool {
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
    pub(super) fn is_upstreams(&self) -> bool {
        matches!(self, Self::Body(ResponseBody::Upstream(_)) | Self::Upgrade { .. })
    }
}
