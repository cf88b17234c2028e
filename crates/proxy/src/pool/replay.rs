//! A request body that can be sent again: the beginning is kept, up to a bound.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::body::{BodyError, Progress, chunks};
use crate::filters::client_body::ClientBody;

/// A request body of which the beginning is kept so that it can be sent again.
#[derive(Debug)]
pub struct Kept {
    incoming: RefCell<ClientBody>,
    frames: RefCell<VecDeque<Bytes>>,
    /// What has come behind them; as large as a head may be.
    trailers: RefCell<Option<HeaderMap>>,
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
            trailers: RefCell::default(),
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
        let trailers = usize::from(self.trailers.borrow().is_some());
        self.ended.get() && next == self.frames.borrow().len() + trailers
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
        if let Some(trailers) = &*self.trailers.borrow()
            && *next == self.frames.borrow().len()
        {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
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
                if self.keep_trailers(frame) {
                    *next = self.frames.borrow().len() + 1;
                }
            }
            Poll::Ready(None) => self.ended.set(true),
            Poll::Ready(Some(Err(_))) => self.failed.set(true),
            Poll::Pending => {}
        }
        polled
    }

    /// Reads on between two attempts, and keeps what comes: ready when the client's body breaks. No more is read once the bound is reached;
    /// the chunk that reaches it is kept, for nobody has had it yet.
    pub fn poll_between(&self, cx: &mut Context<'_>) -> Poll<BodyError> {
        while !self.ended.get() && !self.failed.get() && self.bytes.get() < self.bytes_max {
            match ready!(self.incoming.borrow_mut().poll_frame(cx, &self.progress)) {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.bytes.set(self.bytes.get() + data.len());
                        chunks::keep(&mut self.frames.borrow_mut(), data);
                    }
                    self.keep_trailers(&frame);
                }
                None => self.ended.set(true),
                Some(Err(error)) => {
                    self.failed.set(true);
                    return Poll::Ready(error);
                }
            }
        }
        Poll::Pending
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

    /// Keeps the trailers, if a frame is them.
    fn keep_trailers(&self, frame: &Frame<Bytes>) -> bool {
        let Some(trailers) = frame.trailers_ref() else {
            return false;
        };
        *self.trailers.borrow_mut() = Some(trailers.clone());
        true
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::body::client::{ClientFault, ComingBody};
    use crate::http1::received_body::ReceivedBody;
    use crate::pool::request_body::RequestBody;

    const LIMIT: Duration = Duration::from_secs(10);

    /// What a client's bytes come to between two attempts: what is kept of them once as much as `kept` is, or the client's fault.
    async fn check(bytes: &[u8], bytes_max: usize, kept: &[u8], fault: Option<ClientFault>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let incoming = ClientBody::Direct(ComingBody::Http1(ReceivedBody::chunked(server)));
        let progress = Rc::<Progress>::default();
        let shared = Kept::new(incoming, bytes_max, progress.clone());
        client.write_all(bytes).await.unwrap();
        let body = RequestBody::Kept {
            shared: shared.clone(),
            next: 0,
        };
        let read = async {
            while shared.bytes.get() < kept.len() {
                tokio::task::yield_now().await;
            }
            if fault.is_some() {
                pending::<()>().await;
            }
        };
        let heard = timeout(LIMIT, body.between(read)).await.unwrap();
        assert_eq!(
            (heard.is_err(), progress.fault.get()),
            (fault.is_some(), fault),
            "{bytes:?}"
        );
        let found: Vec<u8> = shared.frames.borrow().iter().flatten().copied().collect();
        assert_eq!(
            (found, shared.is_replayable()),
            (kept.to_vec(), fault.is_none()),
            "{bytes:?}"
        );
    }

    #[tokio::test]
    async fn a_client_is_heard_between_attempts() {
        check(b"5\r\nhello\r\n", 100, b"hello", None).await;
        check(
            b"5\r\nhello\r\nGET / HTTP/1.1\r\n",
            100,
            b"hello",
            Some(ClientFault::Malformed),
        )
        .await;
        // What reaches the bound is kept, and no more is read.
        check(b"5\r\nhello\r\nzz", 3, b"hello", None).await;
    }
}
