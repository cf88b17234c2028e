//! The client's end against a server that is played byte by byte.

use std::convert::Infallible;
use std::task::Poll;

use http::HeaderValue;
use http_body_util::{Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;

/// A body that gives what it is told to.
struct Pieces(Vec<Poll<Option<Result<&'static str, &'static str>>>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.0.first() {
            None => return Poll::Ready(None),
            // Nothing more comes, and no end.
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(_)) => {}
        }
        self.0
            .remove(0)
            .map(|piece| piece.map(|piece| piece.map(|text| Frame::data(Bytes::from(text)))))
    }
}

fn pair() -> (ClientConnection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ClientConnection::new(Stream::Unix(ours)), theirs)
}

/// The whole of an answer's body.
async fn rest<B: Body<Data = Bytes> + Unpin>(exchange: &mut Exchange<B>) -> Result<Vec<u8>, ExchangeError<B::Error>> {
    let mut body = Vec::new();
    while let Some(frame) = poll_fn(|cx| exchange.poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            body.extend_from_slice(&data);
        }
    }
    Ok(body)
}

/// Answers a GET with these bytes and then closes or not; gives what came of it.
async fn get(method: Method, answer: &str, closes: bool) -> Result<(u16, String, bool), String> {
    let (connection, mut server) = pair();
    server.write_all(answer.as_bytes()).await.unwrap();
    let server = if closes {
        drop(server.into_std().unwrap().shutdown(std::net::Shutdown::Write));
        None
    } else {
        Some(server)
    };
    let mut exchange = connection.begin(method, b"/", HeaderMap::new(), Empty::<Bytes>::new());
    let head = exchange.head(|_| {}).await.map_err(|error| error.to_string())?;
    let body = rest(&mut exchange).await.map_err(|error| error.to_string())?;
    let again = exchange.finish().is_some_and(|mut connection| connection.is_open());
    drop(server);
    Ok((head.status.as_u16(), String::from_utf8(body).unwrap(), again))
}

#[track_caller]
fn check(answer: &str, closes: bool, expected: Result<(u16, &str, bool), &str>) {
    check_of(Method::GET, answer, closes, expected);
}

#[track_caller]
fn check_of(method: Method, answer: &str, closes: bool, expected: Result<(u16, &str, bool), &str>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = runtime.block_on(get(method, answer, closes));
    let expected = expected.map(|(status, body, again)| (status, body.to_owned(), again));
    assert_eq!(found, expected.map_err(str::to_owned), "{answer:?}");
}

#[test]
fn a_whole_answer_leaves_a_connection_for_the_next() {
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        false,
        Ok((200, "hi", true)),
    );
    check("HTTP/1.1 204 No Content\r\n\r\n", false, Ok((204, "", true)));
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        false,
        Ok((200, "hi", true)),
    );
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        false,
        Ok((200, "", true)),
    );
    check_of(
        Method::HEAD,
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        false,
        Ok((200, "", true)),
    );
    check(
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
        false,
        Ok((200, "", true)),
    );
}

#[test]
fn what_is_not_surely_whole_leaves_none() {
    for (answer, closes, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi and more", false, "hi"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x\r\nconnection: Close\r\n\r\nhi",
            false,
            "hi",
        ),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", false, "hi"),
        ("HTTP/1.1 200 OK\r\n\r\nhi", true, "hi"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", true, "hi"),
        ("HTTP/1.1 204 No Content\r\n\r\nhi", false, ""),
    ] {
        let status = if answer.contains("204") { 204 } else { 200 };
        check(answer, closes, Ok((status, body, false)));
    }
}

#[test]
fn broken_answers_are_none() {
    check("", true, Err("the connection was closed before an answer"));
    check("HTTP/1.1 2", true, Err("the answer's head ended early"));
    check(
        "HTTP/1.1 100 Continue\r\n\r\n",
        true,
        Err("the connection was closed before an answer"),
    );
    check("garbage\r\n\r\n", false, Err("malformed answer: an unknown version"));
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n",
        false,
        Err("malformed answer: a length beside a transfer coding"),
    );
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi",
        true,
        Err("the body ended early"),
    );
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
        true,
        Err("the body ended early"),
    );
    check(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        false,
        Err("malformed answer: a switch that nobody asked for"),
    );
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(40);
    check(&hints, false, Err("malformed answer: too many interim answers"));
}

/// What a server gets of a request whose body does this before it stops.
async fn sent(headers: HeaderMap, body: Pieces) -> (String, Result<u16, String>) {
    let (connection, mut server) = pair();
    let mut exchange = connection.begin(Method::POST, b"/", headers, body);
    let polled = poll_fn(|cx| Poll::Ready(exchange.poll_head(cx, &mut |_| {}))).await;
    let result = match polled {
        Poll::Pending => Ok(0),
        Poll::Ready(Ok(head)) => Ok(head.status.as_u16()),
        Poll::Ready(Err(error)) => Err(error.to_string()),
    };
    drop(exchange);
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    (text, result)
}

#[tokio::test]
async fn nothing_ends_a_body_that_failed() {
    let pieces = vec![Poll::Ready(Some(Ok("half"))), Poll::Ready(Some(Err("broken")))];
    let (text, result) = sent(HeaderMap::new(), Pieces(pieces)).await;
    assert!(!text.contains("0\r\n\r\n"), "{text:?}");
    assert_eq!(result, Err("the request's body failed: broken".to_owned()));
}

#[tokio::test]
async fn a_body_goes_as_its_head_says() {
    let pieces = || {
        Pieces(vec![
            Poll::Ready(Some(Ok("ab"))),
            Poll::Ready(Some(Ok("c"))),
            Poll::Ready(None),
        ])
    };
    let (text, _) = sent(HeaderMap::new(), pieces()).await;
    assert_eq!(
        text,
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    );
    // A head that lies about its body is put right: the body decides.
    let mut lie = HeaderMap::new();
    lie.insert(header::CONTENT_LENGTH, HeaderValue::from_static("99"));
    let (text, _) = sent(lie, pieces()).await;
    assert!(
        text.starts_with("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n"),
        "{text:?}"
    );
}

#[tokio::test]
async fn an_early_answer_leaves_no_connection() {
    let (connection, mut server) = pair();
    let body = Pieces(vec![Poll::Ready(Some(Ok("half"))), Poll::Pending]);
    let mut exchange = connection.begin(Method::POST, b"/", HeaderMap::new(), body);
    server
        .write_all(b"HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(exchange.head(|_| {}).await.unwrap().status, 413);
    assert!(exchange.is_answered() && exchange.finish().is_none());
}

#[tokio::test]
async fn a_server_that_answers_and_takes_no_more_is_heard() {
    let (connection, mut server) = pair();
    server
        .write_all(b"HTTP/1.1 413 x\r\ncontent-length: 2\r\n\r\nno")
        .await
        .unwrap();
    drop(server);
    let body = Full::new(Bytes::from(vec![0; 1 << 20]));
    let mut exchange = connection.begin(Method::POST, b"/", HeaderMap::new(), body);
    let head: Result<_, ExchangeError<Infallible>> = exchange.head(|_| {}).await;
    assert_eq!(head.unwrap().status, 413);
    assert_eq!(rest(&mut exchange).await.unwrap(), b"no");
    assert!(exchange.finish().is_none());
}

#[tokio::test]
async fn interim_answers_are_told() {
    let (connection, mut server) = pair();
    let bytes =
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    server.write_all(bytes).await.unwrap();
    let mut exchange = connection.begin(Method::GET, b"/", HeaderMap::new(), Empty::<Bytes>::new());
    let mut told = Vec::new();
    let answer = exchange.head(|interim| told.push((interim.status.as_u16(), interim.headers.len())));
    assert_eq!(answer.await.unwrap().status, 204);
    assert_eq!(told, [(103, 1), (100, 0)]);
}

#[tokio::test]
async fn a_switch_hands_the_stream_over() {
    let (connection, mut server) = pair();
    server
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nframes")
        .await
        .unwrap();
    let mut offer = HeaderMap::new();
    offer.insert(header::UPGRADE, HeaderValue::from_static("x"));
    let mut exchange = connection.begin(Method::GET, b"/", offer, Empty::<Bytes>::new());
    assert_eq!(exchange.head(|_| {}).await.unwrap().status, 101);
    let (_, ahead) = exchange.into_switched().unwrap();
    assert_eq!(&ahead[..], b"frames");
}

#[tokio::test]
async fn an_idle_connection_that_says_something_is_not_used() {
    let (mut connection, mut server) = pair();
    assert!(connection.is_open());
    server.write_all(b"HTTP/1.1 408 x\r\n\r\n").await.unwrap();
    connection.stream_ready().await;
    assert!(!connection.is_open());
    let (mut connection, server) = pair();
    drop(server);
    connection.stream_ready().await;
    assert!(!connection.is_open());
}

impl ClientConnection {
    /// Waits for something to be read.
    async fn stream_ready(&self) {
        let Stream::Unix(socket) = self.stream() else {
            panic!("a pair of Unix sockets");
        };
        socket.readable().await.unwrap();
    }
}
