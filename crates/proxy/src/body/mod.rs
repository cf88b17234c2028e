//! What every body on its way through the proxy has: how it fails, how far it has come, and the gRPC messages in it.

pub(crate) mod chunks;
pub(crate) mod client;
pub(crate) mod messages;

use std::cell::Cell;
use std::task::Poll;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;

use self::client::ClientFault;
use self::messages::MessageCounter;
use crate::http1::decode::BodyFault;
use crate::http2::stream::StreamFault;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The upstream that sends it failed, over HTTP/2.
    #[error(transparent)]
    Transport(#[from] hyper::Error),
    /// The client that sends it failed, over HTTP/2.
    #[error(transparent)]
    Stream(#[from] StreamFault),
    /// The side that sends it failed, over HTTP/1.
    #[error(transparent)]
    Fault(#[from] BodyFault),
    /// The network failed.
    #[error("the connection failed")]
    Lost,
    /// It has another length than its head has announced.
    #[error("body of another length than announced")]
    Length,
    /// Nothing flowed for too long, or it took too long.
    #[error("timed out")]
    TimedOut,
    /// More than may be kept for another attempt had been sent when one became necessary.
    #[error("body cannot be sent again")]
    NotReplayable,
    /// A filter cannot make anything of it.
    #[error("{0}")]
    Filter(&'static str),
}

/// How far a request body has come; shared by its attempts and the log.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes received from the client.
    pub received: Cell<u64>,
    /// When the last of it came.
    pub done_at: Cell<Option<Instant>>,
    /// When something of it came last.
    pub active_at: Cell<Option<Instant>>,
    /// Counts gRPC messages, where a filter wants them counted.
    pub grpc: Cell<Option<MessageCounter>>,
    /// gRPC messages of the answer so far.
    pub answered: Cell<u64>,
    /// gRPC status of the upstream's trailers, where filters make something else of them.
    pub status: Cell<Option<u32>>,
    /// Why a filter cannot make anything of the request's body.
    pub refused: Cell<Option<&'static str>>,
    /// How the client failed to send all of it.
    pub fault: Cell<Option<ClientFault>>,
}

// === impl Progress ===

impl Progress {
    /// Notes a frame. `ended` tells whether it was the last: the codec does not ask for more where the length was announced.
    pub fn observe<E>(&self, polled: &Poll<Option<Result<Frame<Bytes>, E>>>, ended: bool) {
        if let Poll::Ready(Some(Ok(frame))) = polled {
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.received.set(self.received.get() + length as u64);
            if let (Some(mut counter), Some(data)) = (self.grpc.get(), frame.data_ref()) {
                counter.feed(data);
                self.grpc.set(Some(counter));
            }
            self.active_at.set(Some(Instant::now()));
        }
        if (ended || matches!(polled, Poll::Ready(None))) && self.done_at.get().is_none() {
            self.done_at.set(Some(Instant::now()));
        }
    }

    /// Counts gRPC messages of request and answer from now on.
    pub fn count_messages(&self) {
        if self.grpc.get().is_none() {
            self.grpc.set(Some(MessageCounter::default()));
        }
    }

    /// gRPC messages of the request so far.
    pub fn messages(&self) -> u64 {
        self.grpc.get().map_or(0, |counter| counter.messages)
    }
}
