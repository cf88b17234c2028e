//! The body of a request as the client's connection gives it, whichever protocol that speaks.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::{BodyError, Progress};
use crate::http1::decode::BodyFault;
use crate::http1::received_body::ReceivedBody;

/// What comes of a client behind the head of a request.
#[derive(Debug)]
pub enum ComingBody {
    /// Over HTTP/1.
    Http1(ReceivedBody),
    /// Over HTTP/2.
    Http2(Incoming),
}

/// How a client failed to send the whole of a body. It is never the endpoint's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFault {
    /// What it sent breaks the protocol.
    Malformed,
    /// It went away.
    Gone,
}

// === impl ComingBody ===

impl ComingBody {
    /// Whether nothing (more) comes.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    /// How much comes.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }

    /// A client that waits before it sends the body is told to go on by the upstream.
    pub fn leave_to_upstream(&self) {
        if let Self::Http1(body) = self {
            body.leave_to_upstream();
        }
    }

    /// Somebody here wants the body, whatever the upstream will say.
    pub fn is_wanted(&self) {
        if let Self::Http1(body) = self {
            body.is_wanted();
        }
    }

    /// The next frame; `progress` learns of it, and of the client's fault where there is none.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        progress: &Progress,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match self {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
        };
        if let Poll::Ready(Some(Err(error))) = &polled {
            progress.fault.set(Some(ClientFault::of(error)));
        }
        progress.observe(&polled, self.is_end_stream());
        polled
    }
}

// === impl ClientFault ===

impl ClientFault {
    fn of(error: &BodyError) -> Self {
        use std::error::Error as _;
        match error {
            BodyError::Fault(BodyFault::Incomplete) => Self::Gone,
            BodyError::Fault(_) => Self::Malformed,
            BodyError::Transport(error) => {
                let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
                // What we have found ourselves; all else is the client's end of the stream, or of the connection.
                if h2.is_some_and(|error| error.is_library() || (error.is_reset() && !error.is_remote())) {
                    Self::Malformed
                } else {
                    Self::Gone
                }
            }
            BodyError::Lost
            | BodyError::TimedOut
            | BodyError::NotReplayable
            | BodyError::Filter(_)
            | BodyError::Length => Self::Gone,
        }
    }
}
