//! Answers on their way to clients that may be slow, and how long those are waited for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::time::Sleep;

/// The body of an answer on its way to a client that may be slow.
pub trait Outgoing: Body<Data = Bytes> {
    /// How long the client may take nothing of it; zero is without bound.
    fn patience(&self) -> Duration;

    /// Its head is all that goes: what is there of it is passed over. False where its sender has more to say, which must be read to its
    /// end.
    fn head_alone(self: Pin<&mut Self>) -> bool {
        true
    }

    /// The client took nothing for so long that nobody waits any longer.
    fn give_up(self: Pin<&mut Self>);

    /// Ready when all of it should have gone. Asked while the client takes nothing; the body itself knows otherwise.
    fn poll_due(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;
}

/// How long a client takes nothing.
#[derive(Debug)]
pub struct Stall {
    patience: Duration,
    taken: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl Stall ===

impl Stall {
    /// A client that takes nothing for `patience`; zero is without bound.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            taken: 0,
            timer: None,
        }
    }

    /// Ready when it was too long; asked while more waits to be taken. The timer is there only for those that wait.
    pub fn poll(&mut self, taken: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.patience.is_zero() {
            return Poll::Pending;
        }
        if self.taken != taken {
            self.taken = taken;
            self.timer = None;
        }
        let patience = self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(cx)
    }
}
