//! An answer on its way up through the filters: its head, and what follows it.

use http::{Method, Response, StatusCode};

use super::body::ResponseBody;
use super::context::RequestContext;
use super::tunnel::{Tunnel, TunnelKind};

/// An answer on its way up through the filters.
pub type Reply = Response<ReplyBody>;

/// What follows the head of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// A body, the proxy's own or an upstream's.
    Body(ResponseBody),
    /// Another protocol, to which both sides switch.
    Tunnel(Box<Tunnel>),
}

// === impl ReplyBody ===

impl ReplyBody {
    /// The record of the request.
    pub(super) fn context(&mut self) -> Option<&mut Box<RequestContext>> {
        match self {
            Self::Body(body) => body.context(),
            Self::Tunnel(tunnel) => Some(&mut tunnel.context),
        }
    }

    /// Whether filters see a body behind the head.
    pub(super) fn has_body(&mut self, status: StatusCode) -> bool {
        let Self::Body(body) = self else {
            return false;
        };
        let to_head = body
            .context()
            .and_then(|context| context.info.request.as_ref())
            .is_some_and(|request| request.method == Method::HEAD);
        !body.is_empty() && !to_head && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
    }

    /// Whether an upstream answers.
    pub(super) fn is_upstreams(&self) -> bool {
        match self {
            Self::Body(body) => matches!(body, ResponseBody::Upstream(_)),
            Self::Tunnel(tunnel) => tunnel.kind == TunnelKind::Upstream,
        }
    }
}
