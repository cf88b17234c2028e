//! HTTP/2 frames by hand (RFC 9113 section 4), and a client that sends them as they are.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Field;
use super::h1::{Heard, Message};
use super::hpack::{self, Decoder};

/// What a client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const PADDED: u8 = 8;
const HAS_PRIORITY: u8 = 0x20;

/// Payload of one frame that everybody takes.
const FRAME_BYTES: usize = 16_384;
/// How long is listened for more once all that was asked for is there.
const GRACE: Duration = Duration::from_millis(25);
const SLICE: Duration = Duration::from_millis(10);

/// A frame as it was read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// HEADERS and as many CONTINUATION as a block needs.
pub(crate) fn block(stream: u32, block: &[u8], end_stream: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut parts = block.chunks(FRAME_BYTES).peekable();
    let (mut kind, mut flags) = (HEADERS, if end_stream { END_STREAM } else { 0 });
    loop {
        let part = parts.next().unwrap_or_default();
        let last = parts.peek().is_none();
        bytes.extend(frame(kind, flags | if last { END_HEADERS } else { 0 }, stream, part));
        if last {
            return bytes;
        }
        (kind, flags) = (CONTINUATION, 0);
    }
}

/// HEADERS with these fields.
pub(crate) fn headers<'a>(
    stream: u32,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    end_stream: bool,
) -> Vec<u8> {
    block(stream, &hpack::encode(fields), end_stream)
}

/// SETTINGS with these pairs.
pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let pair = |(id, value): &(u16, u32)| [id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &pairs.iter().flat_map(pair).collect::<Vec<u8>>())
}

/// A request's frames, or an answer's: a head, and a body unless it is empty.
pub(crate) fn message(stream: u32, fields: &[Field], body: &[u8], trailers: &[Field]) -> Vec<u8> {
    let pairs = |fields: &'_ [Field]| {
        fields
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<Vec<_>>()
    };
    let encoded = |fields: &[Field]| {
        let fields = pairs(fields);
        hpack::encode(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    };
    let mut bytes = block(stream, &encoded(fields), body.is_empty() && trailers.is_empty());
    let mut parts = body.chunks(FRAME_BYTES).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none() && trailers.is_empty();
        bytes.extend(frame(DATA, u8::from(last) * END_STREAM, stream, part));
    }
    if !trailers.is_empty() {
        bytes.extend(block(stream, &encoded(trailers), true));
    }
    bytes
}

/// Takes the first frame off these bytes, if it is whole.
pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Frame> {
    let head = bytes.get(..9)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let (kind, flags) = (head[3], head[4]);
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    if bytes.len() < 9 + length {
        return None;
    }
    let payload = bytes[9..9 + length].to_vec();
    bytes.drain(..9 + length);
    Some(Frame {
        kind,
        flags,
        stream,
        payload,
    })
}

/// A stream as the reading end has it.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The heads that have come: interim answers, the answer, trailers.
    pub(crate) heads: Vec<Vec<Field>>,
    pub(crate) body: Vec<u8>,
    pub(crate) ended: bool,
    pub(crate) reset: Option<u32>,
}

/// What a connection's peer has sent so far.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    bytes: Vec<u8>,
    decoder: Decoder,
    block: Vec<u8>,
    pub(crate) streams: BTreeMap<u32, Stream>,
    pub(crate) goaway: Option<u32>,
    /// A frame that cannot be read; nothing is taken after it.
    pub(crate) nonsense: bool,
}

// === impl Inbound ===

impl Inbound {
    /// Takes what was read, and gives what is to be said for it: acknowledgements and room for more.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.bytes.extend_from_slice(bytes);
        let mut reply = Vec::new();
        while !self.nonsense {
            let Some(frame) = take(&mut self.bytes) else {
                break;
            };
            reply.extend(self.on_frame(&frame));
        }
        reply
    }

    fn on_frame(&mut self, seen: &Frame) -> Vec<u8> {
        let stream = seen.stream;
        match seen.kind {
            DATA => {
                let data = unpadded(seen);
                let entry = self.streams.entry(stream).or_default();
                entry.body.extend_from_slice(data);
                entry.ended |= seen.flags & END_STREAM != 0;
                let room = (seen.payload.len() as u32).to_be_bytes();
                if seen.payload.is_empty() {
                    return Vec::new();
                }
                return [
                    frame(WINDOW_UPDATE, 0, stream, &room),
                    frame(WINDOW_UPDATE, 0, 0, &room),
                ]
                .concat();
            }
            HEADERS | CONTINUATION => {
                let skipped = if seen.kind == HEADERS && seen.flags & HAS_PRIORITY != 0 {
                    5
                } else {
                    0
                };
                let part = if seen.kind == HEADERS {
                    unpadded(seen)
                } else {
                    &seen.payload
                };
                self.block.extend_from_slice(part.get(skipped..).unwrap_or_default());
                let entry = self.streams.entry(stream).or_default();
                entry.ended |= seen.kind == HEADERS && seen.flags & END_STREAM != 0;
                if seen.flags & END_HEADERS != 0 {
                    match self.decoder.decode(&std::mem::take(&mut self.block)) {
                        Ok(fields) => entry.heads.push(fields),
                        Err(_) => self.nonsense = true,
                    }
                }
            }
            RST_STREAM => self.streams.entry(stream).or_default().reset = code(&seen.payload, 0),
            SETTINGS if seen.flags & ACK == 0 => return frame(SETTINGS, ACK, 0, &[]),
            PING if seen.flags & ACK == 0 => return frame(PING, ACK, 0, &seen.payload),
            GOAWAY => self.goaway = code(&seen.payload, 4),
            _ => {}
        }
        Vec::new()
    }
}

fn unpadded(frame: &Frame) -> &[u8] {
    if frame.flags & PADDED == 0 {
        return &frame.payload;
    }
    let padding = usize::from(frame.payload.first().copied().unwrap_or(0));
    frame
        .payload
        .get(1..frame.payload.len().saturating_sub(padding))
        .unwrap_or_default()
}

fn code(payload: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 4] = payload.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

// === impl Stream ===

impl Stream {
    /// As a message of HTTP/1: `request` says which way it went.
    pub(crate) fn message(&self, request: bool) -> Message {
        let is_interim = |head: &&Vec<Field>| {
            head.iter()
                .any(|field| field.0 == ":status" && field.1.starts_with('1'))
        };
        let mut heads = self.heads.iter().skip_while(is_interim);
        let head = heads.next().cloned().unwrap_or_default();
        let pseudo = |name: &str| {
            head.iter()
                .find(|field| field.0 == name)
                .map_or("", |field| field.1.as_str())
        };
        let start = if request {
            format!("{} {} HTTP/2", pseudo(":method"), pseudo(":path"))
        } else {
            format!("HTTP/2 {}", pseudo(":status"))
        };
        let kept = |field: &&Field| ![":method", ":path", ":status"].contains(&field.0.as_str());
        Message {
            start,
            fields: head.iter().filter(kept).cloned().collect(),
            body: self.body.clone(),
            trailers: heads.flatten().cloned().collect(),
            cut_short: !self.ended,
        }
    }

    fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }
}

/// What a client sends over a connection of its own, behind the preface and its settings.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) settings: Vec<(u16, u32)>,
    pub(crate) bytes: Vec<u8>,
    /// Streams whose end is waited for.
    pub(crate) streams: Vec<u32>,
    /// Room is given for bodies, and frames that want an answer have one.
    pub(crate) obliging: bool,
    pub(crate) abort: bool,
    pub(crate) limit: Duration,
}

/// Sends and listens until the streams are over, the connection is closed or the time is over.
pub(crate) fn talk(to: SocketAddr, talk: &Talk) -> Result<Heard> {
    let mut stream = TcpStream::connect(to)?;
    let port = stream.local_addr()?.port();
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SLICE))?;
    stream.set_write_timeout(Some(talk.limit))?;
    let mut writer = stream.try_clone()?;
    let bytes = [PREFACE, &settings(&talk.settings), &talk.bytes].concat();
    // A flood is sent while its answers are read; it ends with the connection.
    let sender = std::thread::spawn(move || writer.write_all(&bytes));
    let mut inbound = Inbound::default();
    let mut closed = false;
    let all_over = |inbound: &Inbound| {
        let over = |id: &u32| inbound.streams.get(id).is_some_and(Stream::is_over);
        talk.streams.iter().all(over)
    };
    if talk.abort {
        let _ = sender.join();
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        return Ok(Heard {
            port,
            ..Heard::default()
        });
    }
    let deadline = Instant::now() + talk.limit;
    let mut end = None;
    while !closed && Instant::now() < end.unwrap_or(deadline) {
        if end.is_none() && sender.is_finished() && (all_over(&inbound) || inbound.goaway.is_some()) {
            end = Some(Instant::now() + GRACE);
        }
        closed = !read(&mut stream, &mut inbound, talk.obliging);
    }
    let _ = stream.shutdown(Shutdown::Both);
    let _ = sender.join();
    Ok(Heard {
        port,
        ..heard(&inbound, closed, &talk.streams)
    })
}

/// False at the end.
fn read(stream: &mut TcpStream, inbound: &mut Inbound, obliging: bool) -> bool {
    let mut buffer = [0; 16 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => {
            let reply = inbound.read(&buffer[..count]);
            // The end shows at the next read.
            let _ = if obliging { stream.write_all(&reply) } else { Ok(()) };
            true
        }
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn heard(inbound: &Inbound, closed: bool, wanted: &[u32]) -> Heard {
    let answered = |id: &u32| inbound.streams.get(id).filter(|stream| !stream.heads.is_empty());
    let mut broken: Vec<String> = Vec::new();
    for id in wanted {
        if let Some(code) = inbound.streams.get(id).and_then(|stream| stream.reset) {
            broken.push(format!("reset {code}"));
        }
    }
    if let Some(code) = inbound.goaway {
        broken.push(format!("goaway {code}"));
    }
    Heard {
        answers: wanted
            .iter()
            .filter_map(answered)
            .map(|stream| stream.message(false))
            .collect(),
        closed,
        port: 0,
        broken: (!broken.is_empty()).then(|| broken.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_by_its_frames() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let head = [
            field(":method", "POST"),
            field(":path", "/x"),
            field("a", &"b".repeat(40_000)),
        ];
        let bytes = message(1, &head, b"body", &[field("t", "1")]);
        let mut inbound = Inbound::default();
        // In pieces, as a socket gives them.
        for part in bytes.chunks(1000) {
            inbound.read(part);
        }
        let seen = inbound.streams[&1].message(true);
        assert_eq!(seen.start, "POST /x HTTP/2");
        assert_eq!(seen.fields, [head[2].clone()]);
        assert_eq!(
            (seen.body.as_slice(), seen.trailers, seen.cut_short),
            (b"body".as_slice(), vec![field("t", "1")], false)
        );
    }

    #[test]
    fn settings_and_pings_are_acknowledged() {
        let mut inbound = Inbound::default();
        let reply = inbound.read(&[settings(&[(3, 1)]), frame(PING, 0, 0, &[7; 8])].concat());
        assert_eq!(
            reply,
            [frame(SETTINGS, ACK, 0, &[]), frame(PING, ACK, 0, &[7; 8])].concat()
        );
    }
}
