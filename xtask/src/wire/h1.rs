//! HTTP/1.1 as a server or client reads it that believes all it is told, and a client that sends bytes as they are.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Field, latin1};

/// How long is listened for more once all that was asked for is there: what comes then should not.
const GRACE: Duration = Duration::from_millis(25);
/// Between parts of what is sent, so that each is read by itself.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one read blocks before the clock is looked at.
const SLICE: Duration = Duration::from_millis(10);

/// A request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The first line; of HTTP/2 `METHOD PATH HTTP/2` and `HTTP/2 STATUS`.
    pub(crate) start: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// What it announces did not come.
    pub(crate) cut_short: bool,
}

/// What a message is an example of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Answer,
    /// One to HEAD.
    BarrenAnswer,
}

// === impl Message ===

impl Message {
    /// The status of an answer; 0 where there is none.
    pub(crate) fn status(&self) -> u16 {
        let word = self.start.split(' ').nth(1);
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// Whether nothing more comes of an answer's request.
    pub(crate) fn is_final(&self) -> bool {
        !(100..200).contains(&self.status()) || self.status() == 101
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        let line = self.start.split_once(' ').map_or("", |(_, rest)| rest);
        line.rsplit_once(' ').map_or(line, |(target, _)| target)
    }

    /// Values of a name, in their order.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self
            .fields
            .iter()
            .filter(move |field| field.0.eq_ignore_ascii_case(name));
        named.map(|field| field.1.as_str())
    }

    fn length(&self) -> Option<usize> {
        self.values("content-length").next()?.trim().parse().ok()
    }

    fn is_chunked(&self) -> bool {
        self.values("transfer-encoding")
            .any(|value| value.to_ascii_lowercase().contains("chunked"))
    }
}

/// The first message of these bytes, and how many of them it is; none while more may come.
pub(crate) fn first(bytes: &[u8], kind: Kind, closed: bool) -> Option<(Message, usize)> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        let rest = Message {
            start: latin1(bytes),
            cut_short: true,
            ..Message::default()
        };
        return (closed && !bytes.is_empty()).then_some((rest, bytes.len()));
    };
    let mut message = head(&latin1(&bytes[..end]));
    let body = &bytes[end + 4..];
    let barren =
        kind == Kind::BarrenAnswer || (kind == Kind::Answer && matches!(message.status(), 100..=199 | 204 | 304));
    let taken = if barren {
        Some(0)
    } else if message.is_chunked() {
        chunks(body, &mut message)
    } else if let Some(length) = message.length() {
        message.body = body[..length.min(body.len())].to_vec();
        (body.len() >= length).then_some(length)
    } else if kind == Kind::Request {
        Some(0)
    } else {
        message.body = body.to_vec();
        return closed.then_some((message, bytes.len()));
    };
    match taken {
        Some(taken) => Some((message, end + 4 + taken)),
        None if closed => {
            message.cut_short = true;
            Some((message, bytes.len()))
        }
        None => None,
    }
}

/// A head without the empty line behind it.
pub(crate) fn head(text: &str) -> Message {
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
    };
    Message {
        start,
        fields: lines.map(field).collect(),
        ..Message::default()
    }
}

/// How many bytes chunks and trailers are; a size that is none takes all there is.
fn chunks(bytes: &[u8], message: &mut Message) -> Option<usize> {
    let mut at = 0;
    loop {
        let line_end = at + find(&bytes[at..], b"\r\n")?;
        let line = latin1(&bytes[at..line_end]);
        let size = line.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(size, 16) else {
            message.cut_short = true;
            return Some(bytes.len());
        };
        at = line_end + 2;
        if size == 0 {
            break;
        }
        let end = at.saturating_add(size);
        message.body.extend_from_slice(&bytes[at..end.min(bytes.len())]);
        at = end.saturating_add(2);
        if at > bytes.len() {
            return None;
        }
    }
    loop {
        let line_end = at + find(&bytes[at..], b"\r\n")?;
        let line = latin1(&bytes[at..line_end]);
        at = line_end + 2;
        if line.is_empty() {
            return Some(at);
        }
        message.trailers.extend(head(&format!("\r\n{line}")).fields);
    }
}

/// Where these bytes begin.
pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What a client sends over a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    /// Sent one after the other, with a pause between them.
    pub(crate) parts: Vec<Vec<u8>>,
    /// Final answers that are waited for.
    pub(crate) answers: usize,
    /// The connection is reset once all is sent.
    pub(crate) abort: bool,
    /// Which requests are HEAD, whose answers end with their head.
    pub(crate) barren: Vec<bool>,
    pub(crate) limit: Duration,
}

/// What a client heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Interim answers too, in the order of their coming.
    pub(crate) answers: Vec<Message>,
    pub(crate) closed: bool,
    /// The client's own port, by which an access log names it.
    pub(crate) port: u16,
    /// Reset of an HTTP/2 stream or end of its connection, in words.
    pub(crate) broken: Option<String>,
}

// === impl Heard ===

impl Heard {
    /// In a few words: statuses, and what became of the connection.
    pub(crate) fn summary(&self) -> String {
        let mut words: Vec<String> = self.answers.iter().map(|answer| answer.status().to_string()).collect();
        words.extend(self.broken.clone());
        if words.is_empty() {
            words.push("nothing".to_owned());
        }
        if self.closed {
            words.push("closed".to_owned());
        }
        words.join(" ")
    }
}

/// Sends and listens until the answers are there, the connection is closed or the time is over.
pub(crate) fn talk(to: SocketAddr, talk: &Talk) -> Result<Heard> {
    let mut stream = TcpStream::connect(to)?;
    let port = stream.local_addr()?.port();
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SLICE))?;
    stream.set_write_timeout(Some(talk.limit))?;
    let mut heard = Vec::new();
    let mut closed = false;
    for (index, part) in talk.parts.iter().enumerate() {
        if index > 0 {
            listen(&mut stream, &mut heard, &mut closed, PAUSE, |_, _| false);
        }
        // Whoever refuses the first part may have closed.
        if closed || stream.write_all(part).is_err() {
            break;
        }
    }
    if talk.abort {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        return Ok(Heard {
            port,
            ..Heard::default()
        });
    }
    let enough = |heard: &[u8], closed: bool| finals(&answers(heard, &talk.barren, closed)) >= talk.answers;
    listen(&mut stream, &mut heard, &mut closed, talk.limit, enough);
    listen(&mut stream, &mut heard, &mut closed, GRACE, |_, closed| closed);
    Ok(Heard {
        answers: answers(&heard, &talk.barren, closed),
        closed,
        port,
        broken: None,
    })
}

fn finals(messages: &[Message]) -> usize {
    messages.iter().filter(|message| message.is_final()).count()
}

/// All answers of these bytes, to requests of which some are HEAD.
pub(crate) fn answers(mut bytes: &[u8], barren: &[bool], closed: bool) -> Vec<Message> {
    let mut found: Vec<Message> = Vec::new();
    loop {
        let kind = match barren.get(finals(&found)) {
            Some(true) => Kind::BarrenAnswer,
            Some(false) | None => Kind::Answer,
        };
        let Some((message, taken)) = first(bytes, kind, closed) else {
            return found;
        };
        found.push(message);
        bytes = &bytes[taken..];
    }
}

fn listen(
    stream: &mut TcpStream,
    heard: &mut Vec<u8>,
    closed: &mut bool,
    limit: Duration,
    enough: impl Fn(&[u8], bool) -> bool,
) {
    let deadline = Instant::now() + limit;
    let mut buffer = [0; 16 << 10];
    while !*closed && !enough(heard, *closed) && Instant::now() < deadline {
        match stream.read(&mut buffer) {
            Ok(0) => *closed = true,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => *closed = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, kind: Kind, closed: bool, found: Option<(&str, &str, usize)>) {
        let seen = first(bytes.as_bytes(), kind, closed);
        let seen = seen.map(|(message, taken)| (message.start, latin1(&message.body), taken));
        let found = found.map(|(start, body, taken)| (start.to_owned(), body.to_owned(), taken));
        assert_eq!(seen, found, "{bytes:?}");
    }

    #[test]
    fn messages_end_where_they_say() {
        let request = "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET";
        check(request, Kind::Request, false, Some(("POST / HTTP/1.1", "abc", 41)));
        check(
            "GET / HTTP/1.1\r\n\r\nx",
            Kind::Request,
            false,
            Some(("GET / HTTP/1.1", "", 18)),
        );
        check("GET / HTTP/1.1\r\n", Kind::Request, false, None);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\nt: 1\r\n\r\nmore";
        check(
            chunked,
            Kind::Answer,
            false,
            Some(("HTTP/1.1 200 OK", "hi", chunked.len() - 4)),
        );
        check("HTTP/1.1 200 OK\r\n\r\nall", Kind::Answer, false, None);
        check(
            "HTTP/1.1 200 OK\r\n\r\nall",
            Kind::Answer,
            true,
            Some(("HTTP/1.1 200 OK", "all", 22)),
        );
        let barren = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
        check(
            barren,
            Kind::BarrenAnswer,
            false,
            Some(("HTTP/1.1 200 OK", "", barren.len())),
        );
        check(barren, Kind::Answer, false, None);
    }

    #[test]
    fn a_target_may_have_spaces() {
        assert_eq!(head("GET /a b HTTP/1.1\r\nx: 1").target(), "/a b");
    }
}
