//! Group C from the other side: answers that split, that are surplus, or that poison the next client's.

use crate::attack::row::{Attack, Group, Upstream};

/// What an upstream sends to a GET; it keeps the connection open.
#[rustfmt::skip]
const ANSWERS: &[(&str, &str)] = &[
    ("length, then chunks", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("chunks, then length", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 2\r\n\r\nhello"),
    ("one length twice", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello"),
    ("list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello"),
    ("length with a plus", "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello"),
    ("length in hex", "HTTP/1.1 200 OK\r\ncontent-length: 0x5\r\n\r\nhello"),
    ("length that is none", "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello"),
    ("negative length", "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello"),
    ("length too large", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551621\r\n\r\nhello"),
    ("gzip, chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("chunked twice", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("identity", "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello"),
    ("xchunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\ncontent-length: 5\r\n\r\nhello"),
    ("chunks of HTTP/1.0", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("surplus answer", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"),
    ("surplus bytes", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhello"),
    ("surplus behind chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"),
    ("surplus behind 204", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"),
    ("204 with a length", "HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\npoison"),
    ("204 with chunks", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n"),
    ("304 with a body", "HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\npoison"),
    ("205 with a body", "HTTP/1.1 205 Reset Content\r\ncontent-length: 6\r\n\r\npoison"),
    ("many 100", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("102, 103", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("1xx with a length", "HTTP/1.1 103 Early Hints\r\ncontent-length: 6\r\n\r\npoisonHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\npoison"),
    ("status 99", "HTTP/1.1 99 Low\r\ncontent-length: 2\r\n\r\nok"),
    ("status 600", "HTTP/1.1 600 High\r\ncontent-length: 2\r\n\r\nok"),
    ("status 1000", "HTTP/1.1 1000 Higher\r\ncontent-length: 2\r\n\r\nok"),
    ("status 000", "HTTP/1.1 000 Zero\r\ncontent-length: 2\r\n\r\nok"),
    ("status of letters", "HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\nok"),
    ("status without a phrase", "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"),
    ("status with a plus", "HTTP/1.1 +200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("HTTP/2.0", "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("HTTP/0.9", "just text\r\n\r\n"),
    ("request for an answer", "GET /x HTTP/1.1\r\nhost: e\r\n\r\n"),
    ("line that goes on", "HTTP/1.1 200 OK\r\nx-a: 1\r\n 2\r\ncontent-length: 2\r\n\r\nok"),
    ("space before a colon", "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok"),
    ("space in front of a name", "HTTP/1.1 200 OK\r\n content-length: 2\r\n\r\nok"),
    ("bare LF", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
    ("bare CR in a value", "HTTP/1.1 200 OK\r\nx-a: 1\rset-cookie: b\r\ncontent-length: 2\r\n\r\nok"),
    ("NUL in a value", "HTTP/1.1 200 OK\r\nx-a: 1\0\r\ncontent-length: 2\r\n\r\nok"),
    ("value above ASCII", "HTTP/1.1 200 OK\r\nx-a: \u{e4}\u{ff}\r\ncontent-length: 2\r\n\r\nok"),
    ("no colon", "HTTP/1.1 200 OK\r\nx-a\r\ncontent-length: 2\r\n\r\nok"),
    ("pseudo-header", "HTTP/1.1 200 OK\r\n:status: 500\r\ncontent-length: 2\r\n\r\nok"),
    ("connection names set-cookie", "HTTP/1.1 200 OK\r\nconnection: set-cookie\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nok"),
    ("hop-by-hop", "HTTP/1.1 200 OK\r\nconnection: x-a\r\nx-a: 1\r\nkeep-alive: 5\r\nproxy-connection: close\r\ncontent-length: 2\r\n\r\nok"),
    ("upgrade in an answer", "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nok"),
    ("forged date and server", "HTTP/1.1 200 OK\r\nserver: me\r\ndate: never\r\nx-envoy-upstream-service-time: 1\r\ncontent-length: 2\r\n\r\nok"),
    ("chunk of a broken size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
    ("chunk with a bare LF", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    ("chunk without an end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"),
    ("trailer content-length", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ncontent-length: 9\r\n\r\n"),
    ("trailer set-cookie", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nset-cookie: a\r\n\r\n"),
    ("part of a length", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello"),
    ("half a head", "HTTP/1.1 200 OK\r\ncontent-le"),
    ("empty line first", "\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("TLS alert", "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{46}"),
    ("frames of HTTP/2", "\0\0\0\u{4}\0\0\0\0\0\0\0\0\u{4}\u{1}\0\0\0\0"),
];

pub(super) fn rows() -> Vec<Attack> {
    let head = "HEAD /x HTTP/1.1\r\nhost: e\r\n\r\n";
    let get = "GET /x HTTP/1.1\r\nhost: e\r\n\r\n";
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "e"),
        (":path", "/x"),
    ];
    let mut rows = Vec::new();
    for (name, answer) in ANSWERS {
        let name = format!("answer: {name}");
        rows.push(Attack::h1(Group::Framing, &name, "plain", get).upstream(Upstream::Says(answer)));
        rows.push(
            Attack::h1(Group::Framing, &format!("{name}, closed"), "plain", get)
                .upstream(Upstream::SaysAndCloses(answer)),
        );
        rows.push(
            Attack::h1(Group::Framing, &format!("{name}, with retries"), "retries", get)
                .upstream(Upstream::SaysAndCloses(answer)),
        );
        rows.push(
            Attack::h2(Group::Framing, &format!("{name}, to HTTP/2"), "plain", &fields, "")
                .upstream(Upstream::Says(answer)),
        );
    }
    let body = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    rows.push(Attack::h1(Group::Framing, "answer to HEAD with a body", "plain", head).upstream(Upstream::Says(body)));
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n";
    rows.push(Attack::h1(Group::Framing, "answer to HEAD with chunks", "plain", head).upstream(Upstream::Says(chunks)));
    rows
}
