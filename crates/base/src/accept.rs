//! Accepting connections so that a peer that stays silent delays nobody else: each is greeted by a task of its own, which ends with a
//! deadline, and there is always room for one more.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::shutdown::Shutdown;

/// A peer must have said by then which protocol it speaks, TLS handshake included.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// Peers per listener that have not said yet which protocol they speak; the one that has waited longest makes room for another.
const GREETINGS_MAX: usize = if cfg!(test) { 16 } else { 1024 };

/// Greeted connections that wait to be served.
const READY_MAX: usize = 64;

/// The HTTP/2 connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes have come.
#[derive(Debug)]
pub struct Greeted<S> {
    first: Bytes,
    stream: S,
    http2: bool,
}

/// A greeted connection without TLS.
#[derive(Debug)]
pub struct Plain {
    stream: Greeted<TcpStream>,
    pub peer: SocketAddr,
}

/// Accepts connections without TLS, and hands on those that have said which protocol they speak.
pub fn incoming(listener: TcpListener, shutdown: &Shutdown) -> ReceiverStream<io::Result<Plain>> {
    let greet = |socket: TcpStream, peer| async move {
        socket.set_nodelay(true)?;
        let stream = first_bytes(socket).await?;
        Ok(Plain { stream, peer })
    };
    greeted(listener, std::future::ready(true), greet, shutdown)
}

/// Accepts connections once `ready` says so, and hands on those that `greet` is done with in time.
pub(crate) fn greeted<G, F, T>(
    listener: TcpListener,
    ready: impl Future<Output = bool> + Send + 'static,
    greet: G,
    shutdown: &Shutdown,
) -> ReceiverStream<io::Result<T>>
where
    G: Fn(TcpStream, SocketAddr) -> F + Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let (sender, stream) = mpsc::channel(READY_MAX);
    let owner = shutdown.clone();
    shutdown.spawn(async move {
        let accepting = async {
            if ready.await {
                accept_all(listener, greet, sender, owner.clone()).await;
            }
        };
        owner.token().run_until_cancelled(accepting).await;
    });
    ReceiverStream::new(stream)
}

async fn accept_all<G, F, T>(listener: TcpListener, greet: G, ready: mpsc::Sender<io::Result<T>>, owner: Shutdown)
where
    G: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let mut greetings: VecDeque<JoinHandle<_>> = VecDeque::new();
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: those who stay silent have to give theirs back.
                tracing::warn!(%error, "cannot accept");
                make_room(&mut greetings, 0);
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        make_room(&mut greetings, GREETINGS_MAX - 1);
        let (greeting, ready) = (greet(socket, peer), ready.clone());
        greetings.push_back(owner.spawn(async move {
            match tokio::time::timeout(GREETING_TIMEOUT, greeting).await {
                // A receiver that is gone has stopped serving.
                Ok(Ok(connection)) => drop(ready.send(Ok(connection)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "connection is not greeted"),
                Err(_) => tracing::debug!(%peer, "peer says nothing"),
            }
        }));
    }
}

/// Ends greetings, the oldest first, until at most `most` are left.
fn make_room<T>(greetings: &mut VecDeque<JoinHandle<T>>, most: usize) {
    if greetings.len() <= most {
        return;
    }
    greetings.retain(|greeting| !greeting.is_finished());
    while greetings.len() > most {
        if let Some(oldest) = greetings.pop_front() {
            oldest.abort();
        }
    }
}

/// Reads until it is clear whether a peer speaks HTTP/2. That needs its first byte at least, and the whole preface at most.
pub(crate) async fn first_bytes<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Greeted<S>> {
    let mut read = BytesMut::with_capacity(PREFACE.len());
    loop {
        let room = PREFACE.len() - read.len();
        if (&mut stream).take(room as u64).read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let http2 = read[..] == *PREFACE;
        if http2 || !PREFACE.starts_with(&read) {
            return Ok(Greeted {
                first: read.freeze(),
                stream,
                http2,
            });
        }
    }
}

// === impl Greeted ===

impl<S> Greeted<S> {
    /// Whether the peer speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.http2
    }

    /// The stream behind the first bytes.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            let length = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

// === impl Plain ===

impl Plain {
    /// Whether the peer speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.stream.is_http2()
    }
}

impl Connected for Plain {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: self.stream.get_ref().local_addr().ok(),
            remote_addr: Some(self.peer),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection that fails once nothing has moved on it for too long, either way.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    limit: Duration,
    ends: Pin<Box<tokio::time::Sleep>>,
}

// === impl Watched ===

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            ends: Box::pin(tokio::time::sleep(limit)),
        }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            let next = Instant::now() + self.limit;
            self.ends.as_mut().reset(next);
            return poll;
        }
        match self.ends.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(cx, poll)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, data);
        self.watch(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_tell_the_protocol_and_are_kept() {
        async fn check(sent: &[&[u8]], expected: Option<bool>) {
            let (mut client, server) = tokio::io::duplex(64);
            #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
            let greeting = tokio::spawn(first_bytes(server));
            for part in sent {
                client.write_all(part).await.unwrap();
            }
            client.shutdown().await.unwrap();
            let greeted = greeting.await.unwrap();
            assert_eq!(greeted.as_ref().ok().map(Greeted::is_http2), expected, "{sent:?}");
            if let Ok(mut greeted) = greeted {
                let mut all = Vec::new();
                greeted.read_to_end(&mut all).await.unwrap();
                assert_eq!(all, sent.concat());
            }
        }
        check(&[b"GET / HTTP/1.1\r\n\r\n"], Some(false)).await;
        check(&[b"P", b"OST / HTTP/1.1\r\n\r\n"], Some(false)).await;
        check(&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n\0\0\0"], Some(true)).await;
        check(&[b"PRI * HTTP/2.0\r\n"], None).await;
        check(&[], None).await;
    }

    #[tokio::test]
    async fn more_silent_peers_than_there_is_room_for_delay_nobody() {
        let (listener, addr) = crate::listen::open("test", "127.0.0.1:0".parse().unwrap()).unwrap();
        let shutdown = Shutdown::new();
        let mut greeted = incoming(listener, &shutdown);
        let mut silent = Vec::new();
        for _ in 0..GREETINGS_MAX + 50 {
            silent.push(TcpStream::connect(addr).await.unwrap());
        }
        let mut client = TcpStream::connect(addr).await.unwrap();
        client.write_all(b"GET").await.unwrap();
        let first = tokio::time::timeout(GREETING_TIMEOUT / 2, greeted.next())
            .await
            .unwrap();
        assert!(!first.unwrap().unwrap().is_http2());
        // Those who waited longest had to go.
        assert_eq!(silent[0].read(&mut [0]).await.unwrap_or_default(), 0);
        shutdown.drain(Duration::ZERO).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_moves_fails() {
        let (mut client, server) = tokio::io::duplex(4);
        let limit = Duration::from_secs(90);
        let mut watched = Watched::new(server, limit);
        let begun = Instant::now();
        client.write_all(b"ab").await.unwrap();
        assert_eq!(watched.read(&mut [0; 8]).await.unwrap(), 2);
        let read = watched.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!((read.kind(), begun.elapsed() >= limit), (io::ErrorKind::TimedOut, true));
        let mut watched = Watched::new(tokio::io::duplex(4).0, limit);
        // Nobody reads: a window that stays shut.
        let (mut near, _far) = tokio::io::duplex(4);
        near.write_all(b"full").await.unwrap();
        watched.stream = near;
        assert_eq!(
            watched.write_all(b"more").await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }
}
