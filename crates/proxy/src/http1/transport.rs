//! A connection's bytes with what was read ahead and what is still to be written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use crate::stream::Stream;

/// How much is read at once at first, and where reads bring little.
const READ_BYTES_MIN: usize = 8 << 10;
/// How much is read at once where reads keep bringing all that there is room for.
const READ_BYTES_MAX: usize = 64 << 10;
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
    read_ahead: usize,
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
            read_ahead: READ_BYTES_MIN,
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
        let mut room = self.read.capacity() - self.read.len();
        // What was taken out of the buffer is often gone by now: then there is room where it was, and nothing is allocated.
        if room < self.read_ahead && (self.read.try_reclaim(self.read_ahead) || room < self.read_ahead / 8) {
            self.read.reserve(self.read_ahead);
            room = self.read.capacity() - self.read.len();
        }
        // No more than that: TLS writes over all the room that it is given before it reads.
        let room = room.min(self.read_ahead);
        let bytes = ready!(poll_read_buf(
            Pin::new(&mut self.stream),
            cx,
            &mut (&mut self.read).limit(room)
        ))?;
        if room == self.read_ahead {
            self.read_ahead = read_ahead(room, bytes);
        }
        Poll::Ready(Ok(bytes))
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

/// How much is read next, after a read that had room for `read_ahead` brought so much.
fn read_ahead(read_ahead: usize, bytes: usize) -> usize {
    if bytes == read_ahead {
        READ_BYTES_MAX.min(read_ahead * 2)
    } else if bytes < read_ahead / 4 {
        READ_BYTES_MIN.max(read_ahead / 2)
    } else {
        read_ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_grow_with_what_they_bring() {
        let mut ahead = READ_BYTES_MIN;
        for (bytes, expected) in [
            (READ_BYTES_MIN - 1, READ_BYTES_MIN),
            (1, READ_BYTES_MIN),
            (READ_BYTES_MIN, 2 * READ_BYTES_MIN),
            (2 * READ_BYTES_MIN, 4 * READ_BYTES_MIN),
            (READ_BYTES_MIN, 4 * READ_BYTES_MIN),
            (READ_BYTES_MIN - 1, 2 * READ_BYTES_MIN),
            (0, READ_BYTES_MIN),
        ] {
            ahead = read_ahead(ahead, bytes);
            assert_eq!(ahead, expected, "{bytes}");
        }
        assert_eq!(read_ahead(READ_BYTES_MAX, READ_BYTES_MAX), READ_BYTES_MAX);
    }
}
