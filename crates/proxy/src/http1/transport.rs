//! A connection's bytes with what was read ahead and what is still to be written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::stream::Stream;
use crate::stream::read_ahead::ReadAhead;

/// Chunks up to this size are copied behind what waits before them; longer ones are written from where they are.
const COPIED_BYTES_MAX: usize = 4 << 10;
/// No more is taken to be written while so much waits.
const WAITING_BYTES_MAX: usize = 16 << 10;

/// A stream with buffers.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    /// What came and was not taken yet.
    pub(super) read: BytesMut,
    read_ahead: ReadAhead,
    /// What is to be written first: heads, framing, short chunks.
    pub(super) out: Vec<u8>,
    written: usize,
    /// One long chunk behind it.
    chunk: Bytes,
    /// What is to be written behind that.
    end: &'static [u8],
    unflushed: bool,
    /// Bytes that the peer's side has taken so far.
    taken: u64,
}

// === impl Transport ===

impl Transport {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            read_ahead: ReadAhead::default(),
            out: Vec::new(),
            written: 0,
            chunk: Bytes::new(),
            end: b"",
            unflushed: false,
            taken: 0,
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The stream, and what was read ahead.
    pub(super) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.read.freeze())
    }

    /// Reads more; 0 when nothing more comes.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read_ahead
            .poll_fill(Pin::new(&mut self.stream), cx, &mut self.read)
    }

    /// Whether more should be written before more is taken.
    pub(super) fn is_full(&self) -> bool {
        !self.chunk.is_empty() || self.out.len() - self.written >= WAITING_BYTES_MAX
    }

    /// Takes a chunk to be written, and what comes behind it. Only while it is not full.
    pub(super) fn take(&mut self, chunk: Bytes, end: &'static [u8]) {
        debug_assert!(!self.is_full(), "a chunk was taken that there is no room for");
        if chunk.len() <= COPIED_BYTES_MAX {
            self.out.extend_from_slice(&chunk);
            self.out.extend_from_slice(end);
        } else {
            self.chunk = chunk;
            self.end = end;
        }
    }

    /// Writes all that waits.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let out = &self.out[self.written..];
            if out.is_empty() && self.chunk.is_empty() && self.end.is_empty() {
                break;
            }
            let stream = Pin::new(&mut self.stream);
            let bytes = if self.chunk.is_empty() && self.end.is_empty() {
                ready!(stream.poll_write(cx, out))?
            } else {
                let parts = [IoSlice::new(out), IoSlice::new(&self.chunk), IoSlice::new(self.end)];
                ready!(stream.poll_write_vectored(cx, &parts))?
            };
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.wrote(bytes);
        }
        self.out.clear();
        self.written = 0;
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Bytes that were written so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    fn wrote(&mut self, mut bytes: usize) {
        self.taken += bytes as u64;
        let of_out = bytes.min(self.out.len() - self.written);
        self.written += of_out;
        bytes -= of_out;
        let of_chunk = bytes.min(self.chunk.len());
        self.chunk.advance(of_chunk);
        self.end = &self.end[bytes - of_chunk..];
    }
}
