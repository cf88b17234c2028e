//! HTTP/1.1 as bytes: reads messages without judging them, so that a test sees exactly what a proxy sent.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Heads and bodies beyond this are an error of the test.
const BYTES_MAX: usize = 64 << 20;

/// A request or a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The first line; for HTTP/2 in the form of HTTP/1.1.
    pub(crate) start: String,
    /// Fields in the order and spelling of the wire.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// The connection or stream ended before the message did.
    pub(crate) cut_short: bool,
}

/// What a reader must know beside the message itself to find its end (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    /// The response to HEAD.
    ResponseToHead,
    /// The response to CONNECT: a success has no body, what follows is the tunnel.
    ResponseToConnect,
}

// === impl Message ===

impl Message {
    /// The first value of a field, whatever the case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        { self.headers.iter() }
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The status code of a response, 0 when there is none.
    pub(crate) fn status(&self) -> u16 {
        self.start
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0)
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"))
    }
}

/// Reads one message; `None` at the end of the stream.
pub(crate) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    kind: Kind,
) -> Result<Option<Message>> {
    let Some(message) = read_head(stream, buffer).await? else {
        return Ok(None);
    };
    read_body(stream, buffer, kind, message).await.map(Some)
}

/// Reads what follows a head.
pub(crate) async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    kind: Kind,
    mut message: Message,
) -> Result<Message> {
    let status = message.status();
    let bodiless = match kind {
        Kind::Request => false,
        Kind::ResponseToHead => true,
        Kind::ResponseToConnect if (200..300).contains(&status) => true,
        Kind::Response | Kind::ResponseToConnect => (100..200).contains(&status) || status == 204 || status == 304,
    };
    if bodiless {
        return Ok(message);
    }
    if message.is_chunked() {
        read_chunks(stream, buffer, &mut message).await?;
    } else if let Some(length) = message.header("content-length") {
        let length = length.parse().with_context(|| format!("content-length {length:?}"))?;
        message.cut_short = !fill(stream, buffer, length).await?;
        message.body = buffer.split_to(length.min(buffer.len())).to_vec();
    } else if kind != Kind::Request {
        while fill(stream, buffer, buffer.len() + 1).await? {}
        message.body = buffer.split().to_vec();
    }
    Ok(message)
}

/// Reads a head alone; `None` at the end of the stream.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> Result<Option<Message>> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end;
        }
        if !fill(stream, buffer, buffer.len() + 1).await? {
            if buffer.is_empty() {
                return Ok(None);
            }
            bail!("the stream ended within a head: {:?}", String::from_utf8_lossy(buffer));
        }
    };
    let head = buffer.split_to(end + 4);
    let head = String::from_utf8_lossy(&head[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    Ok(Some(Message {
        start,
        headers: fields(lines),
        ..Message::default()
    }))
}

async fn read_chunks<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut, message: &mut Message) -> Result<()> {
    loop {
        let Some(line) = read_line(stream, buffer).await? else {
            message.cut_short = true;
            return Ok(());
        };
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("chunk size {size:?}"))?;
        if size == 0 {
            break;
        }
        if !fill(stream, buffer, size + 2).await? {
            message.cut_short = true;
            message.body.extend_from_slice(&buffer.split());
            return Ok(());
        }
        message.body.extend_from_slice(&buffer[..size]);
        buffer.advance(size + 2);
    }
    while let Some(line) = read_line(stream, buffer).await? {
        if line.is_empty() {
            return Ok(());
        }
        message.trailers.extend(fields([line.as_str()].into_iter()));
    }
    message.cut_short = true;
    Ok(())
}

async fn read_line<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> Result<Option<String>> {
    loop {
        if let Some(end) = find(buffer, b"\r\n") {
            let line = buffer.split_to(end + 2);
            return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
        }
        if !fill(stream, buffer, buffer.len() + 1).await? {
            return Ok(None);
        }
    }
}

/// Reads until the buffer holds `length` bytes; `false` if the stream ended or broke before.
pub(crate) async fn fill<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut, length: usize) -> Result<bool> {
    if length > BYTES_MAX {
        bail!("a message of more than {BYTES_MAX} bytes");
    }
    while buffer.len() < length {
        if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn find(buffer: &[u8], mark: &[u8]) -> Option<usize> {
    buffer.windows(mark.len()).position(|window| window == mark)
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    lines.map(field).collect()
}

/// `name: value` in two.
pub(crate) fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}

/// The bytes of a message with a body of known length, or chunked when it has trailers or asks for it.
pub(crate) fn encode(start: &str, headers: &[String], body: &[u8], trailers: &[String], chunked: bool) -> Vec<u8> {
    let mut head = format!("{start}\r\n");
    for line in headers {
        let _ = write!(head, "{line}\r\n");
    }
    let mut bytes = head.into_bytes();
    if !chunked {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        return bytes;
    }
    bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    if !body.is_empty() {
        bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n");
    for line in trailers {
        bytes.extend_from_slice(format!("{line}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
