//! Bodies on their way through the proxy: counted, bounded where they are kept, and with back-pressure from end to end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
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
use crate::error::{ErrorKind, ResponseFlags};
use crate::upstream::cluster::Cluster;
use crate::upstream::pool::{Http1, Pool, StreamGuard};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The side that sends it failed.
    #[error(transparent)]
    Transport(#[from] hyper::Error),
    /// Nothing flowed for too long, or it took too long.
    #[error("timed out")]
    TimedOut,
    /// More than may be kept for another attempt had been sent when one became necessary.
    #[error("body cannot be sent again")]
    NotReplayable,
}

/// How far a request body has come; shared by its attempts and the log.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes received from the client.
    pub received: Cell<u64>,
    /// When the last of it came.
    pub done_at: Cell<Option<Instant>>,
}

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

/// A request body of which the beginning is kept so that it can be sent again.
#[derive(Debug)]
pub struct Kept {
    incoming: RefCell<Incoming>,
    frames: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    bytes_max: usize,
    overflowed: Cell<bool>,
    ended: Cell<bool>,
    progress: Rc<Progress>,
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
    deadline: Option<Pin<Box<Sleep>>>,
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
            Self::Kept { shared, .. } => !shared.overflowed.get(),
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
                let polled = Pin::new(incoming).poll_frame(cx);
                progress.observe(&polled);
                polled.map_err(BodyError::from)
            }
            Self::Kept { shared, next } => shared.poll_from(next, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Direct { incoming, .. } => incoming.is_end_stream(),
            Self::Kept { shared, next } => shared.ended.get() && *next == shared.frames.borrow().len(),
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

// === impl Progress ===

impl Progress {
    fn observe<E>(&self, polled: &Poll<Option<Result<Frame<Bytes>, E>>>) {
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.received.set(self.received.get() + length as u64);
            }
            Poll::Ready(None) => self.done_at.set(Some(Instant::now())),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
    }
}

// === impl Kept ===

impl Kept {
    /// Keeps up to `bytes_max` bytes.
    pub fn new(incoming: Incoming, bytes_max: usize, progress: Rc<Progress>) -> Rc<Self> {
        Rc::new(Self {
            incoming: RefCell::new(incoming),
            frames: RefCell::default(),
            bytes: Cell::new(0),
            bytes_max,
            overflowed: Cell::new(false),
            ended: Cell::new(false),
            progress,
        })
    }

    fn poll_from(&self, next: &mut usize, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.overflowed.get() && *next == 0 && !self.frames.borrow().is_empty() {
            return Poll::Ready(Some(Err(BodyError::NotReplayable)));
        }
        if let Some(frame) = self.frames.borrow().get(*next) {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::data(frame.clone()))));
        }
        if self.ended.get() {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(cx);
        self.progress.observe(&polled);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data, next);
                }
            }
            Poll::Ready(None) => self.ended.set(true),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled.map_err(BodyError::from)
    }

    /// Keeps a chunk, or lets go of all where it becomes too much.
    fn keep(&self, data: &Bytes, next: &mut usize) {
        if self.overflowed.get() {
            return;
        }
        let total = self.bytes.get() + data.len();
        if total > self.bytes_max {
            self.overflowed.set(true);
            self.frames.borrow_mut().clear();
            // Marks that something was sent, so that another attempt fails instead of sending a part.
            self.frames.borrow_mut().push_back(Bytes::new());
            *next = 1;
            return;
        }
        self.bytes.set(total);
        self.frames.borrow_mut().push_back(data.clone());
        *next += 1;
    }

    fn size_hint(&self, next: usize) -> SizeHint {
        let kept: u64 = self
            .frames
            .borrow()
            .iter()
            .skip(next)
            .map(|frame| frame.len() as u64)
            .sum();
        let coming = self.incoming.borrow().size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = coming.upper() {
            hint.set_upper(upper + kept);
        }
        hint.set_lower(coming.lower() + kept);
        hint
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
    /// The body of an answer whose head was received. `deadline` is what is left of the route's timeout.
    pub fn new(
        incoming: Incoming,
        give_back: Option<GiveBack>,
        stream: Option<StreamGuard>,
        finish: Box<Finish>,
        idle_timeout: Duration,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Box<Self> {
        let mut body = Box::new(Self {
            incoming,
            give_back,
            stream,
            finish,
            idle_timeout,
            idle: None,
            deadline,
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
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.finish.trailers(trailers);
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
                self.fail(
                    ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
                    "upstream_reset_after_response_started{connection_termination}",
                );
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => self.poll_timers(cx),
        }
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(deadline) = &mut self.deadline
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
