//! The server's end of a connection: reads, hands requests over, writes what their tasks have left to be written.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::connection::{Connection, Event, Settings};
use crate::stream::Stream;
use crate::stream::read_ahead::ReadAhead;

/// How many bytes a connection takes that ends.
const LINGER_BYTES_MAX: usize = 256 << 10;

/// A client's connection.
#[derive(Debug)]
pub struct ServerConnection {
    stream: Stream,
    connection: Rc<Connection>,
    read: BytesMut,
    read_ahead: ReadAhead,
}

// === impl ServerConnection ===

impl ServerConnection {
    /// A connection that was accepted.
    pub fn new(stream: Stream, settings: Settings) -> Self {
        Self {
            stream,
            connection: Connection::new(settings, Instant::now()),
            read: BytesMut::new(),
            read_ahead: ReadAhead::default(),
        }
    }

    /// The connection without its socket.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Waits for the next request, and writes what is to be written meanwhile. `None` when nothing more comes and nothing is served.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            self.connection.0.borrow_mut().works();
            if let Some(event) = self.connection.take(&mut self.read, Instant::now()) {
                return Poll::Ready(Some(event));
            }
            self.connection.0.borrow_mut().watch(cx);
            let flushed = self.poll_flush(cx);
            if self.connection.is_over() || matches!(flushed, Poll::Ready(Err(_))) {
                return Poll::Ready(None);
            }
            if !matches!(ready!(self.poll_fill(cx)), Ok(1..)) {
                return Poll::Ready(None);
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        self.read_ahead
            .poll_fill(Pin::new(&mut self.stream), cx, &mut self.read)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut state = self.connection.0.borrow_mut();
        let before = state.output.taken();
        let flushed = state.output.poll_flush(Pin::new(&mut self.stream), cx);
        if state.output.taken() != before {
            state.flushed();
        }
        flushed
    }

    /// Closes: whoever is served learns that the client is gone, then first what we say, and, a little later, what we hear, so that the
    /// client gets what was said instead of a reset.
    pub async fn close(mut self, linger: Duration) {
        self.connection.gone();
        let mut taken = 0;
        let closing = poll_fn(|cx| {
            if ready!(self.poll_flush(cx)).is_err()
                || ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_err()
                || linger.is_zero()
            {
                return Poll::Ready(());
            }
            loop {
                self.read.clear();
                match ready!(self.poll_fill(cx)) {
                    Ok(bytes @ 1..) if taken < LINGER_BYTES_MAX => taken += bytes,
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            }
        });
        // Late or not, it is over then.
        let _ = tokio::time::timeout(linger, closing).await;
    }
}

impl Drop for ServerConnection {
    fn drop(&mut self) {
        self.connection.gone();
    }
}

#[cfg(test)]
mod tests;
