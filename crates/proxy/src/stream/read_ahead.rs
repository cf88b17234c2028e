//! How much is read at once, and where to: one rule for the codecs of both versions of HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// How much is read at once at first, and where reads bring little, in bytes.
const READ_BYTES_MIN: usize = 8 << 10;
/// How much is read at once where reads keep bringing all that there is room for, in bytes.
const READ_BYTES_MAX: usize = 64 << 10;

/// How much a connection reads at once; it follows what reads bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAhead(usize);

// === impl ReadAhead ===

impl ReadAhead {
    /// Reads more behind what `buffer` has; 0 when nothing more comes.
    pub(crate) fn poll_fill(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let Self(ahead) = *self;
        let mut room = buffer.capacity() - buffer.len();
        // What was taken out of the buffer is often gone by now: then there is room where it was, and nothing is allocated.
        if room < ahead && (buffer.try_reclaim(ahead) || room < ahead / 8) {
            buffer.reserve(ahead);
            room = buffer.capacity() - buffer.len();
        }
        // No more than that: TLS writes over all the room that it is given before it reads.
        let room = room.min(ahead);
        let bytes = ready!(poll_read_buf(stream, cx, &mut buffer.limit(room)))?;
        // Of a smaller room nothing is learned: its end is where the buffer's happens to be.
        if room == ahead {
            self.learn(bytes);
        }
        Poll::Ready(Ok(bytes))
    }

    /// A read that had room for all that it might bring brought so much.
    fn learn(&mut self, bytes: usize) {
        let Self(ahead) = *self;
        if bytes == ahead {
            self.0 = READ_BYTES_MAX.min(ahead * 2);
        } else if bytes < ahead / 4 {
            self.0 = READ_BYTES_MIN.max(ahead / 2);
        }
    }
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self(READ_BYTES_MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn reads_grow_with_what_they_bring() {
        let mut ahead = ReadAhead::default();
        for (bytes, expected) in [
            (READ_BYTES_MIN - 1, READ_BYTES_MIN),
            (1, READ_BYTES_MIN),
            (READ_BYTES_MIN, 2 * READ_BYTES_MIN),
            (2 * READ_BYTES_MIN, 4 * READ_BYTES_MIN),
            (READ_BYTES_MIN, 4 * READ_BYTES_MIN),
            (READ_BYTES_MIN - 1, 2 * READ_BYTES_MIN),
            (0, READ_BYTES_MIN),
        ] {
            ahead.learn(bytes);
            assert_eq!(ahead.0, expected, "{bytes}");
        }
        let mut most = ReadAhead(READ_BYTES_MAX);
        most.learn(READ_BYTES_MAX);
        assert_eq!(most.0, READ_BYTES_MAX);
    }

    #[test]
    fn a_connection_of_small_messages_keeps_a_small_buffer() {
        let (mut ahead, mut buffer) = (ReadAhead::default(), BytesMut::new());
        let mut cx = Context::from_waker(Waker::noop());
        let mut held = None;
        for _ in 0..1000 {
            let message = [1_u8; 700];
            let mut from = &message[..];
            while !from.is_empty() {
                assert!(ahead.poll_fill(Pin::new(&mut from), &mut cx, &mut buffer).is_ready());
            }
            // The message before lives until this one has come, as that of a request does.
            held = Some(buffer.split().freeze());
        }
        assert_eq!((held.unwrap().len(), ahead.0), (700, READ_BYTES_MIN));
        assert!(buffer.capacity() <= READ_BYTES_MIN);
    }
}
