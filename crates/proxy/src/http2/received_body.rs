//! The body of a request on its way from the client. What was read makes room for more.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::stream::{Awaits, StreamFault, StreamRef};

/// The body of a request on its way from the client.
#[derive(Debug)]
pub struct ReceivedBody {
    stream: Option<StreamRef>,
}

/// Sends interim answers (1xx) to a client ahead of its answer.
#[derive(Debug)]
pub struct Interim {
    stream: StreamRef,
    told: Cell<bool>,
}

// === impl ReceivedBody ===

impl ReceivedBody {
    /// A body; `None` where the request has none.
    pub(super) fn new(stream: Option<StreamRef>) -> Self {
        Self { stream }
    }

    /// A client that waits before it sends the body is told to go on by the upstream.
    pub fn leave_to_upstream(&self) {
        self.turn(Awaits::Reader, Awaits::Upstream);
    }

    /// Somebody here wants the body, whatever the upstream will say: a client that waits is told to go on when it is read.
    pub fn is_wanted(&self) {
        self.turn(Awaits::Upstream, Awaits::Reader);
    }

    fn turn(&self, from: Awaits, to: Awaits) {
        if let Some(at) = &self.stream {
            let awaits = &mut at.stream.receiving.borrow_mut().awaits;
            if *awaits == from {
                *awaits = to;
            }
        }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = StreamFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        let Some(at) = &self.stream else {
            return Poll::Ready(None);
        };
        if let Some(fault) = at.fault() {
            return Poll::Ready(Some(Err(fault)));
        }
        let mut receiving = at.stream.receiving.borrow_mut();
        if receiving.awaits == Awaits::Reader {
            receiving.awaits = Awaits::Nothing;
            drop(receiving);
            at.say_interim(StatusCode::CONTINUE, &HeaderMap::new());
            receiving = at.stream.receiving.borrow_mut();
        }
        if let Some(chunk) = receiving.take() {
            drop(receiving);
            at.connection.took(Some(&at.stream), chunk.len() as u32);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if receiving.ended {
            return Poll::Ready(receiving.take_trailers().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        receiving.watch(cx);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_none_or(|at| at.fault().is_none() && at.stream.receiving.borrow().is_read())
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.stream {
            None => Some(0),
            Some(at) => at.stream.receiving.borrow().left().filter(|_| at.stream.announced),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for ReceivedBody {
    fn drop(&mut self) {
        if let Some(at) = &self.stream {
            let kept = at.stream.receiving.borrow_mut().leave();
            at.connection.took(None, kept);
        }
    }
}

// === impl Interim ===

impl Interim {
    pub(super) fn new(stream: StreamRef) -> Self {
        let told = Cell::new(false);
        Self { stream, told }
    }

    /// Sends one; a second `100 Continue` says nothing and goes nowhere.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        if status == StatusCode::CONTINUE {
            if self.told.replace(true) {
                return;
            }
            self.stream.stream.receiving.borrow_mut().awaits = Awaits::Nothing;
        }
        self.stream.say_interim(status, headers);
    }
}
