//! The client's end of a connection: one exchange at a time, and another only after one that is complete both ways.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::decode::{BodyFault, Decoder, Step};
use super::encode;
use super::framing::{self, Framing, FramingError, server_stays};
use super::head::{self, EndOfHead, HeadError, Limits};
use super::transport::Transport;
use crate::stream::Stream;

/// Most headers of an answer (Envoy's default of `max_headers_count`).
pub const HEADERS_MAX: usize = 100;

/// Of answers, as Envoy has them by default (`max_response_headers_kb`, `max_headers_count`).
const LIMITS: Limits = Limits {
    bytes_max: 60 << 10,
    count_max: HEADERS_MAX,
};
/// Most interim answers (1xx) before one that counts.
const INTERIM_MAX: u32 = 32;

/// A connection on which nothing is under way.
#[derive(Debug)]
pub struct ClientConnection {
    io: Transport,
}

/// A request and its answer. The connection is a part of it; dropped before its end it closes.
#[derive(Debug)]
pub struct Exchange<B> {
    io: Transport,
    method: Method,
    /// The request offers to go on with another protocol.
    offers: bool,
    upload: Upload<B>,
    decoder: Decoder,
    end_of_head: EndOfHead,
    interim: u32,
    answer: Progress,
}

/// How far a request has been sent.
#[derive(Debug)]
enum Upload<B> {
    /// There is a body, and not all of it is sent. So many bytes may follow, where their number was announced.
    Body(B, Framing, u64),
    /// All is handed to the transport.
    Written,
    /// All has left.
    Sent,
    /// The server took no more. It may have answered.
    Refused,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing of it.
    Awaited,
    /// At least a byte.
    Begun,
    /// Its head; the connection may serve another exchange behind its body, or not.
    Head { stays: bool },
    /// The connection speaks another protocol from here on.
    Switched,
}

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError<E> {
    /// The server closed, or the network failed, before a byte of the answer.
    #[error("the connection was closed before an answer")]
    Closed,
    /// The server closed in the middle of the answer's head.
    #[error("the answer's head ended early")]
    HeadCutShort,
    /// What came is no head of an answer.
    #[error("malformed answer: {0}")]
    Head(#[from] HeadError),
    /// Nobody can tell where the answer ends.
    #[error("malformed answer: {0}")]
    Framing(#[from] FramingError),
    /// The answer is none to this request.
    #[error("malformed answer: {0}")]
    Unexpected(&'static str),
    /// The answer's body broke off or is malformed.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// The network failed in the middle of the answer's body.
    #[error("the connection failed")]
    Lost,
    /// The request's own body failed. Nothing ends it for the server.
    #[error("the request's body failed: {0}")]
    Request(E),
    /// The request's body is longer or shorter than its head says.
    #[error("the request's body has another length than was announced")]
    RequestLength,
}

/// A frame of an answer, or why there is none. `E` is how the request's own body fails.
pub type NextFrame<E> = Result<Frame<Bytes>, ExchangeError<E>>;

// === impl ClientConnection ===

impl ClientConnection {
    /// A connection that was just made.
    pub fn new(stream: Stream) -> Self {
        Self {
            io: Transport::new(stream),
        }
    }

    pub fn stream(&self) -> &Stream {
        self.io.stream()
    }

    /// Whether the server has neither closed nor said anything that nobody asked for. Costs no system call while nothing has come.
    pub fn is_open(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.io.read.is_empty() && self.io.poll_fill(&mut cx).is_pending()
    }

    /// Begins an exchange. `headers` are made to say how long the body is; `target` must be checked.
    pub fn begin<B: Body>(self, method: Method, target: &[u8], mut headers: HeaderMap, body: B) -> Exchange<B> {
        let mut io = self.io;
        let framing = encode::framing_of_request(&mut headers, &body.size_hint());
        encode::request(&mut io.out, &method, target, &headers);
        let upload = match framing {
            Framing::Empty => Upload::Written,
            Framing::Length(length) => Upload::Body(body, framing, length),
            Framing::Chunked | Framing::ToClose => Upload::Body(body, framing, u64::MAX),
        };
        Exchange {
            io,
            method,
            offers: headers.contains_key(header::UPGRADE),
            upload,
            decoder: Decoder::new(Framing::Empty),
            end_of_head: EndOfHead::default(),
            interim: 0,
            answer: Progress::Awaited,
        }
    }
}

// === impl Exchange ===

impl<B: Body<Data = Bytes> + Unpin> Exchange<B> {
    /// Sends the request and waits for the head of its answer; those of interim ones are told as they come. The body may still be on its
    /// way then.
    ///
    /// # Errors
    /// There is none, or none to this request.
    pub async fn head(
        &mut self,
        mut interim: impl FnMut(head::Answer),
    ) -> Result<head::Answer, ExchangeError<B::Error>> {
        poll_fn(|cx| self.poll_head(cx, &mut interim)).await
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut impl FnMut(head::Answer),
    ) -> Poll<Result<head::Answer, ExchangeError<B::Error>>> {
        self.upload(cx)?;
        loop {
            if self.end_of_head.may_be_in(&self.io.read) || self.io.read.len() > LIMITS.bytes_max {
                self.answer = Progress::Begun;
                if let Some(answer) = head::answer(&mut self.io.read, LIMITS)? {
                    self.end_of_head = EndOfHead::default();
                    let answer = self.accept(answer)?;
                    if !answer.status.is_informational() || self.answer == Progress::Switched {
                        return Poll::Ready(Ok(answer));
                    }
                    interim(answer);
                    continue;
                }
            }
            if !matches!(ready!(self.io.poll_fill(cx)), Ok(1..)) {
                return Poll::Ready(Err(if self.answer == Progress::Awaited && self.io.read.is_empty() {
                    ExchangeError::Closed
                } else {
                    ExchangeError::HeadCutShort
                }));
            }
        }
    }

    /// Takes a head and what follows from it.
    fn accept(&mut self, answer: head::Answer) -> Result<head::Answer, ExchangeError<B::Error>> {
        let framing = framing::of_answer(&self.method, answer.status, &answer.headers)?;
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            if !self.offers {
                return Err(ExchangeError::Unexpected("a switch that nobody asked for"));
            }
            if !matches!(self.upload, Upload::Sent) {
                return Err(ExchangeError::Unexpected("a switch before the request's end"));
            }
            self.answer = Progress::Switched;
            return Ok(answer);
        }
        if answer.status.is_informational() {
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Err(ExchangeError::Unexpected("too many interim answers"));
            }
            self.answer = Progress::Awaited;
            return Ok(answer);
        }
        self.answer = if self.method == Method::CONNECT && answer.status.is_success() {
            Progress::Switched
        } else {
            let stays = server_stays(answer.version, &answer.headers) && framing != Framing::ToClose;
            Progress::Head { stays }
        };
        self.decoder = Decoder::new(framing);
        Ok(answer)
    }

    /// The next frame of the answer. The request's body goes on meanwhile.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<NextFrame<B::Error>>> {
        if self.decoder.is_done() {
            return Poll::Ready(None);
        }
        if let Err(error) = self.upload(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            match self.decoder.decode(&mut self.io.read) {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Step::End(trailers)) => {
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(Step::More) => {}
                Err(fault) => return Poll::Ready(Some(Err(fault.into()))),
            }
            match ready!(self.io.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(_) => {
                    return Poll::Ready(match self.decoder.closed() {
                        Ok(()) => None,
                        Err(fault) => Some(Err(fault.into())),
                    });
                }
                Err(_) => return Poll::Ready(Some(Err(ExchangeError::Lost))),
            }
        }
    }

    /// Sends as much of the request as goes.
    fn upload(&mut self, cx: &mut Context<'_>) -> Result<(), ExchangeError<B::Error>> {
        loop {
            let starved = self.take_of_body(cx)?;
            match self.io.poll_flush(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => self.upload = Upload::Refused,
                Poll::Ready(Ok(())) if matches!(self.upload, Upload::Written) => self.upload = Upload::Sent,
                Poll::Ready(Ok(())) => {}
            }
            if starved || !matches!(self.upload, Upload::Body(..)) {
                return Ok(());
            }
        }
    }

    /// Takes of the body what there is room for. True where the body has no more for now.
    fn take_of_body(&mut self, cx: &mut Context<'_>) -> Result<bool, ExchangeError<B::Error>> {
        while let Upload::Body(body, framing, left) = &mut self.upload
            && !self.io.is_full()
        {
            let data = match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Err(error))) => return Err(ExchangeError::Request(error)),
                Poll::Ready(None) if *framing == Framing::Chunked => {
                    self.io.out.extend_from_slice(b"0\r\n\r\n");
                    self.upload = Upload::Written;
                    break;
                }
                Poll::Ready(None) => return Err(ExchangeError::RequestLength),
                // Trailers are not passed on (Envoy API, Http1ProtocolOptions, `enable_trailers`).
                Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            let rest = left
                .checked_sub(data.len() as u64)
                .ok_or(ExchangeError::RequestLength)?;
            if data.is_empty() {
                continue;
            }
            if *framing == Framing::Chunked {
                encode::chunk_size(&mut self.io.out, data.len());
                self.io.take(data, b"\r\n");
                continue;
            }
            *left = rest;
            self.io.take(data, b"");
            if rest == 0 {
                self.upload = Upload::Written;
            }
        }
        Ok(false)
    }

    /// Whether nothing more of the answer comes.
    pub fn is_answered(&self) -> bool {
        self.decoder.is_done()
    }

    /// How much of the answer comes.
    pub fn size_hint(&self) -> SizeHint {
        self.decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The connection, for another exchange: only if all of the request was sent, all of the answer has come, nothing came behind it, and
    /// neither side wants it closed.
    pub fn finish(self) -> Option<ClientConnection> {
        let whole = matches!(self.upload, Upload::Sent) && self.decoder.is_done();
        let stays = self.answer == Progress::Head { stays: true };
        (whole && stays && self.io.read.is_empty()).then_some(ClientConnection { io: self.io })
    }

    /// Whether the server has switched to another protocol.
    pub fn has_switched(&self) -> bool {
        self.answer == Progress::Switched
    }

    /// The stream and what came of another protocol, where the server has switched to it.
    pub fn into_switched(self) -> Option<(Stream, Bytes)> {
        self.has_switched().then(|| self.io.into_parts())
    }
}

#[cfg(test)]
mod tests;
