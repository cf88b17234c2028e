//! The bytes behind a CONNECT, both ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{Sent, StreamFault, StreamRef};

/// Most that is taken of one write.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// A client's side of a tunnel. Nothing is written before its answer was.
#[derive(Debug)]
pub struct TunnelStream {
    at: StreamRef,
    /// What came and was not read yet.
    ahead: Bytes,
    /// What was taken and not sent yet.
    taken: Bytes,
}

// === impl TunnelStream ===

impl TunnelStream {
    pub(super) fn new(at: StreamRef) -> Self {
        at.stream.sending.borrow_mut().has_tunnel = true;
        Self {
            at,
            ahead: Bytes::new(),
            taken: Bytes::new(),
        }
    }

    /// Ready when the answer has gone out, and what was taken before.
    fn poll_sent(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if let Some(fault) = self.at.fault() {
            return Poll::Ready(Err(reset(fault)));
        }
        let mut sending = self.at.stream.sending.borrow_mut();
        match sending.sent {
            Sent::Nothing => {
                sending.watch_head(cx);
                return Poll::Pending;
            }
            Sent::All => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Sent::Head => {}
        }
        drop(sending);
        if !self.taken.is_empty() {
            match self.at.poll_say(cx, &mut self.taken, false) {
                Poll::Ready(()) => {}
                Poll::Pending => return self.at.poll_fault(cx).map(|fault| Err(reset(fault))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn reset(fault: StreamFault) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, fault)
}

impl AsyncRead for TunnelStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            if let Some(fault) = self.at.fault() {
                return Poll::Ready(Err(reset(fault)));
            }
            let mut receiving = self.at.stream.receiving.borrow_mut();
            let Some(chunk) = receiving.take() else {
                if receiving.ended {
                    return Poll::Ready(Ok(()));
                }
                receiving.watch(cx);
                return Poll::Pending;
            };
            drop(receiving);
            self.ahead = chunk;
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        self.at.connection.took(Some(&self.at.stream), length as u32);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(cx))?;
        let length = data.len().min(WRITE_BYTES_MAX);
        self.taken = Bytes::copy_from_slice(&data[..length]);
        // What does not go now goes before what comes next.
        let _ = self.poll_sent(cx)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.at.stream.sending.borrow().sent == Sent::All {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_sent(cx))?;
        self.at.say_end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        let sent = {
            let mut sending = self.at.stream.sending.borrow_mut();
            sending.has_tunnel = false;
            sending.sent
        };
        let kept = self.at.stream.receiving.borrow_mut().leave() + self.ahead.len() as u32;
        self.at.connection.took(None, kept);
        if sent != Sent::Nothing && self.at.fault().is_none() {
            self.at.end(sent == Sent::All);
        }
        self.at.connection.pass_turn(&self.at.stream);
    }
}
