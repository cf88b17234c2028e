//! What comes over connections: bytes of HTTP/1 and HTTP/2, of TLS, of the PROXY protocol and of DNS.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, Version};
use http_body::{Body, Frame};
use tokio::time::Instant;
use weft_proxy::dns::{Entry, NameTable, answered};
use weft_proxy::http::normal_form::{Normalisation, NormalisedPath};
use weft_proxy::http1::decode::{BodyFault, Decoder, Step};
use weft_proxy::http1::framing::{self, Framing};
use weft_proxy::http1::head::{self, Limits};
use weft_proxy::http1::outgoing::Outgoing;
use weft_proxy::http2;
use weft_proxy::http2::connection::{Connection, Event};
use weft_proxy::http2::received_body::ReceivedBody;
use weft_proxy::http2::stream::StreamFault;
use weft_proxy::listen::inspect::{Inspect, judge};
use weft_proxy::listen::proxy_protocol::read_header;
use weft_proxy::model::http::{EscapedSlashes, StripPort};

const LIMITS: Limits = Limits {
    bytes_max: 60 << 10,
    count_max: 100,
};

/// Requests one after the other, as a connection reads them: each byte belongs to one of them, and none is read twice.
pub(crate) fn http1_request(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(request)) = head::request(&mut input, LIMITS) {
        assert!(request.headers.len() <= LIMITS.count_max, "more fields than the limit");
        let Ok(framing) = framing::of_request(&request.method, request.version, &request.headers) else {
            return;
        };
        let coded = request.headers.contains_key("transfer-encoding");
        assert!(
            !(coded && matches!(framing, Framing::Length(_))),
            "a length beside a coding"
        );
        if whole(framing, &mut input).is_err() || input.is_empty() {
            return;
        }
    }
}

/// Answers to GET and HEAD.
pub(crate) fn http1_answer(bytes: &[u8]) {
    for method in [Method::GET, Method::HEAD] {
        let mut input = BytesMut::from(bytes);
        while let Ok(Some(answer)) = head::answer(&mut input, LIMITS) {
            let Ok(framing) = framing::of_answer(&method, answer.status, &answer.headers) else {
                break;
            };
            if framing::is_bodiless(&method, answer.status) {
                assert_eq!(framing, Framing::Empty);
            }
            if whole(framing, &mut input).is_err() || input.is_empty() {
                break;
            }
        }
    }
}

/// A body is the same however its bytes were cut on their way.
pub(crate) fn http1_body(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
    let Ok(framing) = framing::of_request(&Method::POST, Version::HTTP_11, &headers) else {
        return;
    };
    let at_once = read(framing, &[rest]);
    let parts: Vec<&[u8]> = rest.chunks(usize::from(*first % 16) + 1).collect();
    let in_parts = read(framing, &parts);
    assert_eq!(at_once, in_parts, "cut into parts of {}", first % 16 + 1);
}

/// The bytes of a body, with whether it has ended, up to what is wrong with it.
fn read(framing: Framing, parts: &[&[u8]]) -> (Vec<u8>, Result<bool, BodyFault>) {
    let (mut decoder, mut input, mut body) = (Decoder::new(framing), BytesMut::new(), Vec::new());
    for part in parts {
        input.extend_from_slice(part);
        loop {
            match decoder.decode(&mut input) {
                Ok(Step::Data(data)) => body.extend_from_slice(&data),
                Ok(Step::More) => break,
                Ok(Step::End(_)) => return (body, Ok(true)),
                Err(fault) => return (body, Err(fault)),
            }
        }
    }
    (body, Ok(false))
}

/// Takes a body off, of which all is there.
fn whole(framing: Framing, input: &mut BytesMut) -> Result<(), ()> {
    let mut decoder = Decoder::new(framing);
    loop {
        let before = input.len();
        match decoder.decode(input) {
            Ok(Step::Data(data)) => assert!(!data.is_empty() && input.len() < before, "no way forward"),
            Ok(Step::End(_)) => return Ok(()),
            Ok(Step::More) | Err(_) => return Err(()),
        }
    }
}

/// Sends a client its own body back.
struct Echo(ReceivedBody);

impl Body for Echo {
    type Data = Bytes;
    type Error = StreamFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

impl Outgoing for Echo {
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    fn give_up(self: Pin<&mut Self>) {}

    fn poll_due(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Frames into a connection that sends every body back: what waits to be written has a bound, and so has what is served.
pub(crate) fn http2_frames(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let settings = http2::connection::Settings {
        limits: http2::head::Limits {
            bytes_max: 4 << 10,
            count_max: 50,
        },
        streams_max: 8,
        stream_window_bytes: 1000,
        connection_window_bytes: 70_000,
        extended_connect: first & 1 != 0,
    };
    let now = Instant::now();
    let connection = Connection::new(settings, now);
    let mut input = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..]);
    let mut tasks: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    for piece in rest.chunks(usize::from(*first) + 1) {
        input.extend_from_slice(piece);
        while let Some(event) = connection.take(&mut input, now) {
            let Event::Request(_, stream, body) = event else {
                continue;
            };
            let (head, body) = Response::new(Echo(body)).into_parts();
            tasks.push(Box::pin(async move {
                let date = HeaderValue::from_static("now");
                stream.answer(head, body, &date).await;
            }));
        }
        tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
        assert!(tasks.len() <= 8, "{} requests at a time", tasks.len());
        assert!(
            connection.written().0 < 1 << 20,
            "{} bytes wait",
            connection.written().0
        );
        connection.take_output();
    }
    connection.gone();
    tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
    assert!(tasks.is_empty(), "served though nobody is there");
}

/// More bytes may only tell more.
pub(crate) fn client_hello(bytes: &[u8]) {
    for (tls, http) in [(true, false), (false, true), (true, true)] {
        let what = Inspect {
            tls,
            http,
            timeout: Duration::ZERO,
        };
        judge(bytes, what);
    }
}

pub(crate) fn proxy_protocol(bytes: &[u8]) {
    let mut source = bytes;
    let reading = std::pin::pin!(read_header(&mut source));
    // A slice never keeps anybody waiting.
    let done = reading.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(done, Poll::Ready(_)), "waits for bytes that are there");
}

pub(crate) fn dns(query: &[u8]) {
    let entry = |name: &str, last: u8| Entry {
        name: name.to_owned(),
        addresses: (0..last)
            .map(|number| IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)))
            .collect(),
        short: Some(("a".to_owned(), "b".to_owned())),
    };
    let table = NameTable::new(vec![entry("a.b.svc.cluster.local", 3), entry("*.wild.test", 200)]);
    let answer = answered(query, &table);
    if let Some(answer) = answer {
        assert!(answer.len() <= 1232, "an answer of {} bytes over UDP", answer.len());
    }
}

/// A normal form is its own normal form.
pub(crate) fn path(bytes: &[u8]) {
    let Some((path, modes)) = super::text(bytes).zip(bytes.first()) else {
        return;
    };
    let escaped_slashes = match modes % 4 {
        0 => EscapedSlashes::Keep,
        1 => EscapedSlashes::Reject,
        2 => EscapedSlashes::UnescapeAndForward,
        _ => EscapedSlashes::UnescapeAndRedirect,
    };
    let normalisation = Normalisation {
        normalize_path: true,
        merge_slashes: modes & 4 != 0,
        escaped_slashes,
        strip_port: StripPort::No,
        strip_trailing_dot: false,
        listener_port: 80,
    };
    let Ok(NormalisedPath::Path(once)) = normalisation.path(path) else {
        return;
    };
    assert!(
        !once
            .split('?')
            .next()
            .is_some_and(|path| path.split('/').any(|segment| segment == "..")),
        "{once}"
    );
}
