//! One request and its answer as a connection knows them: what has come, what may be sent, and who waits for either.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::connection::Connection;
use super::reason::Reason;
use super::window::{Incoming, Outgoing, Overflow};

/// Chunks up to this size are copied, and joined, so that a kept one does not hold the bytes it came among.
const COPIED_BYTES_MAX: usize = 1 << 10;

/// How a stream ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// The client reset it.
    #[error("the client reset the stream")]
    Reset,
    /// The client went away.
    #[error("the client is gone")]
    Gone,
    /// What the client sent breaks the protocol.
    #[error("the client broke the protocol")]
    Malformed,
    /// Its trailers are too many fields.
    #[error("too many trailers")]
    TooMany,
    /// Its trailers are too many bytes.
    #[error("trailers of too many bytes")]
    TooLarge,
    /// It was given up on this side.
    #[error("the stream was given up")]
    GivenUp,
}

/// Who tells a client to go on that waits before it sends its body (RFC 9110, section 10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// Nobody: it does not wait, or was told, or is answered.
    Nothing,
    /// Whoever reads the body first.
    Reader,
    /// The upstream, by an interim answer of its own.
    Upstream,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sent {
    Nothing,
    Head,
    All,
}

/// One of the streams of a connection, from its head to its end.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) opened_at: Instant,
    /// Its length was told ahead.
    pub(super) announced: bool,
    /// Set once and for ever.
    pub(super) fault: Cell<Option<StreamFault>>,
    pub(super) receiving: RefCell<Receiving>,
    pub(super) sending: RefCell<Sending>,
}

/// What comes of the client.
#[derive(Debug)]
pub(super) struct Receiving {
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// All has come.
    pub(super) ended: bool,
    /// How much must still come, where that was told.
    left: Option<u64>,
    window: Incoming,
    /// Nobody wants what comes.
    unread: bool,
    pub(super) awaits: Awaits,
    /// Who waits for more.
    reader: Option<Waker>,
}

/// What goes to the client.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) sent: Sent,
    pub(super) window: Outgoing,
    /// Bytes of the body that were taken so far.
    pub(super) taken: u64,
    /// It waits for its turn.
    pub(super) is_waiting: bool,
    /// It is its turn.
    pub(super) has_turn: bool,
    /// It waits for room for a head.
    pub(super) wants_head: bool,
    /// A tunnel goes on behind the head.
    pub(super) has_tunnel: bool,
    /// Who makes the answer, or has its tunnel.
    task: Option<Waker>,
    /// Who waits for the head, to go on behind it.
    tunnel: Option<Waker>,
}

/// A stream with its connection.
#[derive(Clone, Debug)]
pub struct StreamRef {
    pub(super) connection: Rc<Connection>,
    pub(super) stream: Rc<Stream>,
}

/// What becomes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It is kept.
    Kept,
    /// Nobody wants it.
    Unwanted,
}

// === impl Stream ===

impl Stream {
    pub(super) fn new(id: u32, now: Instant, length: Option<u64>, incoming: Incoming, outgoing: Outgoing) -> Self {
        Self {
            id,
            opened_at: now,
            announced: length.is_some(),
            fault: Cell::new(None),
            receiving: RefCell::new(Receiving {
                chunks: VecDeque::new(),
                trailers: None,
                ended: false,
                left: length,
                window: incoming,
                unread: false,
                awaits: Awaits::Nothing,
                reader: None,
            }),
            sending: RefCell::new(Sending {
                sent: Sent::Nothing,
                window: outgoing,
                taken: 0,
                is_waiting: false,
                has_turn: false,
                wants_head: false,
                has_tunnel: false,
                task: None,
                tunnel: None,
            }),
        }
    }

    /// Whether both sides have said all.
    pub(super) fn is_over(&self) -> bool {
        self.fault.get().is_some() || (self.receiving.borrow().ended && self.sending.borrow().sent == Sent::All)
    }

    /// Ends it early. Whoever waits learns of it. Gives the bytes that were kept and will not be read.
    pub(super) fn fail(&self, fault: StreamFault) -> u32 {
        if self.fault.get().is_none() {
            self.fault.set(Some(fault));
        }
        let mut receiving = self.receiving.borrow_mut();
        let kept = receiving.drop_kept();
        receiving.wake();
        drop(receiving);
        self.sending.borrow_mut().wake();
        kept
    }
}

// === impl Receiving ===

impl Receiving {
    /// A chunk has come, for which the window was charged `charged` bytes.
    pub(super) fn came(&mut self, data: Bytes, charged: u32) -> Result<Came, Reason> {
        if self.ended {
            return Err(Reason::STREAM_CLOSED);
        }
        self.window
            .came(charged)
            .map_err(|Overflow| Reason::FLOW_CONTROL_ERROR)?;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(Reason::PROTOCOL_ERROR)?;
        }
        if self.unread {
            return Ok(Came::Unwanted);
        }
        self.keep(data);
        self.wake();
        Ok(Came::Kept)
    }

    fn keep(&mut self, data: Bytes) {
        if data.len() > COPIED_BYTES_MAX {
            self.chunks.push_back(data);
            return;
        }
        if data.is_empty() {
            return;
        }
        if let Some(last) = self.chunks.back_mut()
            && last.len() + data.len() <= COPIED_BYTES_MAX
        {
            *last = [&last[..], &data[..]].concat().into();
            return;
        }
        self.chunks.push_back(Bytes::copy_from_slice(&data));
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Reason> {
        if self.ended {
            return Err(Reason::STREAM_CLOSED);
        }
        if self.left.is_some_and(|left| left > 0) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        self.trailers = trailers.filter(|trailers| !trailers.is_empty() && !self.unread);
        self.ended = true;
        self.wake();
        Ok(())
    }

    /// The next chunk.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.chunks.pop_front()
    }

    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// So much was taken: what the client is to be told of. Nothing where no more comes.
    pub(super) fn took(&mut self, bytes: u32) -> Option<u32> {
        if self.ended || self.unread {
            return None;
        }
        self.window.took(bytes)
    }

    /// Nobody wants what comes from now on. Gives the bytes that were kept.
    pub(super) fn leave(&mut self) -> u32 {
        self.unread = true;
        self.trailers = None;
        self.drop_kept()
    }

    fn drop_kept(&mut self) -> u32 {
        self.chunks.drain(..).map(|chunk| chunk.len() as u32).sum()
    }

    /// Whether nothing is left to be read, of a body that has all come.
    pub(super) fn is_read(&self) -> bool {
        self.ended && self.chunks.is_empty() && self.trailers.is_none()
    }

    /// How much is still to be read, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        let kept: usize = self.chunks.iter().map(Bytes::len).sum();
        self.left.map(|left| left + kept as u64)
    }

    pub(super) fn watch(&mut self, cx: &Context<'_>) {
        watch(&mut self.reader, cx);
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

// === impl Sending ===

impl Sending {
    pub(super) fn watch(&mut self, cx: &Context<'_>) {
        watch(&mut self.task, cx);
    }

    pub(super) fn watch_head(&mut self, cx: &Context<'_>) {
        watch(&mut self.tunnel, cx);
    }

    pub(super) fn wake(&mut self) {
        for waker in [self.task.take(), self.tunnel.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

fn watch(place: &mut Option<Waker>, cx: &Context<'_>) {
    if !place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

// === impl StreamRef ===

impl StreamRef {
    /// How it ended before its time, if it did.
    pub fn fault(&self) -> Option<StreamFault> {
        self.stream.fault.get()
    }

    /// How it ended, where the client got nothing of an answer.
    pub fn unanswered(&self) -> Option<StreamFault> {
        self.fault()
            .filter(|_| self.stream.sending.borrow().sent == Sent::Nothing)
    }

    /// Ready when it has ended before its time.
    pub(super) fn poll_fault(&self, cx: &Context<'_>) -> Poll<StreamFault> {
        match self.stream.fault.get() {
            Some(fault) => Poll::Ready(fault),
            None => {
                self.stream.sending.borrow_mut().watch(cx);
                Poll::Pending
            }
        }
    }
}
