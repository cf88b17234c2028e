//! An upstream that believes every head and keeps what it was sent. It answers as it is told to: in time, early, never, or with garbage.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;

use super::h1::{self, Kind, Message};
use super::{Field, h2, locked};

/// Requests to targets that begin so are answered with the target and the header `x-token`, whatever the script says.
pub(crate) const OWN: &str = "/own";
/// More than that of one connection is not kept; it is closed.
const KEPT_BYTES: usize = 32 << 20;

/// What is answered to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Before the body has been read; what follows is taken for the next request.
    pub(crate) early: bool,
    /// Sent as they are. Over HTTP/2 as frames, where they are an answer of HTTP/1.1.
    pub(crate) parts: Vec<Vec<u8>>,
    pub(crate) then: Then,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Close,
    Reset,
    /// Nothing more is read.
    Hang,
}

/// A running upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    over: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    script: Vec<Reply>,
    /// How many requests have been answered by it; the last reply is repeated.
    next: usize,
    seen: Vec<Message>,
}

// === impl Upstream ===

impl Upstream {
    /// Listens on a free port of loopback.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            // A connection's thread ends with it, and the proxy that has it is ended before the program.
            for stream in listener.incoming().flatten() {
                if of_thread.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Ok(Self { address, shared })
    }

    /// Forgets what was seen, and begins a script.
    pub(crate) fn reset(&self, script: &[Reply]) {
        *locked(&self.shared.state) = State {
            script: script.to_vec(),
            ..State::default()
        };
    }

    /// What has been sent since the last reset, in the order of its coming.
    pub(crate) fn seen(&self) -> Vec<Message> {
        locked(&self.shared.state).seen.clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes up who waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

// === impl Shared ===

impl Shared {
    fn reply(&self, request: &Message) -> Reply {
        let mut state = locked(&self.state);
        let reply = state.script.get(state.next).or_else(|| state.script.last()).cloned();
        if let Some(reply) = reply.filter(|_| !request.target().starts_with(OWN)) {
            state.next += 1;
            return reply;
        }
        let token = request.values("x-token").next().unwrap_or("-");
        let body = format!("{} {token}", request.target());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        // A head alone is the answer to HEAD.
        let body = if request.start.starts_with("HEAD ") {
            String::new()
        } else {
            body
        };
        Reply {
            early: false,
            parts: vec![super::bytes_of(&(head + &body))],
            then: Then::Keep,
        }
    }

    fn saw(&self, message: Message) {
        locked(&self.state).seen.push(message);
    }
}

/// An error is the end of the connection, which the proxy may bring about when it likes.
fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut first = [0; 3];
    let begun = stream.set_nodelay(true).is_ok() && stream.read_exact(&mut first).is_ok();
    let _ = match begun {
        true if &first == b"PRI" => serve_h2(&mut stream, shared),
        true => serve_h1(&mut stream, shared, first.to_vec()),
        false => Ok(()),
    };
}

fn serve_h1(stream: &mut TcpStream, shared: &Shared, mut bytes: Vec<u8>) -> Result<()> {
    let mut closed = false;
    let mut pending: Option<Reply> = None;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let head_end = h1::find(&bytes, b"\r\n\r\n");
        if let (Some(end), None) = (head_end, &pending) {
            let head = h1::head(&super::latin1(&bytes[..end]));
            let reply = shared.reply(&head);
            if reply.early {
                bytes.drain(..end + 4);
                shared.saw(head);
                if !answer(stream, &reply)? {
                    return Ok(());
                }
                continue;
            }
            pending = Some(reply);
        }
        if let Some((message, taken)) = h1::first(&bytes, Kind::Request, closed) {
            bytes.drain(..taken);
            let reply = pending.take();
            shared.saw(message);
            if let Some(reply) = reply
                && !answer(stream, &reply)?
            {
                return Ok(());
            }
            continue;
        }
        if closed || bytes.len() > KEPT_BYTES {
            return Ok(());
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => closed = true,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// False where the connection is over.
fn answer(stream: &mut TcpStream, reply: &Reply) -> Result<bool> {
    for (index, part) in reply.parts.iter().enumerate() {
        if index > 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        stream.write_all(part)?;
    }
    end(stream, reply.then)
}

fn end(stream: &mut TcpStream, then: Then) -> Result<bool> {
    match then {
        Then::Keep => return Ok(true),
        Then::Close => {}
        Then::Reset => rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?,
        // Until the proxy has gone.
        Then::Hang => while stream.read(&mut [0; 4096])? > 0 {},
    }
    Ok(false)
}

fn serve_h2(stream: &mut TcpStream, shared: &Shared) -> Result<()> {
    stream.read_exact(&mut vec![0; h2::PREFACE.len() - 3])?;
    stream.write_all(&h2::settings(&[]))?;
    let mut inbound = h2::Inbound::default();
    let mut pending: Vec<(u32, Reply)> = Vec::new();
    let mut begun = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let said = inbound.read(&buffer[..count]);
        stream.write_all(&said)?;
        for (id, seen) in inbound.streams.range(begun + 1..) {
            if !seen.heads.is_empty() {
                begun = *id;
                pending.push((*id, shared.reply(&seen.message(true))));
            }
        }
        let mut left = Vec::new();
        for (id, reply) in std::mem::take(&mut pending) {
            let Some(seen) = inbound.streams.get(&id) else { continue };
            if !(seen.ended || reply.early || seen.reset.is_some()) {
                left.push((id, reply));
                continue;
            }
            shared.saw(seen.message(true));
            if seen.reset.is_none() {
                for part in frames(id, &reply) {
                    stream.write_all(&part)?;
                }
                if reply.then == Then::Reset {
                    stream.write_all(&h2::frame(h2::RST_STREAM, 0, id, &[0, 0, 0, 2]))?;
                } else if reply.then == Then::Close {
                    return Ok(());
                }
            }
        }
        pending = left;
    }
}

/// An answer of HTTP/1.1 as frames; what is none goes as it is.
fn frames(id: u32, reply: &Reply) -> Vec<Vec<u8>> {
    let bytes = reply.parts.concat();
    let answers = h1::answers(&bytes, &[], true);
    if answers.is_empty() || answers.iter().any(|answer| answer.status() == 0) {
        return reply.parts.clone();
    }
    let frame = |answer: &Message| {
        let mut fields: Vec<Field> = vec![(":status".to_owned(), answer.status().to_string())];
        let kept = answer
            .fields
            .iter()
            .filter(|field| !field.0.eq_ignore_ascii_case("transfer-encoding"));
        fields.extend(kept.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        if (100..200).contains(&answer.status()) {
            let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            return h2::headers(id, fields, false);
        }
        h2::message(id, &fields, &answer.body, &answer.trailers)
    };
    answers.iter().map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(to: SocketAddr, bytes: &str, answers: usize) -> Vec<String> {
        let talk = h1::Talk {
            parts: vec![bytes.as_bytes().to_vec()],
            answers,
            abort: false,
            barren: Vec::new(),
            limit: Duration::from_secs(10),
        };
        let heard = h1::talk(to, &talk).unwrap();
        heard
            .answers
            .iter()
            .map(|answer| super::super::latin1(&answer.body))
            .collect()
    }

    #[test]
    fn it_answers_as_told_and_keeps_what_it_saw() {
        let upstream = Upstream::start().unwrap();
        let reply = |early, text: &str| Reply {
            early,
            parts: vec![text.as_bytes().to_vec()],
            then: Then::Keep,
        };
        upstream.reset(&[reply(true, "HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno")]);
        let smuggled = "POST /a HTTP/1.1\r\ncontent-length: 30\r\n\r\nGET /own HTTP/1.1\r\nx-token: 7\r\n\r\n";
        assert_eq!(ask(upstream.address, smuggled, 2), ["no", "/own 7"]);
        let targets: Vec<String> = upstream.seen().iter().map(|seen| seen.target().to_owned()).collect();
        assert_eq!(targets, ["/a", "/own"]);
    }

    #[test]
    fn http2_is_known_by_its_preface() {
        let upstream = Upstream::start().unwrap();
        upstream.reset(&[]);
        let fields = [(":method", "GET"), (":path", "/own"), ("x-token", "8")];
        let talk = h2::Talk {
            settings: Vec::new(),
            bytes: h2::headers(1, fields, true),
            streams: vec![1],
            obliging: true,
            abort: false,
            limit: Duration::from_secs(10),
        };
        let heard = h2::talk(upstream.address, &talk).unwrap();
        assert_eq!(
            (heard.answers[0].status(), heard.answers[0].body.as_slice()),
            (200, b"/own 8".as_slice())
        );
    }
}
