//! A connection of a client without its socket: bytes in, requests and bytes out. Its parts share it by reference on one thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::BytesMut;
use hashbrown::HashMap;
use tokio::time::Instant;

use super::exchange::ServerStream;
use super::floods::Floods;
use super::frame::{self, PAYLOAD_BYTES_MAX, STREAM_MAX};
use super::head::{HeadFault, Limits, Request};
use super::hpack::decode::Decoder;
use super::hpack::encode::Encoder;
use super::output::Output;
use super::reason::Reason;
use super::received_body::ReceivedBody;
use super::stream::{Stream, StreamFault};
use super::window::{self, Incoming, Outgoing};

mod receive;
mod send;

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

/// What the parts of a connection share on one thread.
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

#[cfg(test)]
mod tests;
