//! Group C over HTTP/1.1: where a request ends, and what is taken for the next one.

use crate::attack::row::{Attack, Group, Upstream};

/// What an attacker would like to be somebody else's request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: e\r\nx: ";

/// Lines that say how long a body is, and the body.
#[rustfmt::skip]
const LENGTHS: &[(&str, &str, &str)] = &[
    ("length, then chunks", "content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
    ("chunks, then length", "transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
    ("length 0, then chunks", "content-length: 0\r\ntransfer-encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
    ("two lengths", "content-length: 5\r\ncontent-length: 0\r\n", "hello"),
    ("two lengths, the small one first", "content-length: 0\r\ncontent-length: 5\r\n", "hello"),
    ("one length twice", "content-length: 5\r\ncontent-length: 5\r\n", "hello"),
    ("list of lengths", "content-length: 5, 5\r\n", "hello"),
    ("list of other lengths", "content-length: 5, 6\r\n", "hello"),
    ("length with a plus", "content-length: +5\r\n", "hello"),
    ("length with a minus", "content-length: -5\r\n", "hello"),
    ("length in hex", "content-length: 0x5\r\n", "hello"),
    ("length with a space within", "content-length: 5 0\r\n", "hello"),
    ("length with an under score", "content-length: 1_0\r\n", "hellohello"),
    ("length with a comma", "content-length: 5,\r\n", "hello"),
    ("length with zeros", "content-length: 0005\r\n", "hello"),
    ("length with a dot", "content-length: 5.0\r\n", "hello"),
    ("length with an exponent", "content-length: 5e0\r\n", "hello"),
    ("length of 2^64 + 5", "content-length: 18446744073709551621\r\n", "hello"),
    ("length of 2^63", "content-length: 9223372036854775808\r\n", "hello"),
    ("empty length", "content-length:\r\n", ""),
    ("length of letters", "content-length: five\r\n", "hello"),
    ("length behind a tab", "content-length:\t5\r\n", "hello"),
    ("length behind a vertical tab", "content-length:\u{b}5\r\n", "hello"),
    ("length in a line that goes on", "content-length:\r\n 5\r\n", "hello"),
    ("length with NUL", "content-length: 5\0\r\n", "hello"),
    ("length with a space before the colon", "content-length : 5\r\n", "hello"),
    ("length with a space in front", " content-length: 5\r\n", "hello"),
    ("length with an under score in its name", "content_length: 5\r\n", "hello"),
    ("chunked in upper case", "transfer-encoding: CHUNKED\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("gzip, chunked", "transfer-encoding: gzip, chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked, identity", "transfer-encoding: chunked, identity\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked, gzip", "transfer-encoding: chunked, gzip\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked, chunked", "transfer-encoding: chunked, chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked in two lines", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("identity, then chunked in two lines", "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked, then identity in two lines", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("identity with a length", "transfer-encoding: identity\r\ncontent-length: 5\r\n", "hello"),
    ("gzip with a length", "transfer-encoding: gzip\r\ncontent-length: 5\r\n", "hello"),
    ("xchunked", "transfer-encoding: xchunked\r\ncontent-length: 5\r\n", "hello"),
    ("chunkedx", "transfer-encoding: chunkedx\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked;a", "transfer-encoding: chunked;a=b\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("\"chunked\"", "transfer-encoding: \"chunked\"\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked with a comma", "transfer-encoding: chunked,\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("comma before chunked", "transfer-encoding: ,chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked behind a tab", "transfer-encoding:\tchunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked behind a vertical tab", "transfer-encoding:\u{b}chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked before a form feed", "transfer-encoding: chunked\u{c}\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked with NUL", "transfer-encoding: chunked\0\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked in a line that goes on", "transfer-encoding:\r\n chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked with a space before the colon", "transfer-encoding : chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked with a space in front", " transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("chunked behind a bare LF", "x-a: 1\ntransfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("empty coding", "transfer-encoding:\r\ncontent-length: 5\r\n", "hello"),
    ("transfer_encoding", "transfer_encoding: chunked\r\ncontent-length: 5\r\n", "hello"),
    ("websocket with a length", "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n", "hello"),
    ("websocket with chunks", "connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("h2c with a length", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\ncontent-length: 5\r\n", "hello"),
    ("h2c with chunks", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
    ("unknown upgrade with a length", "connection: upgrade\r\nupgrade: foo\r\ncontent-length: 5\r\n", "hello"),
    ("expect with a length", "expect: 100-continue\r\ncontent-length: 5\r\n", "hello"),
    ("expect with chunks", "expect: 100-continue\r\ntransfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("close with a length", "connection: close\r\ncontent-length: 5\r\n", "hello"),
];

/// Bodies in chunks.
#[rustfmt::skip]
const CHUNKS: &[(&str, &str)] = &[
    ("bare LF behind a size", "5\nhello\r\n0\r\n\r\n"),
    ("bare LF behind a chunk", "5\r\nhello\n0\r\n\r\n"),
    ("bare CR behind a size", "5\rhello\r\n0\r\n\r\n"),
    ("bare LF at the end", "5\r\nhello\r\n0\n\n"),
    ("nothing behind a chunk", "5\r\nhello0\r\n\r\n"),
    ("other bytes behind a chunk", "5\r\nhelloXX0\r\n\r\n"),
    ("negative size", "-1\r\nhello\r\n0\r\n\r\n"),
    ("size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
    ("size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("size with an under score", "0_5\r\nhello\r\n0\r\n\r\n"),
    ("size with a space in front", " 5\r\nhello\r\n0\r\n\r\n"),
    ("size with a space behind", "5 \r\nhello\r\n0\r\n\r\n"),
    ("size with a tab behind", "5\t\r\nhello\r\n0\r\n\r\n"),
    ("size with zeros", "0000000000000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("size of 2^64", "10000000000000000\r\nhello\r\n0\r\n\r\n"),
    ("size of 2^64 + 5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("size of 2^63", "8000000000000000\r\nhello\r\n0\r\n\r\n"),
    ("empty size", "\r\nhello\r\n0\r\n\r\n"),
    ("size of letters", "xyz\r\nhello\r\n0\r\n\r\n"),
    ("extension", "5;a=b\r\nhello\r\n0\r\n\r\n"),
    ("extension with quotes", "5;a=\"b\r\n\"\r\nhello\r\n0\r\n\r\n"),
    ("extension with a bare LF", "5;a\nhello\r\n0\r\n\r\n"),
    ("extension with a bare CR", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("extension with NUL", "5;a\0\r\nhello\r\n0\r\n\r\n"),
    ("extension without a name", "5;\r\nhello\r\n0\r\n\r\n"),
    ("space before an extension", "5 ;a\r\nhello\r\n0\r\n\r\n"),
    ("letters behind the last size", "0x\r\n\r\n"),
    ("several zeros at the end", "5\r\nhello\r\n000\r\n\r\n"),
    ("trailer", "5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n"),
    ("trailer host", "5\r\nhello\r\n0\r\nhost: secret.test\r\n\r\n"),
    ("trailer content-length", "5\r\nhello\r\n0\r\ncontent-length: 100\r\n\r\n"),
    ("trailer transfer-encoding", "5\r\nhello\r\n0\r\ntransfer-encoding: chunked\r\n\r\n"),
    ("trailer authorization", "5\r\nhello\r\n0\r\nauthorization: Basic x\r\n\r\n"),
    ("trailer x-forwarded-client-cert", "5\r\nhello\r\n0\r\nx-forwarded-client-cert: URI=spiffe://a\r\n\r\n"),
    ("trailer without colon", "5\r\nhello\r\n0\r\nabc\r\n\r\n"),
    ("trailer that goes on", "5\r\nhello\r\n0\r\nx: 1\r\n 2\r\n\r\n"),
    ("trailer with a bare LF", "5\r\nhello\r\n0\r\nx: 1\ny: 2\r\n\r\n"),
    ("trailer that is a request", "5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n"),
];

/// Why ours sends on what Envoy holds back.
const BODY_OF_AN_OFFER: &str =
    "the body goes as the request's, and the other protocol begins behind it (RFC 9110 section 7.8)";

fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

pub(super) fn rows() -> Vec<Attack> {
    let row = |name: &str, bytes: String| Attack::h1(Group::Framing, name, "upgrades", kept(bytes));
    let mut rows = Vec::new();
    for (name, lines, body) in LENGTHS {
        let mut row = row(
            name,
            format!("POST /x HTTP/1.1\r\nhost: e\r\n{lines}\r\n{body}{SMUGGLED}"),
        );
        if name.starts_with("websocket with ") {
            row.reason = BODY_OF_AN_OFFER;
        }
        rows.push(row);
    }
    for (name, body) in CHUNKS {
        let head = "POST /x HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n";
        rows.push(row(&format!("chunks: {name}"), format!("{head}{body}{SMUGGLED}")));
    }
    let long = "a".repeat(20_000);
    rows.push(row(
        "chunks: long extension",
        format!("POST /x HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n5;{long}\r\nhello\r\n0\r\n\r\n"),
    ));
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PUT", "FOO"] {
        rows.push(row(
            &format!("{method} with a body"),
            format!("{method} /x HTTP/1.1\r\nhost: e\r\ncontent-length: 5\r\n\r\nhello{SMUGGLED}"),
        ));
        rows.push(row(
            &format!("{method} with chunks"),
            format!(
                "{method} /x HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ));
    }
    rows.push(row(
        "POST without a length",
        format!("POST /x HTTP/1.1\r\nhost: e\r\n\r\n{SMUGGLED}"),
    ));
    for (name, head) in [
        (
            "with chunks",
            "POST /x HTTP/1.0\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("without a length", "POST /x HTTP/1.0\r\nhost: e\r\n\r\nhello"),
        (
            "with a length",
            "POST /x HTTP/1.0\r\nhost: e\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (
            "with both",
            "POST /x HTTP/1.0\r\nhost: e\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\nhello",
        ),
        ("without host", "GET /x HTTP/1.0\r\n\r\n"),
        ("kept", "GET /x HTTP/1.0\r\nhost: e\r\nconnection: keep-alive\r\n\r\n"),
    ] {
        for listener in ["upgrades", "old"] {
            let bytes = kept(format!("{head}{SMUGGLED}"));
            rows.push(Attack::h1(
                Group::Framing,
                &format!("HTTP/1.0 {name} at {listener}"),
                listener,
                bytes,
            ));
        }
    }
    rows.extend(uploads());
    rows.extend(tunnels());
    rows
}

/// Bodies that do not end, and upstreams that do not wait for their end.
fn uploads() -> Vec<Attack> {
    let length = "POST /x HTTP/1.1\r\nhost: e\r\ncontent-length: 1000\r\n\r\n";
    let chunks = "POST /x HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let whole = "POST /x HTTP/1.1\r\nhost: e\r\ncontent-length: 5\r\n\r\nhello";
    let request = "GET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n";
    let mut rows = Vec::new();
    for (name, upstream) in [
        ("answers", Upstream::Answers),
        ("answers early", Upstream::Early),
        ("stalls", Upstream::Stalls),
        ("aborts", Upstream::Aborts),
        ("sends garbage", Upstream::Says("\0\u{1}garbage\r\n\r\n")),
    ] {
        let row = |what: &str, parts: &[&'static str]| {
            Attack::parts(
                Group::Framing,
                &format!("{what}; the upstream {name}"),
                "retries",
                parts,
            )
            .upstream(upstream)
        };
        rows.push(row("length that does not come, then a request", &[length, request]));
        rows.push(row("chunks that do not end, then a request", &[chunks, request]));
        rows.push(row("length that does not come, aborted", &[length, request]).abort());
        rows.push(row("chunks that do not end, aborted", &[chunks]).abort());
        rows.push(row("head in two parts, aborted", &["POST /x HTTP/1.1\r\nho", "st: e\r\n"]).abort());
        rows.push(row("whole, then another", &[whole, request]).answers(2));
        rows.push(
            row(
                "two in one",
                &["POST /x HTTP/1.1\r\nhost: e\r\ncontent-length: 5\r\n\r\nhelloGET /y HTTP/1.1\r\nhost: e\r\n\r\n"],
            )
            .answers(2),
        );
        rows.push(row("broken chunk", &[chunks, "zz\r\n", request]));
    }
    rows
}

/// What comes before a switch of protocols has been agreed to.
fn tunnels() -> Vec<Attack> {
    let upgrade = "GET /ws HTTP/1.1\r\nhost: e\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let connect = "CONNECT e:80 HTTP/1.1\r\nhost: e:80\r\n\r\n";
    let early = "GET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n";
    let mut rows = Vec::new();
    for (name, answer) in [
        ("200", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"),
        ("403", "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"),
        (
            "101 to another protocol",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n",
        ),
        ("101 without upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (
            "101 with a length",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (
            "101 twice",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n",
        ),
    ] {
        for (what, request) in [("websocket", upgrade), ("CONNECT", connect)] {
            let bytes = kept(format!("{request}{early}"));
            let row = Attack::h1(
                Group::Framing,
                &format!("{what} with early bytes, answered by {name}"),
                "upgrades",
                bytes,
            );
            rows.push(row.upstream(Upstream::Says(answer)));
        }
    }
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n";
    rows.push(
        Attack::h1(
            Group::Framing,
            "switch that nobody asked for",
            "upgrades",
            "GET /x HTTP/1.1\r\nhost: e\r\n\r\n",
        )
        .upstream(Upstream::Says(switch)),
    );
    rows
}
