//! HTTP/2 as frames: sends fields that no client would send, and reads what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weft_proxy::http2::frame::{self, Frame, HEAD_BYTES, PAYLOAD_BYTES_MAX, Settings};
use weft_proxy::http2::hpack::decode::{Decoder, Name, Pseudo, Value};

use super::client::Exchange;
use super::wire::Message;

/// The stream of the one request.
const STREAM: u32 = 1;

/// A request of exact fields, `name: value` each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawFields<'a> {
    pub(crate) head: &'a [String],
    pub(crate) body: &'a [u8],
    /// Sent once the client was told to go on, or the head is with the proxy.
    pub(crate) trailers: &'a [String],
    pub(crate) limit: Duration,
}

/// Sends a request and reads its answer.
pub(crate) async fn exchange(target: SocketAddr, request: RawFields<'_>) -> Result<Exchange> {
    tokio::time::timeout(request.limit, talk(target, request))
        .await
        .with_context(|| format!("no answer within {:?}", request.limit))?
}

async fn talk(target: SocketAddr, request: RawFields<'_>) -> Result<Exchange> {
    let mut stream = TcpStream::connect(target).await?;
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame::say_settings(&mut out, &Settings::default());
    let (has_body, has_trailers) = (!request.body.is_empty(), !request.trailers.is_empty());
    fields(&mut out, request.head, !has_body && !has_trailers);
    if has_body {
        frame::data(&mut out, STREAM, request.body.len(), !has_trailers);
        out.extend_from_slice(request.body);
    }
    if has_trailers {
        fields(&mut out, request.trailers, true);
    }
    stream.write_all(&out).await?;
    let (mut input, mut decoder) = (BytesMut::new(), Decoder::default());
    let mut exchange = Exchange::default();
    loop {
        let Ok(taken) = Frame::take(&mut input) else {
            bail!("the proxy sent a frame that is none");
        };
        match taken {
            None if stream.read_buf(&mut input).await.unwrap_or(0) == 0 => break,
            None => {}
            Some(Frame::Settings(_)) => {
                let mut answer = Vec::new();
                frame::settings_ack(&mut answer);
                // A proxy that has closed already has said all that it will.
                let _ = stream.write_all(&answer).await;
            }
            Some(Frame::Headers { block, ends, .. }) => {
                head(&mut decoder, block, &mut exchange)?;
                if ends {
                    return Ok(exchange);
                }
            }
            Some(Frame::Data { data, ends, .. }) => {
                if let Some(response) = &mut exchange.response {
                    response.body.extend_from_slice(&data);
                }
                if ends {
                    return Ok(exchange);
                }
            }
            Some(Frame::Reset { .. }) => break,
            Some(_) => {}
        }
    }
    if let Some(response) = &mut exchange.response {
        response.cut_short = true;
    }
    Ok(exchange)
}

/// Takes a head, an interim one, or trailers.
fn head(decoder: &mut Decoder, block: bytes::Bytes, exchange: &mut Exchange) -> Result<()> {
    let mut message = Message::default();
    let read = decoder.decode(block, |field, _| match (field.name, field.value) {
        (Name::Pseudo(Pseudo::Status), Value::Raw(status)) => {
            message.start = format!("HTTP/2 {}", String::from_utf8_lossy(&status));
        }
        (Name::Field(name), Value::Header(value)) => {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            message.headers.push((name.as_str().to_owned(), value));
        }
        _ => {}
    });
    read.context("a head that cannot be read")?;
    match &mut exchange.response {
        Some(response) => response.trailers = message.headers,
        None if message.start.starts_with("HTTP/2 1") => exchange.interim.push(message.start),
        None => exchange.response = Some(message),
    }
    Ok(())
}

/// Appends fields, each in full.
fn fields(out: &mut Vec<u8>, lines: &[String], ends: bool) {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    for line in lines {
        // A name may begin with a colon.
        let colon = line.char_indices().skip(1).find(|(_, c)| *c == ':');
        let (name, value) = colon.map_or((line.as_str(), ""), |(at, _)| (&line[..at], &line[at + 1..]));
        out.push(0);
        for text in [name, value.strip_prefix(' ').unwrap_or(value)] {
            let length = text.len();
            assert!(length < 127, "a row needs no longer texts");
            out.push(length as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    frame::headers(out, at, STREAM, ends, PAYLOAD_BYTES_MAX);
}
