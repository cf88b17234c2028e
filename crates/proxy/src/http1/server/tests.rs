//! The server's end against a client that is played byte by byte.

use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::http1::decode::BodyFault;

const SETTINGS: Settings = Settings {
    limits: Limits {
        bytes_max: 1000,
        count_max: 10,
    },
    head_timeout: Duration::from_secs(15),
    linger: Duration::from_secs(1),
};

impl Outgoing for Full<Bytes> {
    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn give_up(self: Pin<&mut Self>) {}

    fn poll_due(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

fn pair() -> (ServerConnection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ServerConnection::new(Stream::Unix(ours), SETTINGS), theirs)
}

fn date() -> HeaderValue {
    HeaderValue::from_static("now")
}

/// Serves a client that sends `text` and then waits, or closes: every request is answered with its path and body.
async fn serve(text: &str, closes: bool) -> String {
    let (mut connection, mut client) = pair();
    client.write_all(text.as_bytes()).await.unwrap();
    if closes {
        client.shutdown().await.unwrap();
    }
    let serving = async {
        loop {
            let (status, body) = match connection.receive().await {
                Received::Request(head, Ok(body)) => match body.collect().await {
                    Ok(body) => {
                        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                        (200, format!("{} {body}", String::from_utf8_lossy(&head.target)))
                    }
                    Err(error) => (400, error.to_string()),
                },
                Received::Request(_, Err(error)) => (400, error.to_string()),
                Received::Malformed(error) => (400, error.to_string()),
                Received::Late => (408, String::new()),
                Received::Closed => return connection.close().await,
            };
            let (mut head, body) = Response::new(Full::new(Bytes::from(body))).into_parts();
            head.status = StatusCode::from_u16(status).unwrap();
            if connection.answer(head, body, &date()).await != Sent::Whole {
                return connection.close().await;
            }
        }
    };
    let mut answer = String::new();
    let reading = async {
        if !closes {
            // The last answer ends it; else the client would wait for ever.
            let mut byte = [0];
            while client.read(&mut byte).await.unwrap() > 0 {
                answer.push(char::from(byte[0]));
                if answer.ends_with("end") {
                    break;
                }
            }
            drop(client);
        } else {
            client.read_to_string(&mut answer).await.unwrap();
        }
    };
    tokio::join!(serving, reading);
    answer.replace("date: now\r\n", "").replace("\r\n", "|")
}

#[track_caller]
fn check(text: &str, closes: bool, expected: &str) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    let found = runtime.block_on(serve(text, closes));
    assert_eq!(found, expected, "{text:?}");
}

#[test]
fn requests_are_answered_in_their_order() {
    check(
        concat!(
            "GET /a HTTP/1.1\r\n\r\n",
            "POST /b HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi",
            "POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nend\r\n0\r\n\r\n",
        ),
        false,
        "HTTP/1.1 200 OK|content-length: 3||/a HTTP/1.1 200 OK|content-length: 5||/b hiHTTP/1.1 200 OK|content-length: 6||/c end",
    );
}

#[test]
fn a_connection_ends_where_somebody_says_so() {
    let closed = "HTTP/1.1 200 OK|content-length: 3|connection: close||/a ";
    check(
        "GET /a HTTP/1.1\r\nconnection: close\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        false,
        closed,
    );
    check(
        "GET /a HTTP/1.1\r\nconnection: x\r\nconnection: y, Close\r\n\r\n",
        false,
        closed,
    );
    check(
        "GET /a HTTP/1.0\r\n\r\n",
        false,
        "HTTP/1.0 200 OK|content-length: 3|connection: close||/a ",
    );
    check(
        "GET /end HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        false,
        "HTTP/1.0 200 OK|content-length: 5|connection: keep-alive||/end",
    );
    check("", true, "");
    check("GET / HT", true, "");
}

#[test]
fn what_cannot_be_told_apart_is_refused_and_nothing_behind_it_is_read() {
    let refused = |reason: &str| {
        let length = reason.len();
        format!("HTTP/1.1 400 Bad Request|content-length: {length}|connection: close||{reason}")
    };
    let behind = "GET /smuggled HTTP/1.1\r\n\r\n";
    for (text, reason) in [
        (
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "a length beside a transfer coding",
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
            "more than one length",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "a chunk without a size",
        ),
        ("GET / HTTP/1.1\r\na b\r\n\r\n", "a field name that is no token"),
    ] {
        check(&format!("{text}{behind}"), false, &refused(reason));
    }
}

#[test]
fn half_a_head_is_waited_for_no_longer_than_said() {
    check(
        "GET / HTTP/1.1\r\na: b\r\n",
        false,
        "HTTP/1.1 408 Request Timeout|content-length: 0|connection: close||",
    );
}

#[tokio::test]
async fn who_waits_for_continue_gets_it_when_the_body_is_wanted() {
    for wanted in [true, false] {
        let (mut connection, mut client) = pair();
        let head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        client.write_all(head).await.unwrap();
        let Received::Request(_, Ok(body)) = connection.receive().await else {
            panic!("a request");
        };
        let mut body = Some(body);
        if let Some(body) = body.take_if(|_| wanted) {
            let reading = tokio::join!(body.collect(), async {
                let mut line = [0; 25];
                client.read_exact(&mut line).await.unwrap();
                assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
                client.write_all(b"hi").await.unwrap();
            });
            assert_eq!(reading.0.unwrap().to_bytes(), "hi");
        }
        let (head, empty) = Response::new(Full::new(Bytes::new())).into_parts();
        let sent = connection.answer(head, empty, &date()).await;
        // Without it nobody knows whether the body comes now: what follows may be it, or another request.
        assert_eq!(sent, if wanted { Sent::Whole } else { Sent::Last });
        drop((connection, body));
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    }
}

#[tokio::test]
async fn who_waits_for_the_upstream_is_told_once() {
    // Whether the upstream says it first, and whether somebody here wants the body first.
    for (upstream, wanted) in [(true, false), (true, true), (false, true)] {
        let (mut connection, mut client) = pair();
        let head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi";
        client.write_all(head).await.unwrap();
        let Received::Request(_, Ok(body)) = connection.receive().await else {
            panic!("a request");
        };
        body.leave_to_upstream();
        let interim = connection.interim();
        if wanted {
            body.is_wanted();
        }
        let hints = HeaderMap::from_iter([(header::LINK, HeaderValue::from_static("</a>"))]);
        interim.send(StatusCode::EARLY_HINTS, &hints);
        if upstream {
            interim.send(StatusCode::CONTINUE, &HeaderMap::new());
        }
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hi");
        interim.send(StatusCode::CONTINUE, &HeaderMap::new());
        drop(interim);
        let (head, empty) = Response::new(Full::new(Bytes::new())).into_parts();
        assert_eq!(connection.answer(head, empty, &date()).await, Sent::Whole);
        drop(connection);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert!(answer.starts_with(expected), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_not_waited_for() {
    let (mut connection, mut client) = pair();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    connection.receive().await;
    let begun = tokio::time::Instant::now();
    let (head, body) = Response::new(Full::new(Bytes::from(vec![0; 8 << 20]))).into_parts();
    assert_eq!(connection.answer(head, body, &date()).await, Sent::Broken);
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test]
async fn a_client_that_goes_ends_the_work_for_it() {
    let (mut connection, mut client) = pair();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(connection.receive().await, Received::Request(_, Ok(_))));
    let work = pin!(std::future::pending::<()>());
    let gone = tokio::join!(connection.while_there(work), async { drop(client) });
    assert_eq!(gone.0, None);
}

#[tokio::test]
async fn an_aborted_upload_is_never_whole() {
    let (mut connection, mut client) = pair();
    let half = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel";
    client.write_all(half).await.unwrap();
    client.shutdown().await.unwrap();
    let Received::Request(_, Ok(mut body)) = connection.receive().await else {
        panic!("a request");
    };
    let mut faults = 0;
    for _ in 0..5 {
        if let Some(Err(fault)) = body.frame().await {
            assert_eq!(fault, BodyFault::Incomplete);
            faults += 1;
        }
    }
    // However often one asks.
    assert_eq!(faults, 4);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_one() {
    let (mut connection, mut client) = pair();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    connection.receive().await;
    let (mut head, body) = Response::new(Full::new(Bytes::from("short"))).into_parts();
    head.headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from_static("9"));
    assert_eq!(connection.answer(head, body, &date()).await, Sent::Broken);
}
