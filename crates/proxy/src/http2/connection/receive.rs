//! What frames of a client mean for its connection.

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http::header;
use tokio::time::Instant;

use super::{Block, Connection, Ending, Event, LEAVING, State};
use crate::http2::exchange::ServerStream;
use crate::http2::floods::Flood;
use crate::http2::frame::{self, Fault, Frame, Settings};
use crate::http2::head::{HeadFault, Reader, Request};
use crate::http2::output::TooMany;
use crate::http2::reason::Reason;
use crate::http2::received_body::ReceivedBody;
use crate::http2::stream::{Awaits, Came, Sent, Stream, StreamFault, StreamRef};
use crate::http2::window::{Incoming, Outgoing, Overflow};

/// What every client says first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// === impl Connection ===

impl Connection {
    /// Takes what has come off `input`, up to the next request. `None` when more bytes are needed, or none are.
    pub fn take(self: &Rc<Self>, input: &mut BytesMut, now: Instant) -> Option<Event> {
        let mut state = self.0.borrow_mut();
        loop {
            if state.output.is_flooded() {
                state.fail(Reason::ENHANCE_YOUR_CALM);
            }
            if state.ending == Ending::Broken || !state.take_preface(input) {
                return None;
            }
            let taken = match Frame::take(input) {
                Ok(None) => return None,
                Ok(Some(frame)) => state.on_frame(self, frame, now),
                // Between the frames of a head nothing else may stand, whole or not.
                Err(Fault::Stream(..)) if state.block.is_some() => broken(),
                Err(fault) => Err(fault),
            };
            match taken {
                Ok(None) => {}
                Ok(Some(event)) => return Some(event),
                Err(Fault::Connection(reason)) => state.fail(reason),
                Err(Fault::Stream(stream, reason)) => state.refuse(stream, reason, now),
            }
        }
    }
}

impl From<Flood> for Fault {
    fn from(_: Flood) -> Self {
        Self::Connection(Reason::ENHANCE_YOUR_CALM)
    }
}

impl From<TooMany> for Fault {
    fn from(_: TooMany) -> Self {
        Self::Connection(Reason::ENHANCE_YOUR_CALM)
    }
}

/// Breaks the rules of all streams.
fn broken<T>() -> Result<T, Fault> {
    Err(Fault::Connection(Reason::PROTOCOL_ERROR))
}

// === impl State ===

impl State {
    /// Takes the preface off, if it is there. False while it is not.
    fn take_preface(&mut self, input: &mut BytesMut) -> bool {
        if self.has_preface {
            return true;
        }
        let there = input.len().min(PREFACE.len());
        if input[..there] != PREFACE[..there] {
            self.fail(Reason::PROTOCOL_ERROR);
            return false;
        }
        if there == PREFACE.len() {
            input.advance(there);
            self.has_preface = true;
        }
        self.has_preface
    }

    fn on_frame(&mut self, at: &Rc<Connection>, frame: Frame, now: Instant) -> Result<Option<Event>, Fault> {
        let is_more = matches!(frame, Frame::Continuation { .. });
        if is_more != self.block.is_some() || !(self.is_greeted || matches!(frame, Frame::Settings(_))) {
            return broken();
        }
        match frame {
            Frame::Data {
                stream,
                data,
                charged,
                ends,
            } => self.on_data(stream, data, charged, ends, now)?,
            Frame::Headers {
                stream,
                block,
                ends,
                is_whole,
            } => {
                self.floods.message(block.is_empty() && !ends)?;
                if is_whole {
                    return self.on_block(at, stream, block, ends, now);
                }
                let begun = now;
                let bytes = BytesMut::from(&block[..]);
                self.block = Some(Block {
                    stream,
                    ends,
                    bytes,
                    begun,
                });
            }
            Frame::Continuation {
                stream,
                block,
                is_whole,
            } => return self.on_more(at, stream, &block, is_whole, now),
            Frame::Priority => self.floods.priority()?,
            Frame::Reset { stream, .. } => self.on_reset(stream, now)?,
            Frame::Settings(settings) => self.on_settings(settings)?,
            Frame::Ping(opaque) => frame::ping(self.output.control()?, opaque, true),
            Frame::Pong(LEAVING) => self.leave_now(),
            Frame::Pong(_) => self.is_pinged = false,
            Frame::Window { stream, increment } => self.on_window(stream, increment)?,
            Frame::SettingsAck | Frame::GoAway(_) | Frame::Unknown => {}
        }
        Ok(None)
    }

    fn on_data(&mut self, id: u32, data: Bytes, charged: u32, ends: bool, now: Instant) -> Result<(), Fault> {
        self.floods.message(data.is_empty() && !ends)?;
        let of_window = |Overflow| Fault::Connection(Reason::FLOW_CONTROL_ERROR);
        self.incoming.came(charged).map_err(of_window)?;
        let Some(stream) = self.streams.get(&id).cloned() else {
            self.took(charged);
            return match () {
                () if id > self.last => broken(),
                () if self.was_reset(id) => Ok(()),
                () => Err(Fault::Stream(id, Reason::STREAM_CLOSED)),
            };
        };
        let length = data.len() as u32;
        let mut receiving = stream.receiving.borrow_mut();
        let mut came = receiving.came(data, charged);
        if came.is_ok() && ends {
            came = receiving.end(None).and(came);
        }
        // What is not kept is given back at once; who reads the rest gives that back.
        let given_back = match came {
            Ok(Came::Kept) => charged - length,
            Ok(Came::Unwanted) | Err(_) => charged,
        };
        if came == Ok(Came::Kept)
            && given_back > 0
            && let Some(increment) = receiving.took(given_back)
        {
            frame::window(self.output.small(), id, increment);
        }
        drop(receiving);
        self.took(given_back);
        if let Err(reason) = came {
            self.refuse_stream(&stream, reason, now);
        } else if ends {
            self.side_ended(&stream);
        }
        Ok(())
    }

    fn on_more(
        &mut self,
        at: &Rc<Connection>,
        stream: u32,
        more: &Bytes,
        is_whole: bool,
        now: Instant,
    ) -> Result<Option<Event>, Fault> {
        self.floods.message(more.is_empty() && !is_whole)?;
        // A string may be written in a longer form than it has.
        let bytes_max = self.settings.limits.bytes_max * 2 + frame::PAYLOAD_BYTES_MAX;
        let Some(mut block) = self.block.take().filter(|block| block.stream == stream) else {
            return broken();
        };
        if block.bytes.len() + more.len() > bytes_max {
            return Err(Fault::Connection(Reason::ENHANCE_YOUR_CALM));
        }
        block.bytes.extend_from_slice(more);
        if is_whole {
            return self.on_block(at, stream, block.bytes.freeze(), block.ends, now);
        }
        self.block = Some(block);
        Ok(None)
    }

    /// A whole block has come: a request, or trailers.
    fn on_block(
        &mut self,
        at: &Rc<Connection>,
        id: u32,
        block: Bytes,
        ends: bool,
        now: Instant,
    ) -> Result<Option<Event>, Fault> {
        let known = self.streams.get(&id).cloned();
        let is_new = known.is_none() && id > self.last;
        if known.is_none() && id.is_multiple_of(2) {
            return broken();
        }
        let limits = self.settings.limits;
        let mut reader = if is_new {
            Reader::of_request(limits)
        } else {
            Reader::of_trailers(limits)
        };
        // Whatever becomes of it, the next block is read by what this one has said.
        let read = self.decoder.decode(block, |field, bytes| reader.take(field, bytes));
        read.map_err(|_| Fault::Connection(Reason::COMPRESSION_ERROR))?;
        if let Some(stream) = known {
            self.on_trailers(&stream, reader, ends, now);
            return Ok(None);
        }
        if !is_new {
            return if self.was_reset(id) {
                Ok(None)
            } else {
                Err(Fault::Connection(Reason::STREAM_CLOSED))
            };
        }
        self.last = id;
        if self.ending == Ending::Last {
            self.remember(id);
            return Ok(None);
        }
        self.floods.opened();
        if self.streams.len() >= self.settings.streams_max as usize {
            return Err(Fault::Stream(id, Reason::REFUSED_STREAM));
        }
        let request = reader.request(self.settings.extended_connect);
        let request = request.and_then(|request| match request.length {
            Some(1..) if ends => Err(HeadFault::Message("a length without a body")),
            _ => Ok(request),
        });
        match request {
            Ok(request) => Ok(Some(self.open(at, id, request, ends, now))),
            Err(fault) => {
                let reason = match fault {
                    HeadFault::TooLarge | HeadFault::TooMany => Reason::INTERNAL_ERROR,
                    HeadFault::Field(_) | HeadFault::Message(_) => Reason::PROTOCOL_ERROR,
                };
                self.refuse(id, reason, now);
                Ok(Some(Event::Refused(fault)))
            }
        }
    }

    fn open(&mut self, at: &Rc<Connection>, id: u32, request: Request, ends: bool, now: Instant) -> Event {
        let incoming = Incoming::new(self.settings.stream_window_bytes);
        let outgoing = Outgoing::new(self.peer_window_bytes);
        let stream = Rc::new(Stream::new(id, now, request.length, incoming, outgoing));
        self.streams.insert(id, stream.clone());
        let mut receiving = stream.receiving.borrow_mut();
        if ends {
            // A length beside it is none but zero.
            let _ = receiving.end(None);
        } else {
            let expects = request.headers.get(header::EXPECT);
            if expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
                receiving.awaits = Awaits::Reader;
            }
        }
        drop(receiving);
        let at = StreamRef {
            connection: at.clone(),
            stream,
        };
        // What follows a CONNECT is its tunnel, and no body.
        let has_body = !ends && request.method != Method::CONNECT;
        let body = ReceivedBody::new(has_body.then(|| at.clone()));
        let answer = ServerStream::new(at, request.method.clone());
        Event::Request(Box::new(request), answer, body)
    }

    fn on_trailers(&mut self, stream: &Rc<Stream>, reader: Reader, ends: bool, now: Instant) {
        let ended = stream.receiving.borrow().ended;
        let trailers = match reader.trailers() {
            _ if ended => Err(Reason::STREAM_CLOSED),
            Ok(trailers) if ends => Ok(trailers),
            // As a head of as much.
            Err(HeadFault::TooLarge) => return self.reset(stream, Reason::INTERNAL_ERROR, StreamFault::TooLarge),
            Err(HeadFault::TooMany) => return self.reset(stream, Reason::INTERNAL_ERROR, StreamFault::TooMany),
            Ok(_) | Err(_) => Err(Reason::PROTOCOL_ERROR),
        };
        let taken = trailers.and_then(|trailers| stream.receiving.borrow_mut().end(Some(trailers)));
        match taken {
            Ok(()) => self.side_ended(stream),
            Err(reason) => self.refuse_stream(stream, reason, now),
        }
    }

    fn on_reset(&mut self, id: u32, now: Instant) -> Result<(), Fault> {
        if id > self.last || id.is_multiple_of(2) {
            return broken();
        }
        self.floods.reset(now)?;
        let Some(stream) = self.streams.get(&id).cloned() else {
            return Ok(());
        };
        let cut = stream.sending.borrow().sent != Sent::All;
        self.forget(&stream, StreamFault::Reset);
        self.floods.closed(stream.opened_at, now, cut)?;
        Ok(())
    }

    fn on_settings(&mut self, settings: Settings) -> Result<(), Fault> {
        self.is_greeted = true;
        frame::settings_ack(self.output.control()?);
        if let Some(bytes) = settings.table_bytes {
            self.encoder.resize(bytes);
        }
        if let Some(bytes) = settings.payload_bytes_max {
            // Longer frames would keep others waiting for longer.
            self.peer_payload_bytes_max = (bytes as usize).min(frame::PAYLOAD_BYTES_MAX);
        }
        if let Some(bytes) = settings.window_bytes {
            let shift = i64::from(bytes) - i64::from(self.peer_window_bytes);
            self.peer_window_bytes = bytes;
            for stream in self.streams.values() {
                let mut sending = stream.sending.borrow_mut();
                let shifted = sending.window.shift(shift);
                shifted.map_err(|Overflow| Fault::Connection(Reason::FLOW_CONTROL_ERROR))?;
                sending.wake();
            }
        }
        Ok(())
    }

    fn on_window(&mut self, id: u32, increment: u32) -> Result<(), Fault> {
        self.floods.window()?;
        if id == 0 {
            let grown = self.outgoing.grow(increment);
            grown.map_err(|Overflow| Fault::Connection(Reason::FLOW_CONTROL_ERROR))?;
            self.next_turn();
            return Ok(());
        }
        if id > self.last || id.is_multiple_of(2) {
            return broken();
        }
        let Some(stream) = self.streams.get(&id) else {
            return Ok(());
        };
        let mut sending = stream.sending.borrow_mut();
        let grown = sending.window.grow(increment);
        sending.wake();
        grown.map_err(|Overflow| Fault::Stream(id, Reason::FLOW_CONTROL_ERROR))
    }

    /// Ends a stream on which a rule was broken, whether or not it is open.
    fn refuse(&mut self, id: u32, reason: Reason, now: Instant) {
        match self.streams.get(&id).cloned() {
            Some(stream) => self.refuse_stream(&stream, reason, now),
            None => match self.output.control() {
                Ok(out) => {
                    frame::reset(out, id, reason);
                    self.remember(id);
                    if self.floods.closed(now, now, true).is_err() {
                        self.fail(Reason::ENHANCE_YOUR_CALM);
                    }
                }
                Err(TooMany) => self.fail(Reason::ENHANCE_YOUR_CALM),
            },
        }
    }

    fn refuse_stream(&mut self, stream: &Rc<Stream>, reason: Reason, now: Instant) {
        self.reset(stream, reason, StreamFault::Malformed);
        if self.floods.closed(stream.opened_at, now, true).is_err() {
            self.fail(Reason::ENHANCE_YOUR_CALM);
        }
    }
}
