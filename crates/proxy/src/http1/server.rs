//! The server's end of a connection: requests in their order, each with its answer before the next.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::response::Parts;
use http::{Method, StatusCode, Version};

use super::encode;
use super::framing::{self, Framing, FramingError, asks_to_close, stays};
use super::head::{self, EndOfHead, HeadError, Limits};
use super::outgoing::{Outgoing, Stall};
use super::received_body::{Interim, ReceivedBody, Upload};
use super::transport::Transport;
use crate::stream::Stream;

/// Bytes of next requests that are read while one is answered.
const AHEAD_BYTES_MAX: usize = 64 << 10;
/// How many bytes it takes then.
const LINGER_BYTES_MAX: usize = 256 << 10;

/// How requests are read.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Of a head.
    pub limits: Limits,
    /// From a head's first byte to its last; zero is without bound.
    pub head_timeout: Duration,
    /// How long a connection that ends before its request did still takes bytes, so that the client gets its answer instead of a reset
    /// (RFC 9112, section 9.6).
    pub linger: Duration,
}

/// A client's connection.
#[derive(Debug)]
pub struct ServerConnection {
    io: Rc<RefCell<Transport>>,
    settings: Settings,
    /// The body of the request that is answered, where it has one.
    upload: Option<Rc<Upload>>,
    asked: Asked,
}

/// What of a request decides how its answer is written.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    version: Version,
    stays: bool,
}

/// What came of a client.
#[derive(Debug)]
pub enum Received {
    /// A request; its body, unless nobody can tell where that ends. Then it must be answered with a close.
    Request(head::Request, Result<ReceivedBody, FramingError>),
    /// Bytes that are no head. They must be answered with a close.
    Malformed(HeadError),
    /// Half a head, and no more of it in time. It must be answered with a close.
    Late,
    /// Nothing more comes.
    Closed,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Another request may come.
    Whole,
    /// The connection is to be closed: somebody asked for it, or the request has not ended.
    Last,
    /// The answer broke off, or the client is gone.
    Broken,
}

// === impl Asked ===

impl Asked {
    /// What is answered where there is no request: one to HEAD has no body, whatever is wrong with it.
    fn nothing(method: Method) -> Self {
        Self {
            method,
            version: Version::HTTP_11,
            stays: false,
        }
    }
}

// === impl ServerConnection ===

impl ServerConnection {
    /// A connection that was accepted.
    pub fn new(stream: Stream, settings: Settings) -> Self {
        Self {
            io: Rc::new(RefCell::new(Transport::new(stream))),
            settings,
            upload: None,
            asked: Asked::nothing(Method::GET),
        }
    }

    /// Whether nothing of a next request has come.
    pub fn is_idle(&self) -> bool {
        self.io.borrow().read.is_empty()
    }

    /// Waits for the next request.
    pub async fn receive(&mut self) -> Received {
        self.upload = None;
        let begun = poll_fn(|cx| {
            let mut io = self.io.borrow_mut();
            if io.read.is_empty() {
                io.poll_fill(cx)
            } else {
                Poll::Ready(Ok(1))
            }
        });
        if !matches!(begun.await, Ok(1..)) {
            return Received::Closed;
        }
        let limit = self.settings.head_timeout;
        let head = if limit.is_zero() {
            Ok(self.head().await)
        } else {
            tokio::time::timeout(limit, self.head()).await
        };
        if !matches!(head, Ok(Ok(Some(_)))) {
            self.asked = Asked::nothing(head::probable_method(&self.io.borrow().read));
        }
        match head {
            Err(_) => Received::Late,
            Ok(Err(error)) => Received::Malformed(error),
            Ok(Ok(None)) => Received::Closed,
            Ok(Ok(Some(head))) => self.received(head),
        }
    }

    async fn head(&self) -> Result<Option<head::Request>, HeadError> {
        let mut end = EndOfHead::default();
        poll_fn(|cx| {
            let mut io = self.io.borrow_mut();
            loop {
                if (end.may_be_in(&io.read) || io.read.len() > self.settings.limits.bytes_max)
                    && let Some(head) = head::request(&mut io.read, self.settings.limits)?
                {
                    return Poll::Ready(Ok(Some(head)));
                }
                if !matches!(ready!(io.poll_fill(cx)), Ok(1..)) {
                    return Poll::Ready(Ok(None));
                }
            }
        })
        .await
    }

    fn received(&mut self, head: head::Request) -> Received {
        self.asked = Asked {
            method: head.method.clone(),
            version: head.version,
            stays: stays(head.version, &head.headers),
        };
        let framing = match framing::of_request(&head.method, head.version, &head.headers) {
            Ok(framing) => framing,
            Err(error) => {
                self.asked.stays = false;
                return Received::Request(head, Err(error));
            }
        };
        if matches!(framing, Framing::Empty | Framing::Length(0)) {
            return Received::Request(head, Ok(ReceivedBody::new(None)));
        }
        let expects = head.headers.get(header::EXPECT);
        let awaits_continue = head.version >= Version::HTTP_11
            && expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let upload = Upload::new(self.io.clone(), framing, awaits_continue);
        self.upload = Some(upload.clone());
        Received::Request(head, Ok(ReceivedBody::new(Some(upload))))
    }

    /// Does what makes the answer, unless the client goes away meanwhile. The work stays where it is: it is large.
    pub async fn while_there<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll_gone(cx).map(|()| None),
        })
        .await
    }

    /// Ready when the client has closed. Only watched once its request has ended: until then whoever reads the request sees it.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(upload) = &self.upload
            && !upload.is_over()
        {
            upload.watch(cx.waker());
            return Poll::Pending;
        }
        let mut io = self.io.borrow_mut();
        while io.read.len() < AHEAD_BYTES_MAX {
            match ready!(io.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(_) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Writes an answer. `date` is told where the head has none (RFC 9110, section 6.6.1).
    pub async fn answer<B: Outgoing>(&mut self, mut head: Parts, body: B, date: &HeaderValue) -> Sent {
        let Asked { method, version, stays } = self.asked.clone();
        // What follows is another protocol's, and nobody's here.
        let switches =
            head.status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && head.status.is_success());
        let headers = &mut head.headers;
        let framing = encode::framing_of_answer(&method, version, head.status, headers, &body.size_hint());
        if !headers.contains_key(header::DATE) {
            headers.insert(header::DATE, date.clone());
        }
        let broken = self.upload.as_ref().is_some_and(|upload| upload.has_failed());
        let stays = stays && !broken && framing != Framing::ToClose && !asks_to_close(headers);
        if !stays && !switches {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else if version < Version::HTTP_11 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        if let Some(upload) = &self.upload {
            upload.answering();
        }
        encode::answer(&mut self.io.borrow_mut().out, version, head.status, headers);
        if self.write(framing, body).await.is_err() {
            self.abandon();
            return Sent::Broken;
        }
        if switches {
            return Sent::Last;
        }
        if stays && self.is_received() {
            return Sent::Whole;
        }
        self.abandon();
        Sent::Last
    }

    /// Writes a head that is on its way and the body behind it.
    async fn write<B: Outgoing>(&self, framing: Framing, body: B) -> Result<(), ()> {
        let mut stall = Stall::new(body.patience());
        // Let go of with its last byte: whoever counts and logs it is done before the client has it.
        let mut body = pin!(Some(body));
        let mut left = match framing {
            Framing::Length(bytes) => bytes,
            Framing::Empty => 0,
            Framing::Chunked | Framing::ToClose => u64::MAX,
        };
        let mut over = framing == Framing::Empty && body.as_mut().as_pin_mut().is_none_or(B::head_alone);
        poll_fn(|cx| {
            loop {
                let mut io = self.io.borrow_mut();
                if over || io.is_full() {
                    match io.poll_flush(cx) {
                        Poll::Ready(Ok(())) if over => return Poll::Ready(Ok(())),
                        Poll::Ready(Ok(())) => continue,
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                        Poll::Pending => {
                            let is_stalled = stall.poll(io.taken(), cx).is_ready();
                            drop(io);
                            return match body.as_mut().as_pin_mut() {
                                Some(open) if is_stalled => {
                                    open.give_up();
                                    Poll::Ready(Err(()))
                                }
                                None if is_stalled => Poll::Ready(Err(())),
                                Some(open) => match open.poll_due(cx) {
                                    Poll::Ready(()) => Poll::Ready(Err(())),
                                    Poll::Pending => self.poll_gone(cx).map(Err),
                                },
                                None => self.poll_gone(cx).map(Err),
                            };
                        }
                    }
                }
                drop(io);
                let Some(open) = body.as_mut().as_pin_mut() else {
                    continue;
                };
                match open.poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let Ok(data) = frame.into_data() else {
                            continue;
                        };
                        let Some(rest) = left.checked_sub(data.len() as u64) else {
                            return Poll::Ready(Err(()));
                        };
                        left = if framing == Framing::Chunked { left } else { rest };
                        self.take(framing, data);
                        over = matches!(framing, Framing::Length(_)) && left == 0;
                        if over {
                            body.set(None);
                        }
                    }
                    Poll::Ready(None) if matches!(framing, Framing::Length(_)) && left > 0 => {
                        return Poll::Ready(Err(()));
                    }
                    Poll::Ready(None) => {
                        over = true;
                        body.set(None);
                        if framing == Framing::Chunked {
                            self.io.borrow_mut().out.extend_from_slice(b"0\r\n\r\n");
                        }
                    }
                    // What is whole up to here is the client's; behind it the connection ends, so that it knows that more is missing.
                    Poll::Ready(Some(Err(_))) => {
                        let _ = self.io.borrow_mut().poll_flush(cx);
                        return Poll::Ready(Err(()));
                    }
                    Poll::Pending => {
                        if let Poll::Ready(Err(_)) = self.io.borrow_mut().poll_flush(cx) {
                            return Poll::Ready(Err(()));
                        }
                        return self.poll_gone(cx).map(Err);
                    }
                }
            }
        })
        .await
    }

    fn take(&self, framing: Framing, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let mut io = self.io.borrow_mut();
        let is_chunk = framing == Framing::Chunked;
        if is_chunk {
            encode::chunk_size(&mut io.out, data.len());
        }
        io.take(data, if is_chunk { b"\r\n" } else { b"" });
    }

    fn is_received(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.skip())
    }

    fn abandon(&self) {
        if let Some(upload) = &self.upload {
            upload.abandon();
        }
    }

    /// What sends interim answers to the request that was received last, until it is answered.
    pub fn interim(&self) -> Interim {
        Interim::new(self.io.clone(), self.upload.clone())
    }

    /// Whether the request that was received last has ended, as far as it was read.
    pub fn is_request_over(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.is_over())
    }

    /// Closes: first what we say, then, a little later, what we hear.
    pub async fn close(self) {
        let linger = self.settings.linger;
        let mut taken = 0;
        let closing = poll_fn(|cx| {
            let mut io = self.io.borrow_mut();
            if ready!(io.poll_flush(cx)).is_err() || ready!(io.poll_shutdown(cx)).is_err() || linger.is_zero() {
                return Poll::Ready(());
            }
            loop {
                io.read.clear();
                match ready!(io.poll_fill(cx)) {
                    Ok(bytes @ 1..) if taken < LINGER_BYTES_MAX => taken += bytes,
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            }
        });
        // Late or not, it is over then.
        let _ = tokio::time::timeout(linger, closing).await;
    }

    /// The stream with what came behind the last request, for another protocol. Nothing where somebody still reads that request.
    pub fn into_parts(mut self) -> Option<(Stream, Bytes)> {
        self.upload = None;
        let io = Rc::try_unwrap(self.io).ok()?;
        Some(io.into_inner().into_parts())
    }
}

#[cfg(test)]
mod tests;
