//! A client that says frames to a connection without a socket, and reads what comes back.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Response;
use http::header::HeaderValue;
use http_body::{Body, Frame as BodyFrame, SizeHint};
use tokio::time::Instant;

use crate::http1::outgoing::Outgoing;
use crate::http2::connection::{Connection, Event, Settings};
use crate::http2::exchange::ServerStream;
use crate::http2::frame::{self, Frame, HEAD_BYTES, PAYLOAD_BYTES_MAX};
use crate::http2::head::{Limits, Request};
use crate::http2::hpack::decode::{Decoder, Field, Name, Value};
use crate::http2::received_body::ReceivedBody;

pub(super) const SETTINGS: Settings = Settings {
    limits: Limits {
        bytes_max: 1000,
        count_max: 20,
    },
    streams_max: 3,
    stream_window_bytes: 100,
    connection_window_bytes: 70_000,
    extended_connect: false,
};

/// A body of so many bytes, in chunks, told ahead or not.
pub(super) struct Told {
    pub(super) chunks: VecDeque<usize>,
    pub(super) left: Option<u64>,
    pub(super) breaks: bool,
}

impl Body for Told {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, io::Error>>> {
        match self.chunks.pop_front() {
            None if self.breaks => Poll::Ready(Some(Err(io::ErrorKind::Other.into()))),
            None => Poll::Ready(None),
            Some(length) => Poll::Ready(Some(Ok(BodyFrame::data(vec![b'x'; length].into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && !self.breaks
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Outgoing for Told {
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    fn give_up(self: Pin<&mut Self>) {}

    fn poll_due(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

pub(super) fn body(chunks: &[usize]) -> Told {
    Told {
        chunks: chunks.iter().copied().collect(),
        left: None,
        breaks: false,
    }
}

pub(super) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A client, its connection, and the tasks that answer it.
pub(super) struct Talk {
    pub(super) connection: Rc<Connection>,
    pub(super) wire: BytesMut,
    pub(super) decoder: Decoder,
    pub(super) now: Instant,
    pub(super) tasks: FuturesUnordered<Task>,
    pub(super) said: Vec<String>,
}

impl Talk {
    pub(super) fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let mut talk = Self {
            connection: Connection::new(settings, now),
            wire: BytesMut::new(),
            decoder: Decoder::default(),
            now,
            tasks: FuturesUnordered::new(),
            said: Vec::new(),
        };
        let mut hello = receive_preface();
        frame::say_settings(&mut hello, &frame::Settings::default());
        talk.wire.extend_from_slice(&hello);
        talk
    }

    pub(super) fn say(&mut self, frame: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let mut out = Vec::new();
        frame(&mut out);
        self.wire.extend_from_slice(&out);
        self
    }

    pub(super) fn head(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> &mut Self {
        self.say(|out| head(out, stream, fields, ends))
    }

    pub(super) fn get(&mut self, stream: u32) -> &mut Self {
        self.head(stream, &GET, true)
    }

    pub(super) fn data(&mut self, stream: u32, data: &str, ends: bool) -> &mut Self {
        self.say(|out| {
            frame::data(out, stream, data.len(), ends);
            out.extend_from_slice(data.as_bytes());
        })
    }

    /// Hands everything over; a request gets what `serve` makes of it.
    pub(super) fn serve(&mut self, mut serve: impl FnMut(Request, ServerStream, ReceivedBody) -> Task) -> &mut Self {
        while let Some(event) = self.connection.take(&mut self.wire, self.now) {
            match event {
                Event::Refused(fault) => self.said.push(format!("refused: {fault}")),
                Event::Request(head, stream, body) => {
                    let path = head.path.as_deref().map_or_else(|| "-".into(), String::from_utf8_lossy);
                    self.said.push(format!("{} {path}", head.method));
                    self.tasks.push(serve(*head, stream, body));
                }
            }
        }
        self.run();
        self
    }

    /// Every request stays unanswered.
    pub(super) fn hold(&mut self) -> &mut Self {
        self.serve(|_, stream, body| {
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop((stream, body));
            })
        })
    }

    pub(super) fn answer(&mut self, status: u16, length: Option<&'static str>, body: impl Fn() -> Told) -> &mut Self {
        self.serve(|_, stream, request| {
            let mut response = Response::builder().status(status);
            if let Some(length) = length {
                response = response.header("content-length", length);
            }
            let (head, body) = response.body(body()).unwrap().into_parts();
            Box::pin(async move {
                stream.answer(head, body, &HeaderValue::from_static("now")).await;
                drop(request);
            })
        })
    }

    /// Lets tasks go on that were woken.
    pub(super) fn run(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(())) = self.tasks.poll_next_unpin(&mut cx) {}
    }

    /// Frames that have come back, as words.
    pub(super) fn heard(&self) -> Vec<Frame> {
        let mut input = BytesMut::from(&self.connection.take_output()[..]);
        let frames = std::iter::from_fn(|| Frame::take(&mut input).unwrap()).collect();
        assert!(input.is_empty(), "half a frame");
        frames
    }

    /// All that was said and heard, but for the greeting.
    pub(super) fn told(&mut self) -> String {
        let frames = self.heard();
        let mut words = std::mem::take(&mut self.said);
        for frame in frames {
            let ends = |ends: bool| if ends { " end" } else { "" };
            words.push(match frame.clone() {
                Frame::Settings(_) | Frame::SettingsAck => continue,
                Frame::Window { stream: 0, .. } => continue,
                Frame::Data {
                    stream,
                    data,
                    ends: last,
                    ..
                } => format!("{stream}: {} bytes{}", data.len(), ends(last)),
                Frame::Headers {
                    stream,
                    block,
                    ends: last,
                    ..
                } => {
                    let mut fields = Vec::new();
                    self.decoder
                        .decode(block, |field, _| fields.extend(shown(&field)))
                        .unwrap();
                    format!("{stream}: {}{}", fields.join(","), ends(last))
                }
                Frame::Reset { stream, reason } => format!("{stream}: reset {reason:?}"),
                Frame::Window { stream, increment } => format!("{stream}: +{increment}"),
                Frame::GoAway(reason) => format!("goaway {reason:?}"),
                Frame::Ping(_) => "ping".to_owned(),
                Frame::Pong(_) => "pong".to_owned(),
                Frame::Continuation { .. } | Frame::Priority | Frame::Unknown => format!("{frame:?}"),
            });
        }
        words.join("; ")
    }
}

pub(super) fn shown(field: &Field) -> Option<String> {
    match (&field.name, &field.value) {
        (Name::Pseudo(_), Value::Raw(value)) => Some(String::from_utf8_lossy(value).into_owned()),
        (Name::Field(name), _) if *name == "date" => None,
        (Name::Field(name), Value::Header(value)) => Some(format!("{name}={}", value.to_str().unwrap())),
        (_, _) => Some("?".to_owned()),
    }
}

pub(super) fn receive_preface() -> Vec<u8> {
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()
}

pub(super) const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/x"),
    (":authority", "e"),
];
pub(super) const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/x"),
    (":authority", "e"),
];

/// A head in literals.
pub(super) fn head(out: &mut Vec<u8>, stream: u32, fields: &[(&str, &str)], ends: bool) {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).unwrap());
            out.extend_from_slice(text.as_bytes());
        }
    }
    frame::headers(out, at, stream, ends, PAYLOAD_BYTES_MAX);
}
