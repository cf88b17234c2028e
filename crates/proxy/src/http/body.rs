//! Bodies on their way through the proxy: counted, bounded where they are kept, and with back-pressure from end to end.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::finish::Finish;
use super::replay::Kept;
use crate::body::messages::MessageCounter;
use crate::body::{BodyError, Progress};
use crate::error::{ErrorKind, ResponseFlags};
use crate::filters::istio_stats::MessageMeter;
use crate::upstream::cluster::Cluster;
use crate::upstream::connection::{Http1, StreamGuard};
use crate::upstream::pool::Pool;

/// A request body on its way upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// The client's, straight through.
    Direct {
        /// The client's body.
        incoming: Incoming,
        /// Counts it.
        progress: Rc<Progress>,
    },
    /// The client's, kept for other attempts.
    Kept {
        /// What is kept.
        shared: Rc<Kept>,
        /// Next frame of this attempt.
        next: usize,
    },
}

/// An answer on its way to the client.
#[derive(Debug)]
pub enum ResponseBody {
    /// The proxy's own.
    Local {
        /// Its bytes.
        bytes: Option<Bytes>,
        /// Ends the request's record on drop.
        finish: Option<Box<Finish>>,
    },
    /// An upstream's.
    Upstream(Box<UpstreamBody>),
}

/// An upstream's answer with what must happen when it ends.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    give_back: Option<GiveBack>,
    stream: Option<StreamGuard>,
    finish: Box<Finish>,
    idle_timeout: Duration,
    idle: Option<Pin<Box<Sleep>>>,
    due: Option<Instant>,
    deadline: Option<Pin<Box<Sleep>>>,
    grpc: Option<Box<(MessageCounter, Option<MessageMeter>)>>,
}

/// Returns an HTTP/1.1 connection to its pool.
#[derive(Debug)]
pub struct GiveBack {
    /// The connection.
    pub connection: Http1,
    /// Its pool.
    pub pool: Rc<Pool>,
    /// Its cluster.
    pub cluster: Arc<Cluster>,
}

// === impl RequestBody ===

impl RequestBody {
    /// Whether another attempt can send it from the beginning.
    pub fn is_replayable(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Direct { .. } => false,
            Self::Kept { shared, .. } => shared.is_replayable(),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Direct { incoming, progress } => {
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                progress.observe(&polled, incoming.is_end_stream());
                polled.map_err(BodyError::from)
            }
            Self::Kept { shared, next } => shared.poll_from(next, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Direct { incoming, .. } => incoming.is_end_stream(),
            Self::Kept { shared, next } => shared.is_end(*next),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Direct { incoming, .. } => incoming.size_hint(),
            Self::Kept { shared, next } => shared.size_hint(*next),
        }
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    /// A body of the proxy's own, without a record.
    pub fn bare(bytes: Bytes) -> Self {
        Self::Local {
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            finish: None,
        }
    }
}

impl ResponseBody {
    /// The record of the request, where it is kept here.
    pub fn finish(&mut self) -> Option<&mut Box<Finish>> {
        match self {
            Self::Local { finish, .. } => finish.as_mut(),
            Self::Upstream(body) => Some(&mut body.finish),
        }
    }

    /// Whether it is an answer of the proxy's own that did not wait for the request's end.
    pub fn is_before_request_end(&self) -> bool {
        match self {
            Self::Local { finish, .. } => finish
                .as_ref()
                .is_none_or(|finish| finish.progress.done_at.get().is_none()),
            Self::Upstream(_) => false,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Local { bytes, finish } => {
                let taken = bytes.take();
                if let Some(finish) = finish {
                    finish.info.bytes_sent += taken.as_ref().map_or(0, |bytes| bytes.len() as u64);
                    finish.complete();
                }
                Poll::Ready(taken.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Upstream(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local { bytes, .. } => bytes.is_none(),
            Self::Upstream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local { bytes, .. } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upstream(body) => body.incoming.size_hint(),
        }
    }
}

// === impl UpstreamBody ===

impl UpstreamBody {
    /// The body of an answer whose head was received. `due` is when all of it must have come.
    pub fn new(
        incoming: Incoming,
        give_back: Option<GiveBack>,
        stream: Option<StreamGuard>,
        finish: Box<Finish>,
        idle_timeout: Duration,
        due: Option<Instant>,
    ) -> Box<Self> {
        let counted = finish.progress.grpc.get().is_some();
        let grpc = counted.then(|| Box::new((MessageCounter::default(), finish.meter())));
        let mut body = Box::new(Self {
            grpc,
            incoming,
            give_back,
            stream,
            finish,
            idle_timeout,
            idle: None,
            due,
            deadline: None,
        });
        if body.incoming.is_end_stream() {
            body.ended();
        }
        body
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.idle = None;
                if let Some(data) = frame.data_ref() {
                    self.finish.info.bytes_sent += data.len() as u64;
                    if let Some(grpc) = &mut self.grpc {
                        grpc.0.feed(data);
                    }
                    self.report_messages();
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.finish.trailers(trailers);
                    let from_http1 = self.give_back.is_some();
                    // Nothing follows trailers, and the codec does not ask again.
                    self.ended();
                    // Trailers of HTTP/1.1 are not passed on unless that is switched on (Envoy API, Http1ProtocolOptions).
                    return Poll::Ready((!from_http1).then_some(Ok(frame)));
                }
                if self.incoming.is_end_stream() {
                    self.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.ended();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let (flag, details) = if is_cut_short(&error) {
                    (
                        ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
                        "upstream_reset_after_response_started{protocol_error}",
                    )
                } else {
                    let details = "upstream_reset_after_response_started{connection_termination}";
                    (ResponseFlags::UPSTREAM_CONNECTION_TERMINATION, details)
                };
                self.fail(flag, details);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => self.poll_timers(cx),
        }
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let due = self.due.map(|due| {
            self.deadline
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)))
        });
        if let Some(deadline) = due
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.fail(
                ResponseFlags::UPSTREAM_REQUEST_TIMEOUT,
                ErrorKind::UpstreamTimeout.details(),
            );
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        }
        if !self.idle_timeout.is_zero() {
            let timeout = self.idle_timeout;
            let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
            if idle.as_mut().poll(cx).is_ready() {
                self.fail(ResponseFlags::STREAM_IDLE_TIMEOUT, ErrorKind::IdleTimeout.details());
                return Poll::Ready(Some(Err(BodyError::TimedOut)));
            }
        }
        Poll::Pending
    }

    fn report_messages(&mut self) {
        let Some(grpc) = &mut self.grpc else {
            return;
        };
        let messages = grpc.0.messages;
        self.finish.progress.answered.set(messages);
        if let Some(meter) = &mut grpc.1 {
            meter.report(messages);
        }
    }

    fn ended(&mut self) {
        self.stream = None;
        if let Some(back) = self.give_back.take() {
            back.pool.give_back(&back.cluster, back.connection);
        }
        self.finish.complete();
    }

    fn fail(&mut self, flag: ResponseFlags, details: &'static str) {
        self.finish.info.flags.insert(flag);
        self.finish.info.details = Some(details.into());
        self.finish.complete();
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        self.report_messages();
    }
}

/// Whether an HTTP/1.1 connection was closed before the body's announced end.
fn is_cut_short(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof)
}
