//! One connection to an endpoint, lent for one request.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use http::header::{self, HeaderName};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::Pool;
use super::answer_body::{AnswerBody, Http1Answer};
use super::queue::Slot;
use super::request_body::RequestBody;
use super::switched::Switched;
use crate::body::BodyError;
use crate::body::client::Interim;
use crate::error::ErrorKind;
use crate::http1::client::{ClientConnection, ExchangeError, HEADERS_MAX};
use crate::http1::{framing, head};
use crate::stream_info::identity::Identity;
use crate::stream_info::path::RequestPath;
use crate::upstream::cluster::Cluster;
use crate::upstream::limits::Guard;

/// An HTTP/1.1 connection that nobody else uses.
#[derive(Debug)]
pub struct Http1 {
    pub(super) connection: ClientConnection,
    pub(super) facts: Box<Facts>,
}

/// What is known of an HTTP/1.1 connection as long as it is open.
#[derive(Debug)]
pub struct Facts {
    pub(super) local: Option<SocketAddr>,
    pub(super) requests: u32,
    pub(super) opened_at: Instant,
    pub(super) identity: Option<Rc<Identity>>,
    /// Counts it until it is closed.
    pub(super) _slot: Slot,
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

/// What was lent, and whether it was used before.
#[derive(Debug)]
pub struct Lent {
    pub connection: Connection,
    /// A connection that served others may have been closed by its peer meanwhile.
    pub reused: bool,
    /// Where HTTP/1.1 connections go back to.
    pub pool: Rc<Pool>,
}

/// A request that got no answer.
#[derive(Debug)]
pub struct SendError {
    pub kind: ErrorKind,
    /// What the server or the system said.
    pub reason: Box<str>,
    /// The request itself, where nothing of it was sent.
    pub request: Option<Request<RequestBody>>,
}

/// Counts one stream of a shared connection.
#[derive(Debug)]
pub struct StreamGuard {
    streams: Rc<Cell<u32>>,
    pool: Weak<Pool>,
}

// === impl Connection ===

impl Connection {
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(connection) => connection.facts.local,
            Self::Http2 { local, .. } => *local,
        }
    }

    /// URI names of both certificates.
    pub fn identity(&self) -> Option<&Rc<Identity>> {
        match self {
            Self::Http1(connection) => connection.facts.identity.as_ref(),
            Self::Http2 { identity, .. } => identity.as_ref(),
        }
    }

    /// Whether it speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2 { .. })
    }
}

// === impl Lent ===

impl Lent {
    /// Gives it back as it was.
    pub fn give_back(self, cluster: &Cluster) {
        self.pool.take_back(cluster, self.connection);
    }

    /// Sends a request and waits for the head of its answer; `interim` is told of interim ones over HTTP/1.1. The connection stays with
    /// the answer, and so does `counted`, the request's unit of what the cluster allows.
    ///
    /// # Errors
    /// No answer came, or none that is one.
    pub async fn send(
        self,
        path: &RequestPath,
        request: Request<RequestBody>,
        cluster: &Arc<Cluster>,
        counted: Guard,
        interim: Option<&Interim>,
    ) -> Result<Response<AnswerBody>, SendError> {
        match self.connection {
            Connection::Http1(Http1 { connection, mut facts }) => {
                facts.requests += 1;
                let (parts, body) = request.into_parts();
                // A CONNECT names a host alone (RFC 9112, section 3.2.3).
                let host = (parts.method == Method::CONNECT).then(|| parts.headers.get(header::HOST).cloned());
                let target = host.flatten();
                let target = target.as_ref().map_or(path.as_str().as_bytes(), |host| host.as_bytes());
                let mut exchange = connection.begin(parts.method, target, parts.headers, body);
                let answer = exchange
                    .head(|answer| pass_on(interim, answer))
                    .await
                    .map_err(SendError::from)?;
                let body = Http1Answer::new(exchange, facts, counted, self.pool, cluster.clone());
                let mut response = Response::new(AnswerBody::Http1(Box::new(body)));
                *response.status_mut() = answer.status;
                *response.version_mut() = answer.version;
                *response.headers_mut() = answer.headers;
                Ok(response)
            }
            Connection::Http2 { mut sender, stream, .. } => {
                // The codec keeps interim answers to itself: a client that waits for one is told to go on here.
                request.body().is_wanted();
                let tunnels = request.method() == Method::CONNECT;
                match sender.try_send_request(request).await {
                    // The status counts, too, as in Envoy.
                    Ok(response) if response.headers().len() + 1 > HEADERS_MAX => Err(SendError {
                        kind: ErrorKind::UpstreamProtocol,
                        reason: "too many headers".into(),
                        request: None,
                    }),
                    Ok(response) if tunnels && response.status().is_success() => {
                        switch(response, counted, stream).await
                    }
                    Ok(response) => Ok(response.map(|incoming| AnswerBody::Http2(incoming, Some((counted, stream))))),
                    Err(mut error) => Err(SendError {
                        request: error.take_message(),
                        ..SendError::from(error.into_error())
                    }),
                }
            }
        }
    }
}

/// Passes an interim answer on: that to an expectation, and early hints. Others are for the hop that they came over, as with Envoy.
fn pass_on(interim: Option<&Interim>, mut answer: head::Answer) {
    if let Some(interim) = interim
        && matches!(answer.status.as_u16(), 100 | 103)
    {
        for name in framing::list(&answer.headers, &header::CONNECTION)
            .filter_map(|name| name.parse::<HeaderName>().ok())
            .collect::<Vec<_>>()
        {
            answer.headers.remove(name);
        }
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
            answer.headers.remove(name);
        }
        interim.send(answer.status, &answer.headers);
    }
}

/// The stream of an endpoint that agrees to a CONNECT.
async fn switch(
    mut response: Response<Incoming>,
    counted: Guard,
    stream: StreamGuard,
) -> Result<Response<AnswerBody>, SendError> {
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(|error| SendError {
        kind: ErrorKind::UpstreamProtocol,
        reason: error.to_string().into(),
        request: None,
    })?;
    let switched = Switched::Stream(TokioIo::new(upgraded), counted, stream);
    Ok(response.map(|_| AnswerBody::Switched(switched)))
}

// === impl SendError ===

impl From<ExchangeError<BodyError>> for SendError {
    fn from(error: ExchangeError<BodyError>) -> Self {
        let kind = match &error {
            ExchangeError::Closed | ExchangeError::Lost => ErrorKind::ConnectionTerminated,
            // The endpoint has begun to answer: the request is not sent anew, as if it had not.
            ExchangeError::HeadCutShort
            | ExchangeError::Head(_)
            | ExchangeError::Framing(_)
            | ExchangeError::Unexpected(_)
            | ExchangeError::Body(_) => ErrorKind::UpstreamProtocol,
            ExchangeError::Request(_) | ExchangeError::RequestLength => ErrorKind::ConnectionTerminated,
        };
        Self {
            kind,
            reason: error.to_string().into(),
            request: None,
        }
    }
}

impl From<hyper::Error> for SendError {
    fn from(error: hyper::Error) -> Self {
        use std::error::Error as _;
        let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        let kind = match h2.and_then(|h2| Some((h2, h2.reason()?))) {
            // Found here: what came breaks the protocol.
            Some((h2, _)) if h2.is_library() => ErrorKind::UpstreamProtocol,
            Some((h2, h2::Reason::REFUSED_STREAM)) if h2.is_reset() => ErrorKind::RefusedStream,
            Some((h2, _)) if h2.is_reset() => ErrorKind::StreamReset,
            // The server ends and says that it has not seen this one (RFC 9113, section 6.8).
            Some((h2, h2::Reason::NO_ERROR)) if h2.is_go_away() && h2.is_remote() => ErrorKind::RefusedStream,
            _ => ErrorKind::ConnectionTerminated,
        };
        Self {
            kind,
            reason: error.to_string().into(),
            request: None,
        }
    }
}

// === impl StreamGuard ===

impl StreamGuard {
    /// One more of `streams`, of a connection of `pool`.
    pub(super) fn new(streams: Rc<Cell<u32>>, pool: &Rc<Pool>) -> Self {
        streams.set(streams.get() + 1);
        Self {
            streams,
            pool: Rc::downgrade(pool),
        }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        if let Some(pool) = self.pool.upgrade() {
            pool.serve_streams(true);
        }
    }
}
