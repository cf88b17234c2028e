//! A connection of a client without its socket: bytes in, requests and bytes out. Its parts share it by reference on one thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::exchange::ServerStream;
use super::floods::Floods;
use super::frame::{self, HEAD_BYTES, PAYLOAD_BYTES_MAX, STREAM_MAX};
use super::head::{HeadFault, Limits, Request};
use super::hpack::decode::Decoder;
use super::hpack::encode::Encoder;
use super::output::Output;
use super::reason::Reason;
use super::received_body::ReceivedBody;
use super::stream::{Sent, Stream, StreamFault, StreamRef};
use super::window::{self, Incoming, Outgoing};

mod receive;

/// Streams that were reset here and of which more may come that was on its way.
const REMEMBERED_MAX: usize = 64;
/// What the ping behind a first GOAWAY carries, and that of a keepalive.
const LEAVING: [u8; 8] = *b"weft end";
const ALIVE: [u8; 8] = *b"weft you";

/// How a connection serves its client.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Of a head.
    pub limits: Limits,
    /// Requests at a time.
    pub streams_max: u32,
    /// Bytes that a client may send ahead of who reads them, on a stream and on all of them.
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    /// Whether extended CONNECT is understood (RFC 8441).
    pub extended_connect: bool,
}

/// What came of a client.
#[derive(Debug)]
pub enum Event {
    /// A request, where its answer goes, and its body.
    Request(Box<Request>, ServerStream, ReceivedBody),
    /// A head that is none; its stream was reset.
    Refused(HeadFault),
}

/// A connection.
#[derive(Debug)]
pub struct Connection(pub(super) RefCell<State>);

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// The client was told to go elsewhere; what crosses that on its way is served.
    Announced,
    /// Nothing new is served.
    Last,
    /// It broke a rule, or is gone.
    Broken,
}

#[derive(Debug)]
pub(super) struct State {
    settings: Settings,
    pub(super) output: Output,
    encoder: Encoder,
    decoder: Decoder,
    /// A head of which more must come.
    block: Option<Block>,
    streams: HashMap<u32, Rc<Stream>, foldhash::fast::RandomState>,
    /// The highest stream that the client has opened.
    last: u32,
    /// Streams that were reset here.
    resets: VecDeque<u32>,
    floods: Floods,
    /// Whether preface and first settings have come.
    has_preface: bool,
    is_greeted: bool,
    /// What the peer takes.
    peer_window_bytes: u32,
    peer_payload_bytes_max: usize,
    outgoing: Outgoing,
    incoming: Incoming,
    /// Streams that wait for a turn to send.
    waiting: VecDeque<Rc<Stream>>,
    /// Streams that wait for room for their heads.
    heads: Vec<Rc<Stream>>,
    ending: Ending,
    /// The last stream that the client was told of.
    told: Option<u32>,
    /// A keepalive ping was sent and not answered.
    is_pinged: bool,
    /// The connection's task, unless it is at work anyway.
    task: Option<Waker>,
    is_at_work: bool,
}

/// A head that came in pieces.
#[derive(Debug)]
struct Block {
    stream: u32,
    ends: bool,
    bytes: BytesMut,
    begun: Instant,
}

// === impl Connection ===

impl Connection {
    /// A connection that was accepted. What it has to say first waits to be written.
    pub fn new(settings: Settings, now: Instant) -> Rc<Self> {
        let mut output = Output::default();
        let said = frame::Settings {
            streams_max: Some(settings.streams_max),
            window_bytes: Some(settings.stream_window_bytes),
            extended_connect: settings.extended_connect.then_some(true),
            ..frame::Settings::default()
        };
        frame::say_settings(output.small(), &said);
        let connection_window = settings.connection_window_bytes.max(window::INITIAL_BYTES);
        let more = connection_window - window::INITIAL_BYTES;
        if more > 0 {
            frame::window(output.small(), 0, more);
        }
        Rc::new(Self(RefCell::new(State {
            settings,
            output,
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            block: None,
            streams: HashMap::default(),
            last: 0,
            resets: VecDeque::new(),
            floods: Floods::new(now),
            has_preface: false,
            is_greeted: false,
            peer_window_bytes: window::INITIAL_BYTES,
            peer_payload_bytes_max: PAYLOAD_BYTES_MAX,
            outgoing: Outgoing::new(window::INITIAL_BYTES),
            incoming: Incoming::new(connection_window),
            waiting: VecDeque::new(),
            heads: Vec::new(),
            ending: Ending::No,
            told: None,
            is_pinged: false,
            task: None,
            is_at_work: false,
        })))
    }

    /// Whether no request is being served.
    pub fn is_idle(&self) -> bool {
        self.0.borrow().streams.is_empty()
    }

    /// Since when a head is under way that has not come to its end.
    pub fn head_since(&self) -> Option<Instant> {
        self.0.borrow().block.as_ref().map(|block| block.begun)
    }

    /// Bytes that wait to be written, and how many were.
    pub fn written(&self) -> (usize, u64) {
        let state = self.0.borrow();
        (state.output.waiting(), state.output.taken())
    }

    /// Takes what waits to be written.
    pub fn take_output(&self) -> Vec<u8> {
        let mut state = self.0.borrow_mut();
        let mut out = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        // A vector takes everything at once.
        let _ = state.output.poll_flush(std::pin::Pin::new(&mut out), &mut cx);
        state.flushed();
        out
    }

    /// Tells the client to open no more requests (RFC 9113, section 6.8); what crosses that on its way is served.
    pub fn leave(&self) {
        let mut state = self.0.borrow_mut();
        if state.ending == Ending::No {
            state.ending = Ending::Announced;
            frame::go_away(state.output.small(), STREAM_MAX, Reason::NO_ERROR);
            frame::ping(state.output.small(), LEAVING, false);
            state.wake();
        }
    }

    /// Serves nothing new from now on, and tells the client what was served.
    pub fn leave_now(&self) {
        self.0.borrow_mut().leave_now();
    }

    /// Whether the client was told to go elsewhere and has not said that it heard it.
    pub fn is_leaving(&self) -> bool {
        self.0.borrow().ending == Ending::Announced
    }

    /// Whether nothing more is to be read or served.
    pub fn is_over(&self) -> bool {
        let state = self.0.borrow();
        match state.ending {
            Ending::No | Ending::Announced => false,
            Ending::Last => state.streams.is_empty(),
            Ending::Broken => true,
        }
    }

    /// Asks the client whether it is there. False where it has not answered the last time.
    pub fn ping(&self) -> bool {
        let mut state = self.0.borrow_mut();
        if state.is_pinged {
            return false;
        }
        state.is_pinged = true;
        frame::ping(state.output.small(), ALIVE, false);
        state.wake();
        true
    }

    /// Whether a question of [`Self::ping`] is not answered.
    pub fn is_pinged(&self) -> bool {
        self.0.borrow().is_pinged
    }

    /// The client is gone: whoever serves it learns of it.
    pub fn gone(&self) {
        self.0.borrow_mut().end_all(StreamFault::Gone);
    }

    /// Ends a stream on this side.
    pub(super) fn reset(&self, stream: &Rc<Stream>, reason: Reason, fault: StreamFault) {
        let mut state = self.0.borrow_mut();
        state.reset(stream, reason, fault);
        state.wake();
    }

    /// Nobody says anything more on a stream: its turn is the next one's.
    pub(super) fn pass_turn(&self, stream: &Stream) {
        if std::mem::take(&mut stream.sending.borrow_mut().has_turn) {
            self.0.borrow_mut().next_turn();
        }
    }

    /// So many bytes of bodies were taken, of a stream that may still get more.
    pub(super) fn took(&self, stream: Option<&Stream>, bytes: u32) {
        if bytes == 0 {
            return;
        }
        let mut state = self.0.borrow_mut();
        if let Some(stream) = stream
            && stream.fault.get().is_none()
            && let Some(increment) = stream.receiving.borrow_mut().took(bytes)
        {
            frame::window(state.output.small(), stream.id, increment);
            state.wake();
        }
        state.took(bytes);
    }
}

// === impl State ===

impl State {
    /// The connection's task looks at everything before it waits.
    pub(super) fn works(&mut self) {
        self.is_at_work = true;
    }

    /// Has the connection's task be woken when there is something to write.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        self.is_at_work = false;
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake(&mut self) {
        if !self.is_at_work
            && let Some(task) = self.task.take()
        {
            task.wake();
        }
    }

    /// Something was written: others have their turn.
    pub(super) fn flushed(&mut self) {
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
    fn next_turn(&mut self) {
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
    fn took(&mut self, bytes: u32) {
        if let Some(increment) = self.incoming.took(bytes) {
            frame::window(self.output.small(), 0, increment);
            self.wake();
        }
    }

    fn leave_now(&mut self) {
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
    fn fail(&mut self, reason: Reason) {
        if self.ending != Ending::Broken {
            self.go_away(reason);
        }
        self.end_all(StreamFault::Malformed);
    }

    fn end_all(&mut self, fault: StreamFault) {
        self.ending = Ending::Broken;
        for (_, stream) in self.streams.drain() {
            stream.fail(fault);
        }
        self.waiting.clear();
        self.heads.clear();
    }

    /// Ends a stream, and tells the client.
    fn reset(&mut self, stream: &Rc<Stream>, reason: Reason, fault: StreamFault) {
        if self.streams.contains_key(&stream.id) {
            frame::reset(self.output.small(), stream.id, reason);
            self.remember(stream.id);
        }
        self.forget(stream, fault);
    }

    /// A stream that is over before its time.
    fn forget(&mut self, stream: &Rc<Stream>, fault: StreamFault) {
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

    fn remember(&mut self, stream: u32) {
        if self.resets.len() == REMEMBERED_MAX {
            self.resets.pop_front();
        }
        self.resets.push_back(stream);
    }

    /// Whether frames of a stream may still come that were sent before the client knew of its reset.
    fn was_reset(&self, stream: u32) -> bool {
        let oldest = self.resets.front().filter(|_| self.resets.len() == REMEMBERED_MAX);
        self.resets.contains(&stream) || oldest.is_some_and(|oldest| stream < *oldest)
    }

    fn wake_if_over(&mut self) {
        if self.ending == Ending::Last && self.streams.is_empty() {
            self.wake();
        }
    }

    /// One side of a stream has said all; where the other has, too, it is over.
    fn side_ended(&mut self, stream: &Rc<Stream>) {
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
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
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
    pub(super) fn say_interim(&self, status: StatusCode, headers: &HeaderMap) {
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
    pub(super) fn say_head(&self, status: StatusCode, headers: &HeaderMap, ends: bool) {
        let mut state = self.connection.0.borrow_mut();
        state.say_head(self.stream.id, ends, |encoder, out| {
            encoder.answer(out, status, headers)
        });
        self.said(&mut state, if ends { Sent::All } else { Sent::Head });
    }

    /// Says trailers, and the end.
    pub(super) fn say_trailers(&self, trailers: &HeaderMap) {
        let mut state = self.connection.0.borrow_mut();
        state.say_head(self.stream.id, true, |encoder, out| encoder.fields(out, trailers));
        self.said(&mut state, Sent::All);
    }

    /// Says the end behind a body.
    pub(super) fn say_end(&self) {
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
    pub(super) fn poll_say(&self, cx: &mut Context<'_>, chunk: &mut Bytes, ends: bool) -> Poll<()> {
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

#[cfg(test)]
mod tests;
