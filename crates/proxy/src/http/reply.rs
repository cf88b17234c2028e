//! An answer on its way up through the filters: its head, and what follows it.

use http::{Method, Response, StatusCode};

use super::body::ResponseBody;
use super::context::RequestContext;
use super::upgrade::ClientSwitch;
use crate::stream::Rewound;

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
        client: ClientSwitch,
        upstream: Box<Rewound>,
        /// Ends with the tunnel.
        context: Box<RequestContext>,
    },
    /// Bytes from and to a destination that the client named.
    Tunnel {
        /// The client's side.
        client: ClientSwitch,
        upstream: Box<Rewound>,
        /// Ends with the tunnel.
        context: Box<RequestContext>,
    },
}

// === impl ReplyBody ===

impl ReplyBody {
    /// The record of the request.
    pub(super) fn context(&mut self) -> Option<&mut Box<RequestContext>> {
        match self {
            Self::Body(body) => body.context(),
            Self::Upgrade { context, .. } | Self::Tunnel { context, .. } => Some(context),
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
        matches!(self, Self::Body(ResponseBody::Upstream(_)) | Self::Upgrade { .. })
    }
}
