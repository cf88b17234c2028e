//! One connection to an endpoint, lent for one request.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use super::request_body::RequestBody;
use crate::stream_info::identity::Identity;

/// An HTTP/1.1 connection that nobody else uses.
#[derive(Debug)]
pub struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) local: Option<SocketAddr>,
    pub(super) requests: u32,
    pub(super) opened_at: Instant,
    pub(super) identity: Option<Rc<Identity>>,
}

/// A connection ready for one request.
#[derive(Debug)]
pub enum Connection {
    /// HTTP/1.1.
    Http1(Http1),
    /// A stream of a shared HTTP/2 connection.
    Http2 {
        /// The connection's sender.
        sender: http2::SendRequest<RequestBody>,
        local: Option<SocketAddr>,
        /// Certificates of both sides.
        identity: Option<Rc<Identity>>,
        /// Counts the stream until it ends.
        stream: StreamGuard,
    },
}

/// A request that got no answer.
#[derive(Debug)]
pub struct SendError {
    pub error: hyper::Error,
    /// The request itself, where nothing of it was sent.
    pub request: Option<Request<RequestBody>>,
}

/// Counts one stream of a shared connection.
#[derive(Debug)]
pub struct StreamGuard(pub(super) Rc<Cell<u32>>);

// === impl Connection ===

impl Connection {
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(connection) => connection.local,
            Self::Http2 { local, .. } => *local,
        }
    }

    /// URI names of both certificates.
    pub fn identity(&self) -> Option<&Rc<Identity>> {
        match self {
            Self::Http1(connection) => connection.identity.as_ref(),
            Self::Http2 { identity, .. } => identity.as_ref(),
        }
    }

    /// Whether it speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2 { .. })
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let sent = match self {
            Self::Http1(connection) => {
                connection.requests += 1;
                connection.sender.try_send_request(request).await
            }
            Self::Http2 { sender, .. } => sender.try_send_request(request).await,
        };
        sent.map_err(|mut error| SendError {
            request: error.take_message(),
            error: error.into_error(),
        })
    }
}

// === impl StreamGuard ===

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
