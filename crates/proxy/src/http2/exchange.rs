//! A request's answer on its way to the client, by the task that makes it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::response::Parts;
use http::{Method, StatusCode};
use http_body::SizeHint;

use super::reason::Reason;
use super::received_body::Interim;
use super::stream::{Awaits, Sent, StreamFault, StreamRef};
use super::tunnel::TunnelStream;
use crate::http1::framing::{announced_length, is_bodiless};
use crate::http1::outgoing::{Outgoing, Stall};

/// Where the answer to a request goes. Who lets go of it without an answer has the stream reset.
#[derive(Debug)]
pub struct ServerStream {
    at: StreamRef,
    method: Method,
}

/// How long the body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// Nothing follows the head.
    Nothing,
    Bytes(u64),
    Unknown,
}

/// What became of a body's next frame.
enum Next {
    Chunk(Bytes),
    Trailers(HeaderMap),
    End,
    /// It broke off, or is not what its head has announced.
    Broken,
}

/// Why an answer is not whole.
enum Cut {
    /// It broke off.
    Broken,
    /// The client took nothing of it, or was not in time.
    Late,
    /// The client is gone.
    Gone,
}

// === impl ServerStream ===

impl ServerStream {
    pub(super) fn new(at: StreamRef, method: Method) -> Self {
        Self { at, method }
    }

    /// The stream itself, for whoever wants to know how it ends.
    pub fn at(&self) -> &StreamRef {
        &self.at
    }

    /// What sends interim answers, until the request is answered.
    pub fn interim(&self) -> Interim {
        Interim::new(self.at.clone())
    }

    /// The tunnel behind the answer, of a CONNECT.
    pub fn tunnel(&self) -> Option<TunnelStream> {
        (self.method == Method::CONNECT).then(|| TunnelStream::new(self.at.clone()))
    }

    /// Does what makes the answer, unless the stream ends meanwhile. The work stays where it is: it is large.
    pub async fn while_there<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.at.poll_fault(cx).map(|_| None),
        })
        .await
    }

    /// Sends the answer. `date` is told where the head has none (RFC 9110, section 6.6.1).
    pub async fn answer<B: Outgoing>(self, mut head: Parts, body: B, date: &HeaderValue) {
        let length = self.length(head.status, &mut head.headers, &body.size_hint());
        if !head.headers.contains_key(header::DATE) {
            head.headers.insert(header::DATE, date.clone());
        }
        self.at.stream.receiving.borrow_mut().awaits = Awaits::Nothing;
        let switches = self.method == Method::CONNECT && head.status.is_success();
        let mut stall = Stall::new(body.patience());
        // Let go of with its last byte: whoever counts and logs it is done before the client has it.
        let mut body = pin!(body);
        let begun = poll_fn(|cx| match self.at.poll_room(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => self.poll_cut(&mut stall, body.as_mut(), cx).map(Err),
        });
        let sent = match begun.await {
            Ok(()) if self.at.fault().is_some() => Err(Cut::Gone),
            Ok(()) if switches => {
                let goes_on = self.at.stream.sending.borrow().has_tunnel;
                self.at.say_head(head.status, &head.headers, !goes_on);
                self.at.stream.sending.borrow_mut().wake();
                Ok(())
            }
            Ok(()) => {
                let is_over = length == Length::Nothing && body.as_mut().head_alone();
                let is_whole = is_over || (body.is_end_stream() && !matches!(length, Length::Bytes(1..)));
                self.at.say_head(head.status, &head.headers, is_whole);
                if is_whole {
                    Ok(())
                } else {
                    self.body(body, length, stall).await
                }
            }
            Err(cut) => Err(cut),
        };
        let reason = match sent {
            Ok(()) => return,
            Err(Cut::Gone) => return,
            Err(Cut::Broken) => Reason::INTERNAL_ERROR,
            Err(Cut::Late) => Reason::CANCEL,
        };
        self.at.connection.reset(&self.at.stream, reason, StreamFault::GivenUp);
    }

    /// How long the body is; the head is made to say so.
    fn length(&self, status: StatusCode, headers: &mut HeaderMap, hint: &SizeHint) -> Length {
        let tunnel = self.method == Method::CONNECT && status.is_success();
        if tunnel || status.is_informational() || status == StatusCode::NO_CONTENT {
            // Must not be there (RFC 9110, section 8.6).
            headers.remove(header::CONTENT_LENGTH);
            return Length::Nothing;
        }
        if is_bodiless(&self.method, status) {
            if let Some(length @ 1..) = hint.exact().filter(|_| self.method == Method::HEAD) {
                headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
            }
            return Length::Nothing;
        }
        if let Some(length) = announced_length(headers) {
            return Length::Bytes(length);
        }
        headers.remove(header::CONTENT_LENGTH);
        match hint.exact() {
            Some(0) => Length::Nothing,
            Some(length) => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                Length::Bytes(length)
            }
            None => Length::Unknown,
        }
    }

    /// Sends what follows the head.
    async fn body<B: Outgoing>(&self, mut body: Pin<&mut B>, length: Length, mut stall: Stall) -> Result<(), Cut> {
        let mut left = match length {
            Length::Bytes(bytes) => Some(bytes),
            Length::Nothing => Some(0),
            Length::Unknown => None,
        };
        let (mut chunk, mut is_last) = (Bytes::new(), false);
        poll_fn(|cx| {
            loop {
                if self.at.fault().is_some() {
                    return Poll::Ready(Err(Cut::Gone));
                }
                if !chunk.is_empty() || is_last {
                    match self.at.poll_say(cx, &mut chunk, is_last) {
                        Poll::Ready(()) if is_last => return Poll::Ready(Ok(())),
                        Poll::Ready(()) => {}
                        Poll::Pending => return self.poll_cut(&mut stall, body.as_mut(), cx).map(Err),
                    }
                }
                match next(body.as_mut(), &mut left, cx) {
                    Poll::Ready(Next::Chunk(next)) => {
                        chunk = next;
                        is_last = !chunk.is_empty() && left.is_none_or(|left| left == 0) && body.is_end_stream();
                    }
                    Poll::Ready(Next::Trailers(trailers)) => {
                        self.at.say_trailers(&trailers);
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(Next::End) => {
                        self.at.say_end();
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(Next::Broken) => return Poll::Ready(Err(Cut::Broken)),
                    Poll::Pending => {
                        ready!(self.at.poll_fault(cx));
                        return Poll::Ready(Err(Cut::Gone));
                    }
                }
            }
        })
        .await
    }

    /// Ready when nobody waits any longer for a client that takes nothing.
    fn poll_cut<B: Outgoing>(&self, stall: &mut Stall, body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Cut> {
        let taken = self.at.stream.sending.borrow().taken;
        if self.at.poll_fault(cx).is_ready() {
            return Poll::Ready(Cut::Gone);
        }
        if stall.poll(taken, cx).is_ready() {
            body.give_up();
            return Poll::Ready(Cut::Late);
        }
        body.poll_due(cx).map(|()| Cut::Late)
    }
}

/// The next frame of a body of which so much is left.
fn next<B: Outgoing>(body: Pin<&mut B>, left: &mut Option<u64>, cx: &mut Context<'_>) -> Poll<Next> {
    let Some(frame) = ready!(body.poll_frame(cx)) else {
        let is_whole = left.is_none_or(|left| left == 0);
        return Poll::Ready(if is_whole { Next::End } else { Next::Broken });
    };
    let Ok(frame) = frame else {
        return Poll::Ready(Next::Broken);
    };
    let frame = match frame.into_data() {
        Ok(chunk) => {
            if let Some(left) = left {
                match left.checked_sub(chunk.len() as u64) {
                    Some(rest) => *left = rest,
                    None => return Poll::Ready(Next::Broken),
                }
            }
            return Poll::Ready(Next::Chunk(chunk));
        }
        Err(frame) => frame,
    };
    Poll::Ready(match frame.into_trailers() {
        Ok(_) if left.is_some_and(|left| left > 0) => Next::Broken,
        Ok(trailers) => Next::Trailers(trailers),
        Err(_) => Next::Chunk(Bytes::new()),
    })
}

impl Drop for ServerStream {
    fn drop(&mut self) {
        let (sent, has_tunnel) = {
            let sending = self.at.stream.sending.borrow();
            (sending.sent, sending.has_tunnel)
        };
        if self.at.fault().is_none() && !(sent == Sent::Head && has_tunnel) {
            self.at.end(sent == Sent::All);
        }
        self.at.connection.pass_turn(&self.at.stream);
    }
}

// === impl StreamRef ===

impl StreamRef {
    /// Nothing more is said. A request that has not ended is cut off: behind a whole answer without an error (RFC 9113, section 8.1).
    pub(super) fn end(&self, is_answered: bool) {
        let reason = if is_answered {
            Reason::NO_ERROR
        } else {
            Reason::INTERNAL_ERROR
        };
        if !self.stream.is_over() {
            self.connection.reset(&self.stream, reason, StreamFault::GivenUp);
        }
    }
}
