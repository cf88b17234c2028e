//! Group D: many, long or slow things, after which others must be served and memory must not have grown.

use crate::attack::row::{Attack, Frame, Group};
use crate::wire::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

fn get() -> Vec<(&'static str, &'static str)> {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "e"),
        (":path", "/x"),
    ]
}

/// A head of one byte a field: one long value in the table, then its index over and over (CVE-2026-47774).
fn bomb(value_bytes: usize, references: usize) -> Vec<u8> {
    // :method GET, :scheme http, :path /, and a new name with a value that the table keeps.
    let mut block = vec![0x82, 0x86, 0x84, 0x40, 1, b'a', 0x7f];
    let mut rest = value_bytes - 0x7f;
    while rest >= 0x80 {
        block.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
    block.extend(std::iter::repeat_n(b'v', value_bytes));
    block.extend(std::iter::repeat_n(0xbe, references));
    block
}

fn block(parts: Vec<u8>) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut chunks = parts.chunks(16_000).peekable();
    let mut kind = HEADERS;
    while let Some(chunk) = chunks.next() {
        let last = if chunks.peek().is_none() { END_HEADERS } else { 0 };
        let end = if kind == HEADERS { END_STREAM } else { 0 };
        frames.push(Frame::Raw(kind, last | end, 1, chunk.to_vec()));
        kind = CONTINUATION;
    }
    frames
}

/// Literals of different names, without a table.
fn names(count: usize, bytes: usize) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84];
    for number in 0..count {
        let name = format!("n{number}");
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(bytes as u8);
        block.extend(std::iter::repeat_n(b'v', bytes));
    }
    block
}

fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Attack> {
    let mut rows = of_frames();
    let h1 = |name: &str, bytes: String| Attack::h1(Group::Resources, name, "plain", kept(bytes));
    let lines = |count: usize, value: &str| {
        (0..count)
            .map(|number| format!("n{number}: {value}\r\n"))
            .collect::<String>()
    };
    let head = "GET /x HTTP/1.1\r\nhost: e\r\n";
    rows.extend([
        h1("100 headers", format!("{head}{}\r\n", lines(98, "v"))),
        h1("101 headers", format!("{head}{}\r\n", lines(101, "v"))),
        h1("10,000 headers", format!("{head}{}\r\n", lines(10_000, "v"))),
        h1("one header many times", format!("{head}{}\r\n", "a: b\r\n".repeat(5_000))),
        h1("head of 59 KiB", format!("{head}x: {}\r\n\r\n", "a".repeat(59 << 10))),
        h1("head of 61 KiB", format!("{head}x: {}\r\n\r\n", "a".repeat(61 << 10))),
        h1("head of 10 MiB", format!("{head}x: {}\r\n\r\n", "a".repeat(10 << 20))),
        h1("target of 100 KiB", format!("GET /{} HTTP/1.1\r\nhost: e\r\n\r\n", "a".repeat(100 << 10))),
        h1("host of 100 KiB", format!("GET /x HTTP/1.1\r\nhost: {}\r\n\r\n", "a".repeat(100 << 10))),
        h1("name of 100 KiB", format!("{head}{}: 1\r\n\r\n", "a".repeat(100 << 10))),
        h1("method of 100 KiB", format!("{} /x HTTP/1.1\r\nhost: e\r\n\r\n", "A".repeat(100 << 10))),
        h1("head that does not end", format!("{head}{}", "x: y\r\n".repeat(3))),
        h1("empty lines", "\r\n".repeat(10_000)),
        h1("chunks of one byte", format!("POST /x HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", "1\r\na\r\n".repeat(20_000))),
        h1("10,000 trailers", format!("POST /x HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}\r\n", lines(10_000, "v"))),
        h1("trailer of 10 MiB", format!("POST /x HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: {}\r\n\r\n", "a".repeat(10 << 20))),
        h1("200 requests at once", "GET /x HTTP/1.1\r\nhost: e\r\n\r\n".repeat(200)).answers(200),
    ]);
    rows.extend([
        Attack::crowd("300 silent connections", "plain", "", 300),
        Attack::crowd("300 halves of a head", "plain", "GET /x HTTP/1.1\r\nho", 300),
        Attack::crowd("300 bodies that do not come", "plain", "POST /own HTTP/1.1\r\nhost: e\r\ncontent-length: 9\r\n\r\n", 300),
        Attack::crowd("300 prefaces of HTTP/2", "plain", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 300),
        Attack::crowd("300 silent connections of TLS", "mutual", "", 300),
        Attack::crowd("300 halves of a ClientHello", "mutual", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}", 300),
        Attack::crowd("300 times what is no TLS", "mutual", "GET / HTTP/1.1\r\nhost: e\r\n\r\n", 300),
    ]);
    rows
}

#[rustfmt::skip]
fn of_frames() -> Vec<Attack> {
    let row = |name: &str, frames: Vec<Frame>| {
        Attack::frames(Group::Resources, &format!("HTTP/2: {name}"), "plain", frames, &[1])
    };
    let head = Frame::Head(1, get(), true);
    let open = || {
        Frame::Head(
            1,
            vec![
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "e"),
                (":path", "/x"),
            ],
            false,
        )
    };
    let reset = |stream: u32| Frame::Raw(RST_STREAM, 0, stream, vec![0, 0, 0, 8]);
    let then = |flood: Vec<Frame>| vec![head.clone(), Frame::Times(20_000, flood)];
    let mut rows = vec![
        row("rapid reset", vec![Frame::Streams(20_000, |stream| { vec![Frame::Head(stream, get(), true), Frame::Raw(RST_STREAM, 0, stream, vec![0, 0, 0, 8])] })]),
        row("streams that break rules, and so are reset by the server", vec![Frame::Streams(20_000, |stream| { vec![Frame::Head(stream, get(), true), Frame::Raw(WINDOW_UPDATE, 0, stream, vec![0; 4])] })]),
        row("streams without an end", vec![Frame::Streams(2_000, |stream| { vec![Frame::Head(stream, vec![(":method", "POST"), (":scheme", "http"), (":authority", "e"), (":path", "/x")], false)] })]),
        row("settings", then(vec![Frame::Raw(SETTINGS, 0, 0, vec![0, 3, 0, 0, 0, 100])])),
        row("empty settings", then(vec![Frame::Raw(SETTINGS, 0, 0, vec![])])),
        row("pings", then(vec![Frame::Raw(PING, 0, 0, vec![0; 8])])),
        row("acknowledgements of pings", then(vec![Frame::Raw(PING, 1, 0, vec![0; 8])])),
        row("priorities", then(vec![Frame::Raw(PRIORITY, 0, 9, vec![0, 0, 0, 0, 9])])),
        row("windows of one byte", then(vec![Frame::Raw(WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 1])])),
        row("unknown frames", then(vec![Frame::Raw(0xaa, 0, 0, vec![0; 8])])),
        row("resets of one stream", then(vec![reset(1)])),
        row("empty data", vec![open(), Frame::Times(20_000, vec![Frame::Raw(DATA, 0, 1, vec![])])]),
        row("data of one byte", vec![open(), Frame::Times(20_000, vec![Frame::Data(1, "a", false)]), Frame::Data(1, "", true)]),
        row("padding alone", vec![open(), Frame::Times(20_000, vec![Frame::Raw(DATA, 8, 1, vec![2, 0, 0])])]),
        row("continuations without an end", vec![Frame::Raw(HEADERS, END_STREAM, 1, vec![0x82]), Frame::Times(20_000, vec![Frame::Raw(CONTINUATION, 0, 1, names(20, 30).split_off(3))])]),
        row("empty continuations", vec![Frame::Raw(HEADERS, END_STREAM, 1, vec![0x82, 0x86, 0x84]), Frame::Times(20_000, vec![Frame::Raw(CONTINUATION, 0, 1, vec![])])]),
    ];
    for (name, parts) in [
        ("101 fields", names(101, 1)),
        ("25,000 names", names(25_000, 1)),
        ("fields without a value", names(5_000, 0)),
        ("bomb of one byte references", bomb(4_000, 16_000)),
        ("bomb of many references", bomb(4_000, 200_000)),
        ("bomb of small values", bomb(200, 60_000)),
        ("head of 61 KiB", names(610, 100)),
    ] {
        rows.push(row(name, block(parts)));
    }
    rows.push(row(
        "cookie crumbs",
        vec![Frame::Head(1, [get(), vec![("cookie", "a=b"); 5_000]].concat(), true)],
    ));
    rows.push(row(
        "cookie crumbs without a value",
        vec![Frame::Head(1, [get(), vec![("cookie", ""); 20_000]].concat(), true)],
    ));
    rows
}
