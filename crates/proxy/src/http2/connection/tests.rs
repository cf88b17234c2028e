//! A connection without a socket, and a client that says frames to it and reads what comes back.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Response;
use http::header::HeaderValue;
use http_body::{Body, Frame as BodyFrame, SizeHint};
use proptest::prelude::*;

use super::*;
use crate::http1::outgoing::Outgoing;
use crate::http2::frame::Frame;
use crate::http2::hpack::decode::{Field, Name, Value};

const SETTINGS: Settings = Settings {
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
struct Told {
    chunks: VecDeque<usize>,
    left: Option<u64>,
    breaks: bool,
}

impl Body for Told {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, std::io::Error>>> {
        match self.chunks.pop_front() {
            None if self.breaks => Poll::Ready(Some(Err(std::io::ErrorKind::Other.into()))),
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

fn body(chunks: &[usize]) -> Told {
    Told {
        chunks: chunks.iter().copied().collect(),
        left: None,
        breaks: false,
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A client, its connection, and the tasks that answer it.
struct Talk {
    connection: Rc<Connection>,
    wire: BytesMut,
    decoder: Decoder,
    now: Instant,
    tasks: FuturesUnordered<Task>,
    said: Vec<String>,
}

impl Talk {
    fn new(settings: Settings) -> Self {
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

    fn say(&mut self, frame: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let mut out = Vec::new();
        frame(&mut out);
        self.wire.extend_from_slice(&out);
        self
    }

    fn head(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> &mut Self {
        self.say(|out| head(out, stream, fields, ends))
    }

    fn get(&mut self, stream: u32) -> &mut Self {
        self.head(stream, &GET, true)
    }

    fn data(&mut self, stream: u32, data: &str, ends: bool) -> &mut Self {
        self.say(|out| {
            frame::data(out, stream, data.len(), ends);
            out.extend_from_slice(data.as_bytes());
        })
    }

    /// Hands everything over; a request gets what `serve` makes of it.
    fn serve(&mut self, mut serve: impl FnMut(Request, ServerStream, ReceivedBody) -> Task) -> &mut Self {
        while let Some(event) = self.connection.take(&mut self.wire, self.now) {
            match event {
                Event::Refused(fault) => self.said.push(format!("refused: {fault}")),
                Event::Request(head, stream, body) => {
                    let path = head.path.as_deref().map_or("-".into(), String::from_utf8_lossy);
                    self.said.push(format!("{} {path}", head.method));
                    self.tasks.push(serve(*head, stream, body));
                }
            }
        }
        self.run();
        self
    }

    /// Every request stays unanswered.
    fn hold(&mut self) -> &mut Self {
        self.serve(|_, stream, body| {
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop((stream, body));
            })
        })
    }

    fn answer(&mut self, status: u16, length: Option<&'static str>, body: impl Fn() -> Told) -> &mut Self {
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
    fn run(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(())) = self.tasks.poll_next_unpin(&mut cx) {}
    }

    /// Frames that have come back, as words.
    fn heard(&mut self) -> Vec<Frame> {
        let mut input = BytesMut::from(&self.connection.take_output()[..]);
        let frames = std::iter::from_fn(|| Frame::take(&mut input).unwrap()).collect();
        assert!(input.is_empty(), "half a frame");
        frames
    }

    /// All that was said and heard, but for the greeting.
    fn told(&mut self) -> String {
        let frames = self.heard();
        let mut words = std::mem::take(&mut self.said);
        for frame in frames {
            let ends = |ends: bool| if ends { " end" } else { "" };
            words.push(match frame {
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
                other => format!("{other:?}"),
            });
        }
        words.join("; ")
    }
}

fn shown(field: &Field) -> Option<String> {
    match (&field.name, &field.value) {
        (Name::Pseudo(_), Value::Raw(value)) => Some(String::from_utf8_lossy(value).into_owned()),
        (Name::Field(name), _) if *name == "date" => None,
        (Name::Field(name), Value::Header(value)) => Some(format!("{name}={}", value.to_str().unwrap())),
        (_, _) => Some("?".to_owned()),
    }
}

fn receive_preface() -> Vec<u8> {
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/x"),
    (":authority", "e"),
];
const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/x"),
    (":authority", "e"),
];

/// A head in literals.
fn head(out: &mut Vec<u8>, stream: u32, fields: &[(&str, &str)], ends: bool) {
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

#[track_caller]
fn check(talk: impl FnOnce(&mut Talk) -> &mut Talk, expected: &str) {
    let mut told = Talk::new(SETTINGS);
    let told = talk(&mut told).told();
    assert_eq!(told, expected);
}

#[test]
fn answers_say_how_they_end() {
    check(|talk| talk.get(1).answer(200, None, || body(&[])), "GET /x; 1: 200 end");
    check(
        |talk| talk.get(1).answer(200, None, || body(&[5])),
        "GET /x; 1: 200; 1: 5 bytes end",
    );
    check(
        |talk| talk.get(1).answer(200, Some("5"), || body(&[2, 3])),
        "GET /x; 1: 200,content-length=5; 1: 2 bytes; 1: 3 bytes end",
    );
    check(
        |talk| talk.get(1).answer(204, Some("5"), || body(&[5])),
        "GET /x; 1: 204 end",
    );
    check(
        |talk| talk.get(1).answer(304, Some("5"), || body(&[])),
        "GET /x; 1: 304,content-length=5 end",
    );
    let mut head = GET;
    head[0].1 = "HEAD";
    check(
        |talk| talk.head(1, &head, true).answer(200, Some("5"), || body(&[])),
        "HEAD /x; 1: 200,content-length=5 end",
    );
    // What is not what it says is no whole answer.
    for chunks in [&[4][..], &[4, 2], &[]] {
        let mut talk = Talk::new(SETTINGS);
        let told = talk.get(1).answer(200, Some("5"), || body(chunks)).told();
        assert!(told.ends_with("1: reset INTERNAL_ERROR"), "{told}");
    }
    check(
        |talk| {
            talk.get(1).answer(200, None, || Told {
                breaks: true,
                ..body(&[5])
            })
        },
        "GET /x; 1: 200; 1: 5 bytes; 1: reset INTERNAL_ERROR",
    );
    // An answer ahead of the request's end cuts it off; what crosses that on its way is passed over.
    check(
        |talk| {
            talk.head(1, &POST, false).answer(200, None, || body(&[5]));
            talk.data(1, "more", true).head(1, &[("a", "b")], true).hold()
        },
        "POST /x; 1: 200; 1: 5 bytes end; 1: reset NO_ERROR",
    );
    check(
        |talk| talk.get(1).serve(|_, stream, _| Box::pin(async { drop(stream) })),
        "GET /x; 1: reset INTERNAL_ERROR",
    );
}

#[test]
fn heads_that_are_none_cost_their_stream() {
    for fields in [
        &[("content-length", "5")][..],
        &[("content-length", "0"), ("content-length", "0")],
        &[("connection", "close")],
        &[(":path", "/y")],
        &[("A", "b")],
    ] {
        let mut talk = Talk::new(SETTINGS);
        let told = talk.head(1, &[&GET[..], fields].concat(), true).get(3).hold().told();
        assert!(
            told.starts_with("refused: ") && told.ends_with("; GET /x; 1: reset PROTOCOL_ERROR"),
            "{told}"
        );
    }
    let many = [&GET[..], &[("a", "b"); 17]].concat();
    check(
        |talk| talk.head(1, &many, true).hold(),
        "refused: a head of too many fields; 1: reset INTERNAL_ERROR",
    );
}

#[test]
fn bodies_that_are_none_cost_their_stream() {
    let row = |frames: fn(&mut Talk) -> &mut Talk, reason: &str| {
        let expected = format!("POST /x; 1: reset {reason}");
        check(
            |talk| frames(talk.head(1, &[&POST[..], &[("content-length", "5")]].concat(), false)).hold(),
            &expected,
        );
    };
    row(|talk| talk.data(1, "hell", true), "PROTOCOL_ERROR");
    row(|talk| talk.data(1, "hello!", false), "PROTOCOL_ERROR");
    row(|talk| talk.head(1, &[("a", "b")], true), "PROTOCOL_ERROR");
    row(
        |talk| talk.data(1, "hello", false).head(1, &[("a", "b")], false),
        "PROTOCOL_ERROR",
    );
    row(
        |talk| talk.data(1, "hello", false).head(1, &[("content-length", "5")], true),
        "PROTOCOL_ERROR",
    );
    row(
        |talk| talk.data(1, "hello", false).head(1, &GET, true),
        "PROTOCOL_ERROR",
    );
    row(
        |talk| talk.data(1, "hello", true).data(1, "more", true),
        "STREAM_CLOSED",
    );
    check(
        |talk| talk.head(1, &POST, false).data(1, &"x".repeat(101), false).hold(),
        "POST /x; 1: reset FLOW_CONTROL_ERROR",
    );
    check(
        |talk| talk.get(1).head(1, &GET, true).hold(),
        "GET /x; 1: reset STREAM_CLOSED",
    );
}

#[test]
fn whoever_reads_a_body_gives_its_room_back() {
    let mut talk = Talk::new(SETTINGS);
    talk.head(1, &POST, false)
        .data(1, &"x".repeat(100), false)
        .serve(|_, stream, mut body| {
            Box::pin(async move {
                let mut lengths = Vec::new();
                while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    match frame {
                        Ok(frame) => lengths.push(frame.into_data().map_or(0, |data| data.len())),
                        Err(fault) => panic!("{fault}"),
                    }
                }
                assert_eq!(lengths, [100, 50, 0]);
                drop(stream);
            })
        });
    assert_eq!(talk.told(), "POST /x; 1: +100");
    talk.data(1, &"x".repeat(50), false).head(1, &[("a", "b")], true).hold();
    // No more comes, so nobody needs room.
    assert_eq!(talk.told(), "1: reset INTERNAL_ERROR");
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let fields = [&POST[..], &[("expect", "100-continue")]].concat();
    check(
        |talk| {
            talk.head(1, &fields, false).serve(|_, stream, mut body| {
                Box::pin(async move {
                    let _ = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
                    drop(stream);
                })
            })
        },
        "POST /x; 1: 100",
    );
}

#[test]
fn what_nobody_can_read_ends_the_connection() {
    let row = |frames: fn(&mut Talk) -> &mut Talk, expected: &str| check(|talk| frames(talk).hold(), expected);
    row(|talk| talk.data(1, "x", true), "goaway PROTOCOL_ERROR");
    row(|talk| talk.get(2), "goaway PROTOCOL_ERROR");
    row(|talk| talk.get(5).get(3), "GET /x; goaway STREAM_CLOSED");
    row(
        |talk| talk.say(|out| frame::reset(out, 1, Reason::CANCEL)),
        "goaway PROTOCOL_ERROR",
    );
    row(|talk| talk.say(|out| frame::window(out, 1, 1)), "goaway PROTOCOL_ERROR");
    row(
        |talk| talk.say(|out| frame::window(out, 0, STREAM_MAX)),
        "goaway FLOW_CONTROL_ERROR",
    );
    row(
        |talk| talk.say(|out| out.extend_from_slice(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x80])),
        "goaway COMPRESSION_ERROR",
    );
    // Half a head, then something else; more of a head that has not begun; of another stream.
    fn half(out: &mut Vec<u8>) {
        out.extend_from_slice(&[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82]);
    }
    row(
        |talk| talk.say(half).say(|out| frame::ping(out, [0; 8], false)),
        "goaway PROTOCOL_ERROR",
    );
    row(
        |talk| talk.say(half).say(|out| frame::window(out, 1, 0)),
        "goaway PROTOCOL_ERROR",
    );
    row(
        |talk| talk.say(|out| out.extend_from_slice(&[0, 0, 1, 9, 4, 0, 0, 0, 1, 0x82])),
        "goaway PROTOCOL_ERROR",
    );
    row(
        |talk| {
            talk.say(half)
                .say(|out| out.extend_from_slice(&[0, 0, 1, 9, 4, 0, 0, 0, 3, 0x84]))
        },
        "goaway PROTOCOL_ERROR",
    );
    let mut talk = Talk::new(SETTINGS);
    talk.wire = BytesMut::from("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(talk.hold().told(), "goaway PROTOCOL_ERROR");
    let mut talk = Talk::new(SETTINGS);
    talk.wire = BytesMut::from(&receive_preface()[..]);
    assert_eq!(talk.get(1).hold().told(), "goaway PROTOCOL_ERROR");
}

#[test]
fn whoever_serves_learns_of_the_end() {
    let row = |frame: fn(&mut Vec<u8>), expected: StreamFault| {
        let mut talk = Talk::new(SETTINGS);
        let heard = Rc::new(std::cell::Cell::new(None));
        let hears = heard.clone();
        talk.head(1, &POST, false).serve(|_, stream, _| {
            let hears = hears.clone();
            Box::pin(async move {
                let done = stream.while_there(std::future::pending::<()>()).await;
                assert_eq!(done, None);
                hears.set(stream.at().fault());
            })
        });
        talk.say(frame).hold();
        assert_eq!(heard.get(), Some(expected));
    };
    row(|out| frame::reset(out, 1, Reason::CANCEL), StreamFault::Reset);
    row(|out| frame::window(out, 1, 0), StreamFault::Malformed);
    row(
        |out| out.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 9]),
        StreamFault::Malformed,
    );
}

#[test]
fn only_so_many_streams_are_served() {
    check(
        |talk| talk.get(1).get(3).get(5).get(7).hold(),
        "GET /x; GET /x; GET /x; 7: reset REFUSED_STREAM",
    );
}

#[test]
fn a_client_is_sent_away_and_what_crosses_that_is_served() {
    let mut talk = Talk::new(SETTINGS);
    talk.get(1).hold();
    talk.connection.leave();
    assert_eq!(talk.get(3).hold().told(), "GET /x; GET /x; goaway NO_ERROR; ping");
    assert!(talk.connection.is_leaving());
    talk.say(|out| frame::ping(out, LEAVING, true)).get(5).hold();
    talk.head(7, &POST, false).data(7, "body", true).hold();
    assert_eq!(talk.told(), "goaway NO_ERROR");
    assert!(!talk.connection.is_over() && !talk.connection.is_leaving());
    talk.tasks.clear();
    assert!(talk.connection.is_over());
}

#[test]
fn floods_end_a_connection() {
    let row = |most: usize, frame: fn(&mut Vec<u8>)| {
        let mut talk = Talk::new(SETTINGS);
        talk.head(1, &POST, false).hold();
        for _ in 0..most {
            talk.say(frame);
        }
        let told = talk.hold().told();
        assert!(!told.contains("goaway"), "{most} are no flood");
        for _ in 0..most + 2 {
            talk.say(frame);
        }
        assert!(talk.hold().told().ends_with("goaway ENHANCE_YOUR_CALM"), "{most}");
    };
    row(999, |out| frame::ping(out, [0; 8], false));
    row(999, |out| frame::say_settings(out, &frame::Settings::default()));
    row(200, |out| {
        out.extend_from_slice(&[0, 0, 5, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 9])
    });
    row(7, |out| frame::window(out, 0, 1));
    row(1, |out| frame::data(out, 1, 0, false));
    row(1000, |out| frame::reset(out, 1, Reason::CANCEL));
}

/// What of a body may be sent of each stream, as a peer counts it.
#[derive(Debug, Default)]
struct Counts {
    windows: BTreeMap<u32, i64>,
    connection: i64,
    got: BTreeMap<u32, usize>,
    ended: usize,
}

impl Counts {
    fn take(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            if let Frame::Data {
                stream, charged, ends, ..
            } = frame
            {
                self.connection -= i64::from(charged);
                *self.windows.get_mut(&stream).unwrap() -= i64::from(charged);
                assert!(self.connection >= 0 && self.windows[&stream] >= 0, "more than fits");
                *self.got.entry(stream).or_default() += charged as usize;
                self.ended += usize::from(ends);
            }
        }
    }
}

proptest! {
    /// Whatever windows a client gives, in whatever order, it gets all of every body, and never more than it has room for.
    #[test]
    fn bodies_come_as_windows_let_them(
        bodies in proptest::collection::vec(proptest::collection::vec(0_usize..40_000, 0..5), 1..6),
        initial in 0_u32..50_000,
        steps in proptest::collection::vec((0_usize..8, 1_u32..60_000), 0..60),
    ) {
        let settings = Settings { streams_max: 10, ..SETTINGS };
        let mut talk = Talk::new(settings);
        let mut counts = Counts { connection: 65_535, ..Counts::default() };
        talk.say(|out| frame::say_settings(out, &frame::Settings { window_bytes: Some(initial), ..frame::Settings::default() }));
        let mut left = bodies.clone().into_iter();
        for at in 0..bodies.len() as u32 {
            counts.windows.insert(at * 2 + 1, i64::from(initial));
            talk.get(at * 2 + 1);
        }
        talk.serve(|_, stream, _| {
            let body = body(&left.next().unwrap());
            Box::pin(async move {
                let (head, body) = Response::new(body).into_parts();
                stream.answer(head, body, &HeaderValue::from_static("now")).await;
            })
        });
        counts.take(talk.heard());
        let mut grant = |talk: &mut Talk, counts: &mut Counts, id: u32, bytes: u32| {
            // No flood: the client takes what it was sent meanwhile.
            talk.connection.0.borrow_mut().floods = Floods::new(talk.now);
            talk.say(|out| frame::window(out, id, bytes)).hold();
            match id {
                0 => counts.connection += i64::from(bytes),
                id => *counts.windows.get_mut(&id).unwrap() += i64::from(bytes),
            }
            let waiting = talk.connection.written().0;
            assert!(waiting < (64 << 10) + PAYLOAD_BYTES_MAX + 1000, "{waiting} bytes wait");
            counts.take(talk.heard());
            talk.run();
            counts.take(talk.heard());
        };
        for (stream, bytes) in steps {
            let id = if stream == 0 { 0 } else { (stream as u32 - 1) * 2 + 1 };
            if id == 0 || counts.windows.contains_key(&id) {
                grant(&mut talk, &mut counts, id, bytes);
            }
        }
        let ids: Vec<u32> = counts.windows.keys().copied().collect();
        for id in ids.into_iter().chain([0]) {
            grant(&mut talk, &mut counts, id, 400_000);
        }
        for _ in 0..100 {
            talk.run();
            counts.take(talk.heard());
        }
        prop_assert_eq!(counts.ended, bodies.iter().filter(|body| !body.is_empty()).count());
        for (at, body) in bodies.iter().enumerate() {
            let got = counts.got.get(&(at as u32 * 2 + 1)).copied().unwrap_or_default();
            prop_assert_eq!(got, body.iter().sum::<usize>());
        }
        prop_assert!(talk.tasks.is_empty() && talk.connection.is_idle());
    }

    /// Whatever frames come: nothing panics, and nothing grows beyond its bounds.
    #[test]
    fn any_frames_stay_within_bounds(
        frames in proptest::collection::vec((0_u8..11, any::<u8>(), 0_u32..8, proptest::collection::vec(any::<u8>(), 0..30)), 0..80),
        piece in 1_usize..60,
    ) {
        let mut talk = Talk::new(SETTINGS);
        for (kind, flags, stream, payload) in frames {
            talk.say(|out| match kind {
                10 => head(out, stream, &GET, flags & 1 != 0),
                kind => {
                    out.extend_from_slice(&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream as u8]);
                    out.extend_from_slice(&payload);
                }
            });
        }
        let all = talk.wire.split();
        for piece in all.chunks(piece) {
            talk.wire.extend_from_slice(piece);
            talk.hold();
            let state = talk.connection.0.borrow();
            prop_assert!(state.streams.len() <= 3 && state.resets.len() <= REMEMBERED_MAX);
            prop_assert!(state.output.waiting() < 20_000);
        }
    }
}
