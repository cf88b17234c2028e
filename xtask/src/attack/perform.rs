//! Sends one attack to one proxy, then other clients, and says what was seen.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::row::{Attack, Frame, Group, Sent};
use super::setup::{self, LISTENERS};
use crate::bench::usage;
use crate::wire::h1::{self, Heard, Message};
use crate::wire::rig::Side;
use crate::wire::upstream::OWN;
use crate::wire::{bytes_of, h2, latin1};

/// An attack's silence is listened to no longer.
const LIMIT: Duration = Duration::from_millis(1500);
/// Others wait no longer for their answer.
const OTHERS_LIMIT: Duration = Duration::from_secs(10);

/// What was seen of an attack through one proxy.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) heard: Heard,
    /// What the upstream took for requests, those of the other clients left out.
    pub(super) reached: Vec<Message>,
    /// What another client was answered, where that was not its own.
    pub(super) poisoned: Option<String>,
    /// How much larger the process was afterwards, in MiB; of attacks on resources alone.
    pub(super) grown_mib: f64,
    /// How long the slowest of the other clients waited.
    pub(super) others_waited: Duration,
}

/// One row through one proxy.
pub(super) fn perform(side: &Side, lane: usize, row: &Attack, number: usize, certificates: &Path) -> Result<Outcome> {
    let index = setup::index(row.listener).context("a listener that is not there")?;
    let to = side.places.listeners[lane * LISTENERS.len() + index];
    let upstream = &side.upstreams[lane];
    upstream.reset(&row.upstream.script());
    let before = usage::rss_mib(side.pid())?;
    let mut outcome = Outcome::default();
    let mut crowd = Vec::new();
    match &row.sent {
        Sent::Http1 { parts, answers, abort } => {
            let talk = h1::Talk {
                parts: parts.iter().map(|part| bytes_of(part)).collect(),
                answers: *answers,
                abort: *abort,
                barren: vec![parts.first().is_some_and(|part| part.starts_with("HEAD "))],
                limit: LIMIT,
            };
            outcome.heard = h1::talk(to, &talk)?;
        }
        Sent::Http2 { frames, streams, abort } => {
            let talk = h2::Talk {
                settings: Vec::new(),
                bytes: frames.iter().flat_map(frame_bytes).collect(),
                streams: streams.clone(),
                obliging: row.group != Group::Resources,
                abort: *abort,
                limit: LIMIT,
            };
            outcome.heard = h2::talk(to, &talk)?;
        }
        Sent::Crowd { bytes, connections } => crowd = gather(to, bytes, *connections)?,
        Sent::Tls {
            identity,
            options,
            bytes,
        } => outcome.heard = tls(to, identity, options, bytes, certificates)?,
    }
    for client in 0..3 {
        let token = format!("{number}-{client}");
        let begun = Instant::now();
        let seen = if row.listener == "mutual" {
            let request = request_of(&token, "connection: close\r\n");
            first_body(&tls(to, "right", &[], &request, certificates)?)
        } else if client == 2 {
            other_by_http2(to, &token)?
        } else {
            other_by_http1(to, &token)?
        };
        outcome.others_waited = outcome.others_waited.max(begun.elapsed());
        if seen != format!("200 {OWN}/{token} {token}") {
            outcome.poisoned.get_or_insert(seen);
        }
        if row.listener == "mutual" {
            break;
        }
    }
    if row.group == Group::Resources {
        outcome.grown_mib = usage::rss_mib(side.pid())? - before;
    }
    drop(crowd);
    let is_other = |message: &Message| message.target().starts_with(OWN) && message.values("x-token").next().is_some();
    outcome.reached = upstream
        .seen()
        .into_iter()
        .filter(|message| !is_other(message))
        .collect();
    Ok(outcome)
}

fn frame_bytes(frame: &Frame) -> Vec<u8> {
    match frame {
        Frame::Head(stream, fields, end) => h2::headers(*stream, fields.iter().copied(), *end),
        Frame::Data(stream, text, end) => {
            h2::frame(h2::DATA, u8::from(*end) * h2::END_STREAM, *stream, &bytes_of(text))
        }
        Frame::Raw(kind, flags, stream, payload) => h2::frame(*kind, *flags, *stream, payload),
        Frame::Times(count, frames) => frames.iter().flat_map(frame_bytes).collect::<Vec<u8>>().repeat(*count),
        Frame::Streams(count, of) => {
            let numbers = (1..).step_by(2).take(*count);
            numbers.flat_map(of).flat_map(|frame| frame_bytes(&frame)).collect()
        }
    }
}

fn request_of(token: &str, more: &str) -> String {
    format!("GET {OWN}/{token} HTTP/1.1\r\nhost: e\r\nx-token: {token}\r\n{more}\r\n")
}

/// Status and body of the first answer.
fn first_body(heard: &Heard) -> String {
    let answer = heard.answers.first();
    answer.map_or_else(
        || heard.summary(),
        |answer| format!("{} {}", answer.status(), latin1(&answer.body)),
    )
}

fn other_by_http1(to: SocketAddr, token: &str) -> Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(OTHERS_LIMIT))?;
    stream.write_all(request_of(token, "").as_bytes())?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    // Whoever does not answer shows as that.
    while let Ok(count) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
        if let Some((answer, _)) = h1::first(&bytes, h1::Kind::Answer, count == 0) {
            return Ok(format!("{} {}", answer.status(), latin1(&answer.body)));
        }
        if count == 0 {
            break;
        }
    }
    Ok("nothing".to_owned())
}

fn other_by_http2(to: SocketAddr, token: &str) -> Result<String> {
    let path = format!("{OWN}/{token}");
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "e"),
        (":path", &path),
        ("x-token", token),
    ];
    let talk = h2::Talk {
        settings: Vec::new(),
        bytes: h2::headers(1, fields, true),
        streams: vec![1],
        obliging: true,
        abort: false,
        limit: OTHERS_LIMIT,
    };
    Ok(first_body(&h2::talk(to, &talk)?))
}

/// Many connections, on each of which the same was said.
fn gather(to: SocketAddr, bytes: &str, connections: usize) -> Result<Vec<TcpStream>> {
    let bytes = bytes_of(bytes);
    let mut crowd = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(to)?;
        // Whoever is refused is one less.
        let _ = stream.write_all(&bytes);
        crowd.push(stream);
    }
    Ok(crowd)
}

/// What `openssl s_client` hears.
fn tls(to: SocketAddr, identity: &str, options: &[&str], bytes: &str, certificates: &Path) -> Result<Heard> {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-quiet", "-ign_eof", "-connect", &to.to_string()])
        .args(options);
    if !options.contains(&"-servername") {
        command.args(["-servername", "e"]);
    }
    if !identity.is_empty() {
        let file = |ending: &str| certificates.join(format!("{identity}.{ending}"));
        command.arg("-cert").arg(file("pem")).arg("-key").arg(file("key"));
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that was refused reads nothing.
        let _ = input.write_all(&bytes_of(bytes));
        let output = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut heard = Vec::new();
            output.map(|mut output| output.read_to_end(&mut heard));
            heard
        });
        let deadline = Instant::now() + OTHERS_LIMIT;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        let heard = reader.join().unwrap_or_default();
        return Ok(Heard {
            answers: h1::answers(&heard, &[], true),
            closed: true,
            ..Heard::default()
        });
    }
    Ok(Heard::default())
}
