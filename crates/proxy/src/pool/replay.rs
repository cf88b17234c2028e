//! A request body that can be sent again: the beginning is kept, up to a bound.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::body::{BodyError, Progress, chunks};
use crate::filters::client_body::ClientBody;

/// A request body of which the beginning is kept so that it can be sent again.
#[derive(Debug)]
pub struct Kept {
    incoming: RefCell<ClientBody>,
    frames: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    bytes_max: usize,
    overflowed: Cell<bool>,
    ended: Cell<bool>,
    failed: Cell<bool>,
    progress: Rc<Progress>,
}

// === impl Kept ===

impl Kept {
    /// Keeps up to `bytes_max` bytes.
    pub fn new(incoming: ClientBody, bytes_max: usize, progress: Rc<Progress>) -> Rc<Self> {
        Rc::new(Self {
            incoming: RefCell::new(incoming),
            frames: RefCell::default(),
            bytes: Cell::new(0),
            bytes_max,
            overflowed: Cell::new(false),
            ended: Cell::new(false),
            failed: Cell::new(false),
            progress,
        })
    }

    /// The client is to send it, whatever the upstream will say.
    pub fn is_wanted(&self) {
        self.incoming.borrow().is_wanted();
    }

    /// Whether another attempt can send it from the beginning.
    pub fn is_replayable(&self) -> bool {
        !self.overflowed.get() && !self.failed.get()
    }

    /// Whether an attempt that comes to the frame `next` has sent all.
    pub fn is_end(&self, next: usize) -> bool {
        self.ended.get() && next == self.frames.borrow().len()
    }

    /// The frame `next` of an attempt, kept or new.
    pub fn poll_from(&self, next: &mut usize, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // What has failed once is not asked again: the rest of it would look like its end.
        if self.failed.get() || (self.overflowed.get() && *next == 0 && !self.frames.borrow().is_empty()) {
            return Poll::Ready(Some(Err(BodyError::NotReplayable)));
        }
        if let Some(frame) = self.frames.borrow().get(*next) {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::data(frame.clone()))));
        }
        if self.ended.get() {
            return Poll::Ready(None);
        }
        let mut incoming = self.incoming.borrow_mut();
        let polled = incoming.poll_frame(cx, &self.progress);
        drop(incoming);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data, next);
                }
            }
            Poll::Ready(None) => self.ended.set(true),
            Poll::Ready(Some(Err(_))) => self.failed.set(true),
            Poll::Pending => {}
        }
        polled
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
        let mut frames = self.frames.borrow_mut();
        chunks::keep(&mut frames, data);
        // This attempt has all that is kept, however it was joined.
        *next = frames.len();
    }

    /// What is left from the frame `next` on.
    pub fn size_hint(&self, next: usize) -> SizeHint {
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
