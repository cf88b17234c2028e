//! Clients: HTTP/1.1 from exact bytes, and HTTP/2 over a plain connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::backend::text_fields;
use super::wire::{self, Kind, Message};

/// What came back for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Status lines of 1xx responses before the final one.
    pub(crate) interim: Vec<String>,
    /// `None`: the connection or stream ended without a response.
    pub(crate) response: Option<Message>,
    /// Bytes behind an upgrade or CONNECT.
    pub(crate) tunnel: Option<String>,
}

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Http1 {
    stream: TcpStream,
    buffer: BytesMut,
}

/// A request in bytes, and what is sent once the peer agrees to go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRequest<'a> {
    pub(crate) bytes: &'a [u8],
    /// Sent behind `100 Continue`, `101 Switching Protocols` or a CONNECT's 2xx.
    pub(crate) then: &'a [u8],
    /// A tunnel is silent for so long before that.
    pub(crate) pause: Duration,
    /// A tunnel is read until this text has come.
    pub(crate) until: &'a str,
    /// The whole exchange takes no longer.
    pub(crate) limit: Duration,
}

// === impl Http1 ===

impl Http1 {
    pub(crate) async fn connect(target: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(target)
            .await
            .with_context(|| format!("cannot connect to {target}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: BytesMut::new(),
        })
    }

    /// Sends a request without reading anything.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        // A peer that has answered and closed already is seen when reading.
        let _ = self.stream.write_all(bytes).await;
        Ok(())
    }

    /// Reads what answers a request that was sent.
    pub(crate) async fn receive(&mut self, request: RawRequest<'_>) -> Result<Exchange> {
        let exchange = self.receive_all(request);
        tokio::time::timeout(request.limit, exchange)
            .await
            .with_context(|| format!("no answer within {:?}", request.limit))?
    }

    async fn receive_all(&mut self, request: RawRequest<'_>) -> Result<Exchange> {
        let kind = match request.bytes {
            bytes if bytes.starts_with(b"HEAD ") => Kind::ResponseToHead,
            bytes if bytes.starts_with(b"CONNECT ") => Kind::ResponseToConnect,
            _ => Kind::Response,
        };
        let mut exchange = Exchange::default();
        while let Some(response) = wire::read(&mut self.stream, &mut self.buffer, kind).await? {
            let status = response.status();
            if (100..200).contains(&status) && status != 101 {
                exchange.interim.push(response.start);
                self.send(request.then).await?;
                continue;
            }
            let tunnel = status == 101 || (kind == Kind::ResponseToConnect && (200..300).contains(&status));
            exchange.response = Some(response);
            if tunnel {
                tokio::time::sleep(request.pause).await;
                self.send(request.then).await?;
                exchange.tunnel = Some(self.read_until(request.until).await?);
            }
            break;
        }
        Ok(exchange)
    }

    async fn read_until(&mut self, text: &str) -> Result<String> {
        loop {
            let received = String::from_utf8_lossy(&self.buffer).into_owned();
            if received.contains(text) {
                return Ok(received);
            }
            if !wire::fill(&mut self.stream, &mut self.buffer, received.len() + 1).await? {
                return Ok(received);
            }
        }
    }
}

/// Sends one HTTP/2 request over its own connection.
pub(crate) async fn http2(
    target: SocketAddr,
    request: hyper::Request<()>,
    body: &[u8],
    trailers: &[String],
    limit: Duration,
) -> Result<Exchange> {
    let exchange = http2_exchange(target, request, body, trailers);
    tokio::time::timeout(limit, exchange)
        .await
        .with_context(|| format!("no answer within {limit:?}"))?
}

async fn http2_exchange(
    target: SocketAddr,
    request: hyper::Request<()>,
    body: &[u8],
    trailers: &[String],
) -> Result<Exchange> {
    let stream = TcpStream::connect(target).await?;
    let mut connection_task = JoinSet::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    connection_task.spawn(connection);
    let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = Vec::new();
    if !body.is_empty() {
        frames.push(Ok(Frame::data(Bytes::copy_from_slice(body))));
    }
    if !trailers.is_empty() {
        let mut map = http::HeaderMap::new();
        for (name, value) in trailers.iter().map(|line| wire::field(line)) {
            map.append(http::HeaderName::try_from(name)?, http::HeaderValue::try_from(value)?);
        }
        frames.push(Ok(Frame::trailers(map)));
    }
    let body = if frames.is_empty() {
        http_body_util::Empty::new().boxed()
    } else {
        StreamBody::new(stream::iter(frames)).boxed()
    };
    let response = match sender.send_request(request.map(|()| body)).await {
        Ok(response) => response,
        Err(error) if error.is_user() => bail!("the request is not one: {error}"),
        Err(_) => return Ok(Exchange::default()),
    };
    let (head, body) = response.into_parts();
    let mut message = Message {
        start: format!("HTTP/2 {}", head.status.as_u16()),
        headers: text_fields(&head.headers),
        ..Message::default()
    };
    match body.collect().await {
        Ok(body) => {
            message.trailers = body.trailers().map(text_fields).unwrap_or_default();
            message.body = body.to_bytes().to_vec();
        }
        Err(_) => message.cut_short = true,
    }
    Ok(Exchange {
        response: Some(message),
        ..Exchange::default()
    })
}

/// Asks for a tunnel over HTTP/2 and uses it as `request` says.
pub(crate) async fn http2_tunnel(
    target: SocketAddr,
    head: hyper::Request<()>,
    request: RawRequest<'_>,
) -> Result<Exchange> {
    let exchange = http2_tunnel_exchange(target, head, request);
    tokio::time::timeout(request.limit, exchange)
        .await
        .with_context(|| format!("no answer within {:?}", request.limit))?
}

async fn http2_tunnel_exchange(
    target: SocketAddr,
    head: hyper::Request<()>,
    request: RawRequest<'_>,
) -> Result<Exchange> {
    let stream = TcpStream::connect(target).await?;
    let mut connection_task = JoinSet::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    connection_task.spawn(connection);
    let body = http_body_util::Empty::<Bytes>::new();
    let mut response = match sender.send_request(head.map(|()| body)).await {
        Ok(response) => response,
        Err(error) if error.is_user() => bail!("the request is not one: {error}"),
        Err(_) => return Ok(Exchange::default()),
    };
    let mut message = Message {
        start: format!("HTTP/2 {}", response.status().as_u16()),
        headers: text_fields(response.headers()),
        ..Message::default()
    };
    if response.status() != hyper::StatusCode::OK {
        match response.into_body().collect().await {
            Ok(body) => message.body = body.to_bytes().to_vec(),
            Err(_) => message.cut_short = true,
        }
        return Ok(Exchange {
            response: Some(message),
            ..Exchange::default()
        });
    }
    let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut response).await?);
    tokio::time::sleep(request.pause).await;
    // A peer that has ended is seen when reading.
    let _ = tunnel.write_all(request.then).await;
    let mut received = BytesMut::new();
    while request.until.is_empty() || !String::from_utf8_lossy(&received).contains(request.until) {
        // A reset says as much as an end here.
        if !matches!(tunnel.read_buf(&mut received).await, Ok(1..)) {
            break;
        }
    }
    Ok(Exchange {
        response: Some(message),
        tunnel: Some(String::from_utf8_lossy(&received).into_owned()),
        ..Exchange::default()
    })
}
