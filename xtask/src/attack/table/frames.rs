//! Group C over HTTP/2: what a body's length says beside its frames, and frames that should not be.

use crate::attack::row::{Attack, Frame, Group, Upstream};
use crate::wire::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

/// Fields as a table has them.
type Pairs = &'static [(&'static str, &'static str)];
type Fields = Vec<(&'static str, &'static str)>;

fn post(more: &[(&'static str, &'static str)]) -> Fields {
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "e"),
        (":path", "/x"),
    ];
    fields.extend_from_slice(more);
    fields
}

fn get(path: &'static str) -> Fields {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "e"),
        (":path", path),
    ]
}

/// Lengths beside a body.
#[rustfmt::skip]
const LENGTHS: &[(&str, Pairs, &str)] = &[
    ("length too small", &[("content-length", "1")], "hello"),
    ("length too large", &[("content-length", "9")], "hello"),
    ("length 0 with a body", &[("content-length", "0")], "hello"),
    ("length without a body", &[("content-length", "5")], ""),
    ("two lengths", &[("content-length", "5"), ("content-length", "6")], "hello"),
    ("one length twice", &[("content-length", "5"), ("content-length", "5")], "hello"),
    ("list of lengths", &[("content-length", "5, 5")], "hello"),
    ("length with a plus", &[("content-length", "+5")], "hello"),
    ("length in hex", &[("content-length", "0x5")], "hello"),
    ("length with a space", &[("content-length", " 5")], "hello"),
    ("length that is none", &[("content-length", "five")], "hello"),
    ("length of 2^64 + 5", &[("content-length", "18446744073709551621")], "hello"),
    ("length with CRLF", &[("content-length", "5\r\ntransfer-encoding: chunked")], "hello"),
    ("transfer-encoding with a body", &[("transfer-encoding", "chunked")], "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n"),
    ("smuggled behind a length", &[("content-length", "0")], "GET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n"),
    ("expect", &[("expect", "100-continue"), ("content-length", "5")], "hello"),
    ("websocket in the manner of HTTP/1", &[("connection", "upgrade"), ("upgrade", "websocket")], "hello"),
];

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Attack> {
    let row = |name: &str, frames: Vec<Frame>| {
        Attack::frames(Group::Framing, &format!("HTTP/2: {name}"), "upgrades", frames, &[1])
    };
    let head = |fields: Fields, end: bool| Frame::Head(1, fields, end);
    let mut rows: Vec<Attack> = LENGTHS
        .iter()
        .map(|(name, fields, body)| {
            let mut frames = vec![head(post(fields), body.is_empty())];
            if !body.is_empty() {
                frames.push(Frame::Data(1, body, true));
            }
            row(name, frames)
        })
        .collect();
    let connect = vec![(":method", "CONNECT"), (":authority", "e:80")];
    rows.extend([
        row("trailers with a length", vec![head(post(&[]), false), Frame::Data(1, "hello", false), head(vec![("content-length", "9")], true)]),
        row("trailers with a pseudo-header", vec![head(post(&[]), false), Frame::Data(1, "hello", false), head(vec![(":path", "/y")], true)]),
        row("trailers in upper case", vec![head(post(&[]), false), Frame::Data(1, "hello", false), head(vec![("X-T", "1")], true)]),
        row("trailers with CRLF", vec![head(post(&[]), false), Frame::Data(1, "hello", false), head(vec![("x-t", "1\r\n\r\nGET /smuggled HTTP/1.1")], true)]),
        row("trailers with connection", vec![head(post(&[]), false), Frame::Data(1, "hello", false), head(vec![("connection", "close")], true)]),
        row("trailers with transfer-encoding", vec![head(post(&[]), false), Frame::Data(1, "hello", false), head(vec![("transfer-encoding", "chunked")], true)]),
        row("trailers with host", vec![head(post(&[]), false), Frame::Data(1, "hello", false), head(vec![("host", "secret.test")], true)]),
        row("trailers that do not end", vec![head(post(&[]), false), head(vec![("x-t", "1")], false)]),
        row("second head", vec![head(post(&[]), false), head(get("/second"), true)]),
        row("data behind the end", vec![head(get("/x"), true), Frame::Data(1, "GET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n", true)]),
        row("data without a head", vec![Frame::Data(1, "hello", true)]),
        row("data on stream 0", vec![head(get("/x"), true), Frame::Data(0, "hello", true)]),
        row("head on an even stream", vec![Frame::Head(2, get("/x"), true)]),
        row("head on stream 0", vec![Frame::Head(0, get("/x"), true)]),
        row("head on an older stream", vec![Frame::Head(5, get("/x"), true), Frame::Head(3, get("/smuggled"), true)]),
        row("reset of a stream that is idle", vec![Frame::Raw(RST_STREAM, 0, 9, vec![0, 0, 0, 8])]),
        row("reset right behind a head", vec![head(post(&[]), false), Frame::Raw(RST_STREAM, 0, 1, vec![0, 0, 0, 8])]),
        row("reset in the body", vec![head(post(&[("content-length", "9")]), false), Frame::Data(1, "hello", false), Frame::Raw(RST_STREAM, 0, 1, vec![0, 0, 0, 8])]),
        row("body that does not end", vec![head(post(&[("content-length", "9")]), false), Frame::Data(1, "hello", false)]),
        row("body that is aborted", vec![head(post(&[("content-length", "9")]), false), Frame::Data(1, "hello", false)]).abort(),
        row("continuation of another stream", vec![Frame::Raw(HEADERS, END_STREAM, 1, vec![0x82]), Frame::Raw(CONTINUATION, END_HEADERS, 3, vec![0x84])]),
        row("continuation of nothing", vec![Frame::Raw(CONTINUATION, END_HEADERS, 1, vec![0x82])]),
        row("another frame between a head's", vec![Frame::Raw(HEADERS, END_STREAM, 1, vec![0x82]), Frame::Raw(PING, 0, 0, vec![0; 8])]),
        row("padding as long as the frame", vec![head(post(&[]), false), Frame::Raw(DATA, 8 | END_STREAM, 1, vec![9, 0, 0])]),
        row("priority on itself", vec![Frame::Raw(PRIORITY, 0, 1, vec![0, 0, 0, 1, 0])]),
        row("window of 0", vec![head(get("/x"), true), Frame::Raw(WINDOW_UPDATE, 0, 0, vec![0; 4])]),
        row("window too large", vec![head(get("/x"), true), Frame::Raw(WINDOW_UPDATE, 0, 0, vec![0x7f, 0xff, 0xff, 0xff])]),
        row("settings of 5 bytes", vec![Frame::Raw(SETTINGS, 0, 0, vec![0; 5])]),
        row("settings on a stream", vec![Frame::Raw(SETTINGS, 0, 1, vec![])]),
        row("settings with a window too large", vec![Frame::Raw(SETTINGS, 0, 0, vec![0, 4, 0xff, 0xff, 0xff, 0xff])]),
        row("ping of 7 bytes", vec![Frame::Raw(PING, 0, 0, vec![0; 7])]),
        row("goaway, then a request", vec![Frame::Raw(GOAWAY, 0, 0, vec![0; 8]), head(get("/x"), true)]),
        row("unknown frame", vec![Frame::Raw(0xfe, 0xff, 0, vec![1; 100]), head(get("/x"), true)]),
        row("push from a client", vec![Frame::Raw(5, END_HEADERS, 1, vec![0, 0, 0, 2, 0x82])]),
        row("block that is none", vec![Frame::Raw(HEADERS, END_HEADERS | END_STREAM, 1, vec![0xff; 40])]),
        row("index that is not in the table", vec![Frame::Raw(HEADERS, END_HEADERS | END_STREAM, 1, vec![0xbe, 0xbf])]),
        row("frame that is too large", vec![Frame::Raw(DATA, 0, 1, vec![0; 20_000])]),
        row("CONNECT with early bytes", vec![head(connect, false), Frame::Data(1, "GET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n", false)]),
    ]);
    for (name, upstream) in [
        ("answers early", Upstream::Early),
        ("stalls", Upstream::Stalls),
        ("aborts", Upstream::Aborts),
        ("sends garbage", Upstream::Says("\0\u{1}garbage\r\n\r\n")),
    ] {
        let frames = vec![
            head(post(&[("content-length", "90")]), false),
            Frame::Data(1, "GET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n", false),
        ];
        rows.push(row(&format!("body that does not end; the upstream {name}"), frames.clone()).upstream(upstream));
        rows.push(
            row(&format!("body that is aborted; the upstream {name}"), frames)
                .upstream(upstream)
                .abort(),
        );
        let whole = vec![head(post(&[]), false), Frame::Data(1, "hello", true)];
        rows.push(row(&format!("whole body; the upstream {name}"), whole).upstream(upstream));
    }
    rows
}
