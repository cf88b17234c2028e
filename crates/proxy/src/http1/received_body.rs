//! The body of a request on its way from the client. Whoever reads it reads the connection; the connection's task waits meanwhile.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};

use super::decode::{BodyFault, Decoder, Step};
use super::encode;
use super::framing::Framing;
use super::transport::Transport;

/// The body of a request on its way from the client.
#[derive(Debug)]
pub struct ReceivedBody {
    upload: Option<Rc<Upload>>,
}

/// A request's body as both have it: who reads it, and the connection.
#[derive(Debug)]
pub(super) struct Upload {
    io: Rc<RefCell<Transport>>,
    /// Its length was told ahead.
    announced: bool,
    state: RefCell<UploadState>,
    /// The connection's task, which watches the client once all has come.
    watcher: RefCell<Option<Waker>>,
    /// Who waits for more of it.
    reader: RefCell<Option<Waker>>,
}

#[derive(Debug)]
struct UploadState {
    decoder: Decoder,
    /// Whether the client waits for `100 Continue` before it sends the body.
    awaits: Awaits,
    /// The client was told to go on.
    told: bool,
    /// Set once and for ever: a body that has failed never turns out to be whole.
    fault: Option<BodyFault>,
}

/// Who tells a client to go on (RFC 9110, section 10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// Nobody: it does not wait, or was told, or is answered.
    Nothing,
    /// Whoever reads the body first.
    Reader,
    /// The upstream, by an interim answer of its own.
    Upstream,
}

/// Sends interim answers (1xx) to a client ahead of its answer.
#[derive(Debug)]
pub struct Interim {
    io: Rc<RefCell<Transport>>,
    upload: Option<Rc<Upload>>,
    told: Cell<bool>,
}

// === impl Interim ===

impl Interim {
    pub(super) fn new(io: Rc<RefCell<Transport>>, upload: Option<Rc<Upload>>) -> Self {
        Self {
            io,
            upload,
            told: Cell::new(false),
        }
    }

    /// Sends one; a second `100 Continue` says nothing and goes nowhere.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        if status == StatusCode::CONTINUE {
            if self.told.replace(true) {
                return;
            }
            if let Some(upload) = &self.upload {
                let mut state = upload.state.borrow_mut();
                state.awaits = Awaits::Nothing;
                if std::mem::replace(&mut state.told, true) {
                    return;
                }
            }
        }
        let mut io = self.io.borrow_mut();
        encode::answer(&mut io.out, Version::HTTP_11, status, headers);
        // What does not go now goes with the answer.
        let _ = io.poll_flush(&mut Context::from_waker(Waker::noop()));
    }
}

// === impl Upload ===

impl Upload {
    pub(super) fn new(io: Rc<RefCell<Transport>>, framing: Framing, awaits_continue: bool) -> Rc<Self> {
        Rc::new(Self {
            io,
            announced: matches!(framing, Framing::Length(_)),
            state: RefCell::new(UploadState {
                decoder: Decoder::new(framing),
                awaits: if awaits_continue {
                    Awaits::Reader
                } else {
                    Awaits::Nothing
                },
                told: false,
                fault: None,
            }),
            watcher: RefCell::new(None),
            reader: RefCell::new(None),
        })
    }

    /// Has the task be woken when nothing more comes.
    pub(super) fn watch(&self, waker: &Waker) {
        *self.watcher.borrow_mut() = Some(waker.clone());
    }

    /// What is written from now on is the answer: nothing may come between.
    pub(super) fn answering(&self) {
        self.state.borrow_mut().awaits = Awaits::Nothing;
    }

    /// Whether all of it has come. What is left of it in the buffer is passed over.
    pub(super) fn skip(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let mut io = self.io.borrow_mut();
        while state.fault.is_none() && !state.decoder.is_done() {
            match state.decoder.decode(&mut io.read) {
                Ok(Step::Data(_)) => {}
                Ok(Step::End(_)) => break,
                Ok(Step::More) => return false,
                Err(fault) => state.fault = Some(fault),
            }
        }
        state.fault.is_none()
    }

    /// Whoever still reads it learns that there is no more of it.
    pub(super) fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        if !state.decoder.is_done() && state.fault.is_none() {
            state.fault = Some(BodyFault::Incomplete);
        }
        drop(state);
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state.borrow().fault.is_some()
    }

    /// Whether nothing more comes, be it whole or not.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state.borrow();
        state.decoder.is_done() || state.fault.is_some()
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let mut state = self.state.borrow_mut();
        if let Some(fault) = state.fault {
            return Poll::Ready(Some(Err(fault)));
        }
        let mut io = self.io.borrow_mut();
        if state.awaits == Awaits::Reader {
            state.awaits = Awaits::Nothing;
            state.told = true;
            io.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            // What does not go now goes with the answer.
            let _ = io.poll_flush(cx);
        }
        let step = loop {
            match state.decoder.decode(&mut io.read) {
                Ok(Step::More) => match io.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(_) | Err(_)) => break Err(BodyFault::Incomplete),
                    Poll::Pending => {
                        *self.reader.borrow_mut() = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                },
                step => break step,
            }
        };
        let polled = match step {
            Ok(Step::Data(data)) => Some(Ok(Frame::data(data))),
            // Trailers of HTTP/1.1 are read and end here, as with Envoy where it is not told to take them.
            Ok(Step::End(_) | Step::More) => None,
            Err(fault) => {
                state.fault = Some(fault);
                Some(Err(fault))
            }
        };
        if (state.decoder.is_done() || state.fault.is_some())
            && let Some(watcher) = self.watcher.borrow_mut().take()
        {
            watcher.wake();
        }
        Poll::Ready(polled)
    }
}

// === impl ReceivedBody ===

impl ReceivedBody {
    /// A body; `None` where the request has none.
    pub(super) fn new(upload: Option<Rc<Upload>>) -> Self {
        Self { upload }
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
        if let Some(upload) = &self.upload {
            let awaits = &mut upload.state.borrow_mut().awaits;
            if *awaits == from {
                *awaits = to;
            }
        }
    }

    /// A body that comes in chunks over a connection of its own.
    #[cfg(test)]
    pub fn chunked(stream: tokio::net::TcpStream) -> Self {
        let io = Rc::new(RefCell::new(Transport::new(stream.into())));
        Self::new(Some(Upload::new(io, Framing::Chunked, false)))
    }

    /// Whether the client has ended it.
    pub fn is_whole(&self) -> bool {
        let upload = self.upload.as_ref();
        upload.is_none_or(|upload| upload.state.borrow().decoder.is_done())
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match &self.upload {
            None => Poll::Ready(None),
            Some(upload) => upload.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole()
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.upload {
            None => Some(0),
            // One that came in chunks goes on in chunks, however much of it is known by now.
            Some(upload) => upload.state.borrow().decoder.left().filter(|_| upload.announced),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
