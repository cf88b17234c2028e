//! What a connection has to say: turns of its streams, resets, and the end.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Ending, REMEMBERED_MAX, State};
use crate::http2::frame::{self, HEAD_BYTES};
use crate::http2::hpack::encode::Encoder;
use crate::http2::reason::Reason;
use crate::http2::stream::{Sent, Stream, StreamFault, StreamRef};

// === impl State ===

impl State {
    /// The connection's task looks at everything before it waits.
    pub(in crate::http2) fn works(&mut self) {
        self.is_at_work = true;
    }

    /// Has the connection's task be woken when there is something to write.
    pub(in crate::http2) fn watch(&mut self, cx: &Context<'_>) {
        self.is_at_work = false;
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
    }

    pub(in crate::http2) fn wake(&mut self) {
        if !self.is_at_work
            && let Some(task) = self.task.take()
        {
            task.wake();
        }
    }

    /// Something was written: others have their turn.
    pub(in crate::http2) fn flushed(&mut self) {
        self.next_turn();
        if self.output.takes_heads() {
            for stream in self.heads.drain(..) {
                let mut sending = stream.sending.borrow_mut();
                sending.wants_head = false;
                sending.wake();
            }
        }
    }

    /// Lets the next stream send that waits for its turn.
    pub(super) fn next_turn(&mut self) {
        if !self.output.takes_bodies() || self.outgoing.fits(1) == 0 {
            return;
        }
        while let Some(stream) = self.waiting.pop_front() {
            let mut sending = stream.sending.borrow_mut();
            sending.is_waiting = false;
            if stream.fault.get().is_none() && sending.sent != Sent::All {
                sending.has_turn = true;
                sending.wake();
                return;
            }
        }
    }

    /// Bytes of the window of the connection were taken.
    pub(super) fn took(&mut self, bytes: u32) {
        if let Some(increment) = self.incoming.took(bytes) {
            frame::window(self.output.small(), 0, increment);
            self.wake();
        }
    }

    pub(super) fn leave_now(&mut self) {
        if matches!(self.ending, Ending::No | Ending::Announced) {
            self.ending = Ending::Last;
            self.go_away(Reason::NO_ERROR);
            self.wake();
        }
    }

    /// Says which stream was the last, which is never a later one than was told before (RFC 9113, section 6.8).
    fn go_away(&mut self, reason: Reason) {
        let last = *self.told.get_or_insert(self.last);
        frame::go_away(self.output.small(), last, reason);
    }

    /// Nothing behind this can be trusted.
    pub(super) fn fail(&mut self, reason: Reason) {
        if self.ending != Ending::Broken {
            self.go_away(reason);
        }
        self.end_all(StreamFault::Malformed);
    }

    pub(super) fn end_all(&mut self, fault: StreamFault) {
        self.ending = Ending::Broken;
        for (_, stream) in self.streams.drain() {
            stream.fail(fault);
        }
        self.waiting.clear();
        self.heads.clear();
    }

    /// Ends a stream, and tells the client.
    pub(super) fn reset(&mut self, stream: &Rc<Stream>, reason: Reason, fault: StreamFault) {
        if self.streams.contains_key(&stream.id) {
            frame::reset(self.output.small(), stream.id, reason);
            self.remember(stream.id);
        }
        self.forget(stream, fault);
    }

    /// A stream that is over before its time.
    pub(super) fn forget(&mut self, stream: &Rc<Stream>, fault: StreamFault) {
        self.streams.remove(&stream.id);
        let kept = stream.fail(fault);
        if kept > 0 {
            self.took(kept);
        }
        if std::mem::take(&mut stream.sending.borrow_mut().has_turn) {
            self.next_turn();
        }
        self.wake_if_over();
    }

    pub(super) fn remember(&mut self, stream: u32) {
        if self.resets.len() == REMEMBERED_MAX {
            self.resets.pop_front();
        }
        self.resets.push_back(stream);
    }

    /// Whether frames of a stream may still come that were sent before the client knew of its reset.
    pub(super) fn was_reset(&self, stream: u32) -> bool {
        let oldest = self.resets.front().filter(|_| self.resets.len() == REMEMBERED_MAX);
        self.resets.contains(&stream) || oldest.is_some_and(|oldest| stream < *oldest)
    }

    fn wake_if_over(&mut self) {
        if self.ending == Ending::Last && self.streams.is_empty() {
            self.wake();
        }
    }

    /// One side of a stream has said all; where the other has, too, it is over.
    pub(super) fn side_ended(&mut self, stream: &Rc<Stream>) {
        if stream.is_over() && self.streams.remove(&stream.id).is_some() {
            // A stream that was answered counts, but for nothing that it did.
            let _ = self.floods.closed(stream.opened_at, stream.opened_at, false);
            self.wake_if_over();
        }
    }

    /// Writes a head; `fields` appends its block.
    fn say_head(&mut self, stream: u32, ends: bool, fields: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let out = self.output.small();
        let at = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        fields(&mut self.encoder, out);
        frame::headers(out, at, stream, ends, self.peer_payload_bytes_max);
        self.wake();
    }
}

// === impl StreamRef ===

impl StreamRef {
    /// Ready when there is room for a head.
    pub(in crate::http2) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.connection.0.borrow_mut();
        if state.output.takes_heads() || state.ending == Ending::Broken {
            return Poll::Ready(());
        }
        let mut sending = self.stream.sending.borrow_mut();
        sending.watch(cx);
        if !std::mem::replace(&mut sending.wants_head, true) {
            state.heads.push(self.stream.clone());
        }
        Poll::Pending
    }

    /// Says an interim answer.
    pub(in crate::http2) fn say_interim(&self, status: StatusCode, headers: &HeaderMap) {
        if self.fault().is_some() || self.stream.sending.borrow().sent != Sent::Nothing {
            return;
        }
        let mut state = self.connection.0.borrow_mut();
        if state.output.takes_heads() {
            state.say_head(self.stream.id, false, |encoder, out| {
                encoder.answer(out, status, headers)
            });
        }
    }

    /// Says the head of the answer, and with it the end where nothing follows.
    pub(in crate::http2) fn say_head(&self, status: StatusCode, headers: &HeaderMap, ends: bool) {
        let mut state = self.connection.0.borrow_mut();
        state.say_head(self.stream.id, ends, |encoder, out| {
            encoder.answer(out, status, headers)
        });
        self.said(&mut state, if ends { Sent::All } else { Sent::Head });
    }

    /// Says trailers, and the end.
    pub(in crate::http2) fn say_trailers(&self, trailers: &HeaderMap) {
        let mut state = self.connection.0.borrow_mut();
        state.say_head(self.stream.id, true, |encoder, out| encoder.fields(out, trailers));
        self.said(&mut state, Sent::All);
    }

    /// Says the end behind a body.
    pub(in crate::http2) fn say_end(&self) {
        let mut state = self.connection.0.borrow_mut();
        frame::data(state.output.small(), self.stream.id, 0, true);
        state.wake();
        self.said(&mut state, Sent::All);
    }

    fn said(&self, state: &mut State, sent: Sent) {
        self.stream.sending.borrow_mut().sent = sent;
        if sent == Sent::All {
            state.side_ended(&self.stream);
        }
    }

    /// Takes as much of a chunk as windows and buffers let it, with the end behind the last of it. Ready when all of it was taken.
    pub(in crate::http2) fn poll_say(&self, cx: &Context<'_>, chunk: &mut Bytes, ends: bool) -> Poll<()> {
        let mut state = self.connection.0.borrow_mut();
        let mut sending = self.stream.sending.borrow_mut();
        let had_turn = std::mem::take(&mut sending.has_turn);
        let mut may_send = had_turn || state.waiting.is_empty();
        let mut is_waiting = false;
        while !chunk.is_empty() && self.fault().is_none() {
            let fits = sending.window.fits(chunk.len().min(state.peer_payload_bytes_max));
            if fits == 0 {
                sending.watch(cx);
                break;
            }
            let fits = state.outgoing.fits(fits);
            if fits == 0 || !may_send || !state.output.takes_bodies() {
                is_waiting = true;
                break;
            }
            let part = chunk.split_to(fits);
            frame::data(state.output.small(), self.stream.id, fits, ends && chunk.is_empty());
            state.output.chunk(part);
            state.outgoing.spend(fits);
            state.floods.sent_data();
            sending.window.spend(fits);
            sending.taken += fits as u64;
            state.wake();
            // One frame a turn, while others wait.
            may_send = state.waiting.is_empty();
        }
        if is_waiting {
            sending.watch(cx);
            if !std::mem::replace(&mut sending.is_waiting, true) {
                state.waiting.push_back(self.stream.clone());
            }
        }
        let is_taken = chunk.is_empty();
        drop(sending);
        if had_turn {
            state.next_turn();
        }
        if !is_taken {
            return Poll::Pending;
        }
        if ends {
            self.said(&mut state, Sent::All);
        }
        Poll::Ready(())
    }
}
