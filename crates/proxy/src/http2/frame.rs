//! Frames as bytes (RFC 9113, sections 4.1 and 6): every rule that a frame keeps or breaks by itself.

use bytes::{Buf, Bytes, BytesMut};

use super::reason::Reason;

/// Bytes in front of every payload.
pub const HEAD_BYTES: usize = 9;
/// Longest payload that a peer may send who was told nothing else (RFC 9113, section 6.5.2).
pub const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// Largest identifier of a stream.
pub const STREAM_MAX: u32 = (1 << 31) - 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

/// A frame that keeps the rules of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Data {
        stream: u32,
        data: Bytes,
        /// What the windows are charged: padding counts (RFC 9113, section 6.1).
        charged: u32,
        ends: bool,
    },
    Headers {
        stream: u32,
        /// A head, or its beginning.
        block: Bytes,
        ends: bool,
        is_whole: bool,
    },
    /// More of a head.
    Continuation {
        stream: u32,
        block: Bytes,
        is_whole: bool,
    },
    /// It says nothing any more (RFC 9113, section 5.3.2).
    Priority,
    Reset {
        stream: u32,
        reason: Reason,
    },
    Settings(Settings),
    SettingsAck,
    Ping([u8; 8]),
    Pong([u8; 8]),
    GoAway(Reason),
    /// On stream 0 for the connection.
    Window {
        stream: u32,
        increment: u32,
    },
    /// Of a type that nobody knows, which is passed over (RFC 9113, section 4.1).
    Unknown,
}

/// What a peer says of itself (RFC 9113, section 6.5.2); of repeated ones the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub table_bytes: Option<u32>,
    pub window_bytes: Option<u32>,
    pub payload_bytes_max: Option<u32>,
    /// Most streams that the other side may have open.
    pub streams_max: Option<u32>,
    /// Whether extended CONNECT is understood (RFC 8441).
    pub extended_connect: Option<bool>,
}

/// How far a broken rule reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing behind it can be trusted.
    Connection(Reason),
    Stream(u32, Reason),
}

// === impl Frame ===

impl Frame {
    /// Takes a frame off `input`, if it is whole.
    ///
    /// # Errors
    /// It breaks a rule of its type. Then it was taken off, too.
    pub fn take(input: &mut BytesMut) -> Result<Option<Self>, Fault> {
        let [a, b, c, kind, flags, d, e, f, g, ..] = input[..] else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([d, e, f, g]) & STREAM_MAX;
        if length > PAYLOAD_BYTES_MAX {
            return Err(Fault::Connection(Reason::FRAME_SIZE_ERROR));
        }
        if input.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        if kind == DATA || kind == HEADERS || kind == CONTINUATION {
            let mut payload = input.split_to(HEAD_BYTES + length).freeze();
            payload.advance(HEAD_BYTES);
            return of_stream(kind, flags, stream, payload).map(Some);
        }
        let frame = of_control(kind, flags, stream, &input[HEAD_BYTES..HEAD_BYTES + length]);
        input.advance(HEAD_BYTES + length);
        frame.map(Some)
    }
}

/// Frames that carry heads and bodies.
fn of_stream(kind: u8, flags: u8, stream: u32, mut payload: Bytes) -> Result<Frame, Fault> {
    let broken = Err(Fault::Connection(Reason::PROTOCOL_ERROR));
    if stream == 0 {
        return broken;
    }
    if kind == CONTINUATION {
        return Ok(Frame::Continuation {
            stream,
            block: payload,
            is_whole: flags & END_HEADERS != 0,
        });
    }
    let charged = payload.len() as u32;
    let mut padding = 0;
    if flags & PADDED != 0 {
        let Some(first) = payload.first().copied() else {
            return Err(Fault::Connection(Reason::FRAME_SIZE_ERROR));
        };
        padding = usize::from(first);
        payload.advance(1);
    }
    if kind == HEADERS && flags & WITH_PRIORITY != 0 {
        if payload.len() < 5 {
            return Err(Fault::Connection(Reason::FRAME_SIZE_ERROR));
        }
        if depends_on(&payload) == stream {
            return broken;
        }
        payload.advance(5);
    }
    let Some(length) = payload.len().checked_sub(padding) else {
        return broken;
    };
    payload.truncate(length);
    let ends = flags & END_STREAM != 0;
    Ok(if kind == DATA {
        Frame::Data {
            stream,
            data: payload,
            charged,
            ends,
        }
    } else {
        Frame::Headers {
            stream,
            block: payload,
            ends,
            is_whole: flags & END_HEADERS != 0,
        }
    })
}

/// All other frames.
fn of_control(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Frame, Fault> {
    let broken = Err(Fault::Connection(Reason::PROTOCOL_ERROR));
    let of_size = |size: usize| match payload.len() == size {
        true => Ok(()),
        false => Err(Fault::Connection(Reason::FRAME_SIZE_ERROR)),
    };
    let on_stream = matches!(kind, PRIORITY | RST_STREAM);
    let on_connection = matches!(kind, SETTINGS | PING | GOAWAY);
    if (on_stream && stream == 0) || (on_connection && stream != 0) {
        return broken;
    }
    match kind {
        PRIORITY if payload.len() != 5 => Err(Fault::Stream(stream, Reason::FRAME_SIZE_ERROR)),
        PRIORITY if depends_on(payload) == stream => Err(Fault::Stream(stream, Reason::PROTOCOL_ERROR)),
        PRIORITY => Ok(Frame::Priority),
        RST_STREAM => {
            of_size(4)?;
            let reason = Reason(number(payload));
            Ok(Frame::Reset { stream, reason })
        }
        SETTINGS if flags & ACK != 0 => of_size(0).map(|()| Frame::SettingsAck),
        SETTINGS => settings(payload).map(Frame::Settings),
        PUSH_PROMISE => broken,
        PING => {
            of_size(8)?;
            let opaque = payload.try_into().unwrap_or_default();
            Ok(if flags & ACK == 0 {
                Frame::Ping(opaque)
            } else {
                Frame::Pong(opaque)
            })
        }
        GOAWAY if payload.len() < 8 => Err(Fault::Connection(Reason::FRAME_SIZE_ERROR)),
        GOAWAY => Ok(Frame::GoAway(Reason(number(&payload[4..])))),
        WINDOW_UPDATE => {
            of_size(4)?;
            match number(payload) & STREAM_MAX {
                0 if stream == 0 => broken,
                0 => Err(Fault::Stream(stream, Reason::PROTOCOL_ERROR)),
                increment => Ok(Frame::Window { stream, increment }),
            }
        }
        _ => Ok(Frame::Unknown),
    }
}

/// The first four bytes of a payload as a number; nothing is shorter here.
fn number(payload: &[u8]) -> u32 {
    let first = payload.first_chunk::<4>();
    first.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn depends_on(payload: &[u8]) -> u32 {
    number(payload) & STREAM_MAX
}

fn settings(payload: &[u8]) -> Result<Settings, Fault> {
    let broken = Fault::Connection(Reason::PROTOCOL_ERROR);
    let (pairs, []) = payload.as_chunks::<6>() else {
        return Err(Fault::Connection(Reason::FRAME_SIZE_ERROR));
    };
    let mut settings = Settings::default();
    for [name, number, value @ ..] in pairs {
        let value = u32::from_be_bytes(*value);
        match u16::from_be_bytes([*name, *number]) {
            1 => settings.table_bytes = Some(value),
            2 if value > 1 => return Err(broken),
            3 => settings.streams_max = Some(value),
            4 if value > STREAM_MAX => return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR)),
            4 => settings.window_bytes = Some(value),
            5 if !(1 << 14..1 << 24).contains(&value) => return Err(broken),
            5 => settings.payload_bytes_max = Some(value),
            8 if value > 1 => return Err(broken),
            8 => settings.extended_connect = Some(value == 1),
            _ => {}
        }
    }
    Ok(settings)
}

fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Appends what goes before the payload of a DATA frame.
pub fn data(out: &mut Vec<u8>, stream: u32, length: usize, ends: bool) {
    head(out, length, DATA, if ends { END_STREAM } else { 0 }, stream);
}

/// Makes frames of `out` from `at` on, where room for one frame's head and then a whole block of header fields stand.
pub fn headers(out: &mut Vec<u8>, at: usize, stream: u32, ends: bool, payload_bytes_max: usize) {
    let length = out.len() - at - HEAD_BYTES;
    let end_stream = if ends { END_STREAM } else { 0 };
    let mut written = Vec::new();
    if length <= payload_bytes_max {
        head(&mut written, length, HEADERS, END_HEADERS | end_stream, stream);
        out[at..at + HEAD_BYTES].copy_from_slice(&written);
        return;
    }
    let block = out.split_off(at + HEAD_BYTES);
    out.truncate(at);
    let mut parts = block.chunks(payload_bytes_max).peekable();
    let (mut kind, mut flags) = (HEADERS, end_stream);
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            flags |= END_HEADERS;
        }
        head(out, part.len(), kind, flags, stream);
        out.extend_from_slice(part);
        (kind, flags) = (CONTINUATION, 0);
    }
}

/// Appends a RST_STREAM frame.
pub fn reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    head(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&reason.0.to_be_bytes());
}

/// Appends a SETTINGS frame.
pub fn say_settings(out: &mut Vec<u8>, settings: &Settings) {
    let said = [
        (1_u16, settings.table_bytes),
        (3, settings.streams_max),
        (4, settings.window_bytes),
        (5, settings.payload_bytes_max),
        (8, settings.extended_connect.map(u32::from)),
    ];
    let said = said.into_iter().filter_map(|(name, value)| Some((name, value?)));
    head(out, said.clone().count() * 6, SETTINGS, 0, 0);
    for (name, value) in said {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of settings.
pub fn settings_ack(out: &mut Vec<u8>) {
    head(out, 0, SETTINGS, ACK, 0);
}

/// Appends a PING frame, or the answer to one.
pub fn ping(out: &mut Vec<u8>, opaque: [u8; 8], is_answer: bool) {
    head(out, 8, PING, if is_answer { ACK } else { 0 }, 0);
    out.extend_from_slice(&opaque);
}

/// Appends a GOAWAY frame.
pub fn go_away(out: &mut Vec<u8>, last: u32, reason: Reason) {
    head(out, 8, GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
}

/// Appends a WINDOW_UPDATE frame.
pub fn window(out: &mut Vec<u8>, stream: u32, increment: u32) {
    head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

#[cfg(test)]
mod tests;
