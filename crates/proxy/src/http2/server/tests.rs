//! The server's end of a connection over a socket, with a client of another make at the far end.

use std::cell::Cell;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::*;
use crate::http2::exchange::ServerStream;
use crate::http2::head::Limits;
use crate::http2::received_body::ReceivedBody;

const SETTINGS: Settings = Settings {
    limits: Limits {
        bytes_max: 60 << 10,
        count_max: 100,
    },
    streams_max: 100,
    stream_window_bytes: 65_535,
    connection_window_bytes: 100_000,
    extended_connect: true,
};

/// What a client sent, back to it: a body with its trailers.
struct Echo(ReceivedBody);

impl http_body::Body for Echo {
    type Data = Bytes;
    type Error = crate::http2::stream::StreamFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

impl crate::http1::outgoing::Outgoing for Echo {
    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn give_up(self: Pin<&mut Self>) {}

    fn poll_due(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

async fn echo(head: Box<crate::http2::head::Request>, stream: ServerStream, body: ReceivedBody) {
    let mut response = Response::builder().header(
        "x-path",
        HeaderValue::from_maybe_shared(head.path.unwrap_or_default()).unwrap(),
    );
    for (name, value) in &head.headers {
        response = response.header(name, value);
    }
    let tunnel = stream.tunnel();
    let (head, body) = response.body(Echo(body)).unwrap().into_parts();
    if let Some(tunnel) = tunnel {
        tokio::task::spawn_local(async move {
            let (mut from, mut to) = tokio::io::split(tunnel);
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        });
    }
    stream.answer(head, body, &HeaderValue::from_static("now")).await;
}

/// Serves a client of the h2 crate until it is done.
async fn with_client(settings: Settings, client: impl AsyncFnOnce(h2::client::SendRequest<Bytes>)) {
    let (near, far) = UnixStream::pair().unwrap();
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            let serving = tokio::task::spawn_local(async move {
                let mut server = ServerConnection::new(Stream::Unix(near), settings);
                while let Some(event) = server.next().await {
                    match event {
                        Event::Request(head, stream, body) => {
                            tokio::task::spawn_local(echo(head, stream, body));
                        }
                        Event::Refused(fault) => panic!("{fault}"),
                    }
                }
                server.close(Duration::from_secs(1)).await;
            });
            let (sender, connection) = h2::client::Builder::new().handshake(far).await.unwrap();
            let talking = tokio::task::spawn_local(async move {
                let _ = connection.await;
            });
            client(sender).await;
            talking.await.unwrap();
            serving.await.unwrap();
        })
        .await;
}

fn request(path: &str, fields: usize) -> Request<()> {
    let mut request = Request::builder().method("POST").uri(format!("http://e{path}"));
    for at in 0..fields {
        request = request.header(format!("x-field-{}", at % 7), format!("value {at} \u{21}~"));
    }
    request.body(()).unwrap()
}

/// Sends a body with trailers, and gives all that comes back.
async fn exchange(
    mut sender: h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: &[u8],
    piece: usize,
) -> (HeaderMap, Vec<u8>, Option<HeaderMap>) {
    sender = sender.ready().await.unwrap();
    let (answer, mut upload) = sender.send_request(request, false).unwrap();
    let sending = async {
        for piece in body.chunks(piece) {
            upload.send_data(Bytes::copy_from_slice(piece), false).unwrap();
            tokio::task::yield_now().await;
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", HeaderValue::from_static("1"));
        upload.send_trailers(trailers).unwrap();
    };
    let receiving = async {
        let (head, mut body) = answer.await.unwrap().into_parts();
        let mut got = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            got.extend_from_slice(&data);
        }
        (head.headers, got, body.trailers().await.unwrap())
    };
    let ((), got) = tokio::join!(sending, receiving);
    got
}

#[tokio::test]
async fn another_implementation_gets_what_it_sent() {
    with_client(SETTINGS, async |sender| {
        let done = Cell::new(0);
        let exchanges = (0..60_usize).map(|number| {
            let (sender, done) = (sender.clone(), &done);
            async move {
                let body: Vec<u8> = (0..number * number * 100).map(|at| (at + number) as u8).collect();
                let path = format!("/{number}?{}", "q".repeat(number * 10));
                let fields = number % 13;
                let (head, got, trailers) = exchange(sender, request(&path, fields), &body, number * 97 + 1).await;
                assert!(got == body, "{number}: {} of {} bytes", got.len(), body.len());
                assert_eq!(
                    (head["x-path"].to_str().unwrap(), head["date"].to_str().unwrap()),
                    (&*path, "now")
                );
                let came = head
                    .iter()
                    .filter(|(name, _)| name.as_str().starts_with("x-field-"))
                    .count();
                assert_eq!((came, trailers.unwrap()["x-trailer"].as_bytes()), (fields, &b"1"[..]));
                done.set(done.get() + 1);
            }
        });
        futures_util::future::join_all(exchanges).await;
        assert_eq!(done.get(), 60);
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    with_client(SETTINGS, async |sender| {
        let mut sender = sender.ready().await.unwrap();
        let mut request = Request::builder()
            .method("CONNECT")
            .uri("http://e/ws")
            .body(())
            .unwrap();
        request
            .extensions_mut()
            .insert(h2::ext::Protocol::from_static("websocket"));
        let (answer, mut upload) = sender.send_request(request, false).unwrap();
        upload.send_data(Bytes::from(vec![7; 300_000]), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let mut got = 0;
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            got += data.len();
        }
        assert_eq!(got, 300_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_not_waited_for() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let tasks = LocalSet::new();
    let serving = tasks.spawn_local(async move {
        let mut server = ServerConnection::new(Stream::Unix(near), SETTINGS);
        while let Some(event) = server.next().await {
            if let Event::Request(_, stream, body) = event {
                tokio::task::spawn_local(async move {
                    drop(body);
                    let (head, body) = Response::new(Endless).into_parts();
                    stream.answer(head, body, &HeaderValue::from_static("now")).await;
                });
            }
        }
    });
    let talking = async {
        // A window of one byte for every stream.
        far.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x01")
            .await
            .unwrap();
        far.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x01\x01e")
            .await
            .unwrap();
        let mut heard = Vec::new();
        let reset = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08";
        while !heard.windows(reset.len()).any(|bytes| bytes == reset) {
            assert!(far.read_buf(&mut heard).await.unwrap() > 0, "closed instead");
        }
    };
    tasks.run_until(talking).await;
    drop(far);
    tasks.run_until(serving).await.unwrap();
}

/// A body without an end.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"more")))))
    }
}

impl crate::http1::outgoing::Outgoing for Endless {
    fn patience(&self) -> Duration {
        Duration::from_secs(300)
    }

    fn give_up(self: Pin<&mut Self>) {}

    fn poll_due(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}
