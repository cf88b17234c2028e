//! What is to be written: small things in one buffer, long chunks where they are, all of it in one write where that is possible.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Chunks up to this size are copied behind what waits before them; longer ones are written from where they are.
const COPIED_BYTES_MAX: usize = 4 << 10;
/// No more of bodies is taken while so much waits.
const BODY_BYTES_MAX: usize = 64 << 10;
/// No more heads are taken while so much waits.
const HEAD_BYTES_MAX: usize = 256 << 10;
/// More than heads and bodies may be, and much more: who takes nothing of it and still has us say more is not waited for.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Answers to control frames that may wait (Envoy's `max_outbound_control_frames`).
const CONTROL_FRAMES_MAX: u32 = 1000;
/// What was written is cut off a buffer that is never empty when it is as long.
const WRITTEN_BYTES_MAX: usize = 64 << 10;
/// Pieces of one write.
const PIECES_MAX: usize = 32;

/// More answers to control frames wait than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Output {
    small: Vec<u8>,
    /// How much of `small` was written.
    written: usize,
    /// Long chunks, each with its place in `small`.
    long: VecDeque<(usize, Bytes)>,
    long_bytes: usize,
    control_frames: u32,
    unflushed: bool,
    /// Bytes that were written so far.
    taken: u64,
}

// === impl Output ===

impl Output {
    /// Where frames are appended that the connection itself has to say.
    pub(super) fn small(&mut self) -> &mut Vec<u8> {
        &mut self.small
    }

    /// Where a frame is appended that answers one of the peer's.
    pub(super) fn control(&mut self) -> Result<&mut Vec<u8>, TooMany> {
        if self.control_frames >= CONTROL_FRAMES_MAX {
            return Err(TooMany);
        }
        self.control_frames += 1;
        Ok(&mut self.small)
    }

    /// Appends a chunk of a body.
    pub(super) fn chunk(&mut self, chunk: Bytes) {
        if chunk.len() <= COPIED_BYTES_MAX {
            self.small.extend_from_slice(&chunk);
        } else {
            self.long_bytes += chunk.len();
            self.long.push_back((self.small.len(), chunk));
        }
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.small.len() - self.written + self.long_bytes
    }

    pub(super) fn takes_bodies(&self) -> bool {
        self.waiting() < BODY_BYTES_MAX
    }

    pub(super) fn takes_heads(&self) -> bool {
        self.waiting() < HEAD_BYTES_MAX
    }

    /// Whether more waits than a peer that takes anything lets wait.
    pub(super) fn is_flooded(&self) -> bool {
        self.waiting() > WAITING_BYTES_MAX
    }

    /// Bytes that the peer's side has taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Writes all that waits.
    pub(super) fn poll_flush(
        &mut self,
        mut to: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let bytes = if self.long.is_empty() {
                ready!(to.as_mut().poll_write(cx, &self.small[self.written..]))?
            } else {
                let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
                let count = self.pieces(&mut pieces);
                ready!(to.as_mut().poll_write_vectored(cx, &pieces[..count]))?
            };
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.wrote(bytes);
        }
        self.small.clear();
        self.written = 0;
        self.control_frames = 0;
        if self.unflushed {
            ready!(to.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// What waits, in its order, as far as there is room for it; how many pieces that is.
    fn pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>; PIECES_MAX]) -> usize {
        let (mut count, mut from) = (0, self.written);
        let ends = self.long.iter().map(|(place, chunk)| (*place, Some(chunk)));
        for (place, chunk) in ends.chain([(self.small.len(), None)]) {
            for piece in [Some(&self.small[from..place]), chunk.map(|chunk| &chunk[..])] {
                let Some(piece) = piece.filter(|piece| !piece.is_empty()) else {
                    continue;
                };
                if count == PIECES_MAX {
                    return count;
                }
                pieces[count] = IoSlice::new(piece);
                count += 1;
            }
            from = place;
        }
        count
    }

    fn wrote(&mut self, mut bytes: usize) {
        self.taken += bytes as u64;
        while bytes > 0 {
            let place = self.long.front().map_or(self.small.len(), |(place, _)| *place);
            let of_small = bytes.min(place - self.written);
            self.written += of_small;
            bytes -= of_small;
            if let Some((_, chunk)) = self.long.front_mut()
                && self.written == place
            {
                let of_chunk = bytes.min(chunk.len());
                chunk.advance(of_chunk);
                self.long_bytes -= of_chunk;
                bytes -= of_chunk;
                if chunk.is_empty() {
                    self.long.pop_front();
                }
            }
        }
        if self.written > WRITTEN_BYTES_MAX {
            self.small.drain(..self.written);
            for (place, _) in &mut self.long {
                *place -= self.written;
            }
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Takes so many bytes at a time, and then lets the writer wait once.
    struct Slow {
        got: Vec<u8>,
        at_once: usize,
        ready: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(data)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            data: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.ready = !self.ready;
            if !self.ready {
                return Poll::Pending;
            }
            let bytes: Vec<u8> = data
                .iter()
                .flat_map(|piece| piece.iter().copied())
                .take(self.at_once)
                .collect();
            self.got.extend_from_slice(&bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        /// Everything is written once, in its order, however the peer takes it.
        #[test]
        fn all_of_it_is_written_in_its_order(
            lengths in proptest::collection::vec(prop_oneof![0_usize..20, 4000_usize..9000], 1..80),
            at_once in prop_oneof![1_usize..100, 1000_usize..50_000],
            flushed in 1_usize..10,
        ) {
            let mut output = Output::default();
            let mut slow = Slow { got: Vec::new(), at_once, ready: false };
            let mut expected = Vec::new();
            let mut cx = Context::from_waker(Waker::noop());
            for (at, length) in lengths.iter().enumerate() {
                output.small().push(at as u8);
                output.chunk(vec![at as u8; *length].into());
                expected.extend(std::iter::repeat_n(at as u8, length + 1));
                if at % flushed == 0 {
                    let _ = output.poll_flush(Pin::new(&mut slow), &mut cx);
                }
                prop_assert_eq!(output.waiting() + slow.got.len(), expected.len());
            }
            while output.poll_flush(Pin::new(&mut slow), &mut cx).is_pending() {}
            prop_assert_eq!((output.waiting(), output.taken()), (0, expected.len() as u64));
            prop_assert!(slow.got == expected);
        }
    }

    #[test]
    fn answers_to_control_frames_have_a_bound() {
        let mut output = Output::default();
        let count = (0..5000).take_while(|_| output.control().is_ok()).count();
        assert_eq!(count, CONTROL_FRAMES_MAX as usize);
    }
}
