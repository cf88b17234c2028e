//! A request's body on its way upstream.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::replay::Kept;
use crate::body::{BodyError, Progress};
use crate::filters::client_body::ClientBody;

/// A request body on its way upstream.
#[derive(Debug)]
pub enum RequestBody {
    Empty,
    /// The client's, straight through.
    Direct {
        /// The client's body, as filters leave it.
        body: ClientBody,
        progress: Rc<Progress>,
    },
    /// The proxy's own; nothing once it is sent.
    Own(Option<Bytes>),
    /// The client's, kept for other attempts.
    Kept {
        /// What is kept.
        shared: Rc<Kept>,
        /// Next frame of this attempt.
        next: usize,
    },
}

// === impl RequestBody ===

impl RequestBody {
    /// A body of the proxy's own.
    pub fn own(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        Self::Own(Some(bytes))
    }

    /// The body of one attempt. The last attempt may take the original.
    pub fn for_attempt(&mut self, last: bool) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Own(bytes) => Self::Own(bytes.clone()),
            Self::Direct { .. } => {
                debug_assert!(last, "a direct body has one attempt");
                std::mem::replace(self, Self::Empty)
            }
            Self::Kept { shared, .. } => Self::Kept {
                shared: Rc::clone(shared),
                next: 0,
            },
        }
    }

    /// The client is to send it, whatever the upstream will say.
    pub fn is_wanted(&self) {
        match self {
            Self::Empty | Self::Own(_) => {}
            Self::Direct { body, .. } => body.is_wanted(),
            Self::Kept { shared, .. } => shared.is_wanted(),
        }
    }

    /// Does what is done between two attempts, unless the client's body breaks meanwhile: what is known to be none is not sent again.
    ///
    /// # Errors
    /// It has broken.
    pub async fn between(&self, work: impl Future<Output = ()>) -> Result<(), BodyError> {
        let Self::Kept { shared, .. } = self else {
            work.await;
            return Ok(());
        };
        tokio::select! {
            biased;
            error = poll_fn(|cx| shared.poll_between(cx)) => Err(error),
            () = work => Ok(()),
        }
    }

    /// Whether another attempt can send it from the beginning.
    pub fn is_replayable(&self) -> bool {
        match self {
            Self::Empty | Self::Own(_) => true,
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
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Direct { body, progress } => body.poll_frame(cx, progress),
            Self::Kept { shared, next } => shared.poll_from(next, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Own(bytes) => bytes.is_none(),
            Self::Direct { body, .. } => body.is_end_stream(),
            Self::Kept { shared, next } => shared.is_end(*next),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Direct { body, .. } => body.size_hint(),
            Self::Kept { shared, next } => shared.size_hint(*next),
        }
    }
}
