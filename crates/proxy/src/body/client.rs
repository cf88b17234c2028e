//! The body of a request as the client's connection gives it, whichever protocol that speaks.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use super::{BodyError, Progress};
use crate::http1::decode::BodyFault;
use crate::http1::received_body as http1;
use crate::http2::received_body as http2;
use crate::http2::stream::StreamFault;

/// What comes of a client behind the head of a request.
#[derive(Debug)]
pub enum ComingBody {
    /// Over HTTP/1.
    Http1(http1::ReceivedBody),
    /// Over HTTP/2.
    Http2(http2::ReceivedBody),
}

/// Sends interim answers (1xx) to a client ahead of its answer.
#[derive(Debug)]
pub enum Interim {
    /// Over HTTP/1.1.
    Http1(http1::Interim),
    /// Over HTTP/2.
    Http2(http2::Interim),
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
        match self {
            Self::Http1(body) => body.leave_to_upstream(),
            Self::Http2(body) => body.leave_to_upstream(),
        }
    }

    /// Somebody here wants the body, whatever the upstream will say.
    pub fn is_wanted(&self) {
        match self {
            Self::Http1(body) => body.is_wanted(),
            Self::Http2(body) => body.is_wanted(),
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

// === impl Interim ===

impl Interim {
    /// Sends one; a second `100 Continue` says nothing and goes nowhere.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        match self {
            Self::Http1(interim) => interim.send(status, headers),
            Self::Http2(interim) => interim.send(status, headers),
        }
    }
}

// === impl ClientFault ===

impl ClientFault {
    fn of(error: &BodyError) -> Self {
        match error {
            BodyError::Fault(BodyFault::Incomplete) => Self::Gone,
            BodyError::Fault(_) | BodyError::Stream(StreamFault::Malformed) => Self::Malformed,
            BodyError::Stream(
                StreamFault::Reset
                | StreamFault::Gone
                | StreamFault::TooMany
                | StreamFault::TooLarge
                | StreamFault::GivenUp,
            )
            | BodyError::Transport(_)
            | BodyError::Lost
            | BodyError::TimedOut
            | BodyError::NotReplayable
            | BodyError::Filter(_)
            | BodyError::Length => Self::Gone,
        }
    }
}
