//! After a protocol switch: bytes both ways until either side ends or a limit is over, then one record.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::context::RequestContext;
use super::upgrade::ClientSwitch;
use crate::error::{ErrorKind, ResponseFlags};
use crate::http2::stream::{StreamFault, StreamRef};
use crate::journal::say;
use crate::pool::switched::Switched;

/// First buffer of a direction.
const BUFFER_BYTES_MIN: usize = 16 << 10;
/// Buffer of a direction that keeps filling the first.
const BUFFER_BYTES_MAX: usize = 256 << 10;
/// How long a client that is told of the end is still listened to, so that what was sent reaches it (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// Two sides that have switched to another protocol.
#[derive(Debug)]
pub struct Tunnel {
    pub client: ClientSwitch,
    pub upstream: Switched,
    pub kind: TunnelKind,
    pub limits: TunnelLimits,
    /// Ends with the tunnel.
    pub context: Box<RequestContext>,
}

/// Who has agreed to the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// The upstream: the end of its bytes is the end of an answer that has begun.
    Upstream,
    /// The proxy itself, for a destination that knows nothing of HTTP (Envoy API, `ConnectConfig`).
    Proxy,
}

/// How long a tunnel may take.
#[derive(Clone, Copy, Debug)]
pub struct TunnelLimits {
    /// Without a byte in either direction; zero is without bound.
    pub idle: Duration,
    /// All of it.
    pub due: Option<Instant>,
}

/// What decides how a tunnel ends.
#[derive(Clone, Copy, Debug)]
struct Rules {
    kind: TunnelKind,
    limits: TunnelLimits,
    /// The client's end is that of its connection: there is nobody left to answer, but for protocols that know nothing of HTTP.
    is_http1: bool,
}

/// Why a tunnel is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Client,
    /// The upstream said that it has no more.
    UpstreamEnded,
    UpstreamFailed,
    /// The upstream reset its stream of a connection that goes on.
    UpstreamReset,
    Idle,
    Due,
}

/// Why a direction is over.
#[derive(Debug)]
enum Stop {
    Ended,
    ReadFailed(io::Error),
    WriteFailed,
}

/// What was copied so far; right at every moment, so that a tunnel that is cut off by a drain is told truly, too.
#[derive(Debug, Default)]
struct Counts {
    to_upstream: Cell<u64>,
    to_client: Cell<u64>,
    client_ended: Cell<bool>,
}

/// The record of a tunnel; it is written when this is dropped.
#[derive(Debug)]
struct Record {
    context: Box<RequestContext>,
    counts: Counts,
}

// === impl Tunnel ===

impl Tunnel {
    /// Copies until it is over. The client's side is had once its answer has gone out.
    pub async fn run(self) {
        let record = Record::new(self.context);
        let rules = Rules {
            kind: self.kind,
            limits: self.limits,
            is_http1: matches!(self.client, ClientSwitch::Http1(_)),
        };
        match self.client {
            ClientSwitch::None => {}
            ClientSwitch::Http1(client) => {
                if let Ok(client) = client.await {
                    join(client, self.upstream, rules, record).await;
                }
            }
            ClientSwitch::Http2(client) => join(client, self.upstream, rules, record).await,
        }
    }
}

async fn join(mut client: impl AsyncRead + AsyncWrite + Unpin, upstream: Switched, rules: Rules, record: Record) {
    let is_stream = matches!(upstream, Switched::Stream(..));
    let over = match upstream {
        Switched::Connection(mut upstream, _facts) => copy(&mut client, &mut upstream, rules, &record.counts).await,
        Switched::Stream(mut upstream, _counted, _stream) => {
            copy(&mut client, &mut upstream, rules, &record.counts).await
        }
    };
    // The upstream's side is closed, and the record is written, before the client is waited for.
    record.end(over, rules, is_stream);
    if over != Over::Client {
        // It is over, whatever the client makes of it.
        let _ = timeout(LINGER, leave(&mut client)).await;
    }
}

/// Tells the client of the end and takes what it still has to say.
async fn leave(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    client.shutdown().await?;
    let mut rest = [0; 1024];
    while client.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Copies both ways. Where the client ends first the upstream learns of it and may still say what it has, if the rules let it.
async fn copy<A, B>(client: &mut A, upstream: &mut B, rules: Rules, counts: &Counts) -> Over
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let last = Cell::new(Instant::now());
    let (client_read, client_write) = tokio::io::split(client);
    let (upstream_read, upstream_write) = tokio::io::split(upstream);
    let to_client = one_way(upstream_read, client_write, &counts.to_client, &last);
    let to_upstream = async {
        let mut upstream_write = upstream_write;
        let stop = one_way(client_read, &mut upstream_write, &counts.to_upstream, &last).await;
        match stop {
            Stop::Ended if rules.keeps_half() => {
                counts.client_ended.set(true);
                // A peer that is gone is seen by who reads it.
                let _ = upstream_write.shutdown().await;
                std::future::pending().await
            }
            Stop::Ended | Stop::ReadFailed(_) => Over::Client,
            Stop::WriteFailed => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        stop = to_client => match stop {
            Stop::Ended => Over::UpstreamEnded,
            Stop::ReadFailed(error) if is_stream_reset(&error) => Over::UpstreamReset,
            Stop::ReadFailed(_) => Over::UpstreamFailed,
            Stop::WriteFailed => Over::Client,
        },
        over = to_upstream => over,
        () = idle_since(&last, rules.limits.idle) => Over::Idle,
        () = due(rules.limits.due) => Over::Due,
    }
}

/// Copies until the reader ends or somebody fails.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &Cell<u64>,
    last: &Cell<Instant>,
) -> Stop {
    let mut buffer = vec![0; BUFFER_BYTES_MIN];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) => return Stop::Ended,
            Ok(read) => read,
            Err(error) => return Stop::ReadFailed(error),
        };
        last.set(Instant::now());
        count.set(count.get() + read as u64);
        if to.write_all(&buffer[..read]).await.is_err() || to.flush().await.is_err() {
            return Stop::WriteFailed;
        }
        last.set(Instant::now());
        if read == buffer.len() && read < BUFFER_BYTES_MAX {
            buffer.resize(BUFFER_BYTES_MAX, 0);
        }
    }
}

/// Resolves when nothing flowed for `idle`; the timer is armed anew only when it fires.
async fn idle_since(last: &Cell<Instant>, idle: Duration) {
    if idle.is_zero() {
        return std::future::pending().await;
    }
    loop {
        let due = last.get() + idle;
        if due <= Instant::now() {
            return;
        }
        sleep_until(due).await;
    }
}

async fn due(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn is_stream_reset(error: &io::Error) -> bool {
    let h2 = error.get_ref().and_then(|inner| inner.downcast_ref::<h2::Error>());
    h2.is_some_and(h2::Error::is_reset)
}

// === impl Rules ===

impl Rules {
    fn keeps_half(self) -> bool {
        !self.is_http1 || self.kind == TunnelKind::Proxy
    }
}

// === impl Record ===

impl Record {
    fn new(context: Box<RequestContext>) -> Self {
        Self {
            context,
            counts: Counts::default(),
        }
    }

    /// Writes it, with Envoy's words for how it came to an end.
    fn end(mut self, over: Over, rules: Rules, is_stream: bool) {
        let gone = match self.context.stream.as_ref().and_then(StreamRef::fault) {
            Some(StreamFault::Reset) => (ResponseFlags::DOWNSTREAM_REMOTE_RESET, "http2.remote_reset"),
            _ => (ErrorKind::ClientGone.flag(), ErrorKind::ClientGone.details()),
        };
        let (flag, details) = match over {
            Over::Client => gone,
            Over::UpstreamEnded if rules.is_http1 && self.counts.client_ended.get() => gone,
            Over::UpstreamEnded if is_stream || rules.kind == TunnelKind::Proxy => {
                (ResponseFlags::default(), "via_upstream")
            }
            Over::UpstreamEnded | Over::UpstreamFailed => (
                ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
                "upstream_reset_after_response_started{connection_termination}",
            ),
            Over::UpstreamReset => (
                ResponseFlags::UPSTREAM_REMOTE_RESET,
                "upstream_reset_after_response_started{remote_reset}",
            ),
            Over::Idle => (ErrorKind::IdleTimeout.flag(), ErrorKind::IdleTimeout.details()),
            Over::Due => {
                let kind = ErrorKind::StreamDurationExceeded;
                (kind.flag(), kind.details())
            }
        };
        let info = &mut self.context.info;
        info.flags.insert(flag);
        info.details = Some(details.into());
        say!(info.journal, reason = details, "the tunnel is over");
        self.context.complete();
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let received = &self.context.progress.received;
        received.set(received.get() + self.counts.to_upstream.get());
        self.context.info.bytes_sent = self.counts.to_client.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NO_LIMITS: TunnelLimits = TunnelLimits {
        idle: Duration::ZERO,
        due: None,
    };

    /// How a tunnel ends whose sides do this, and what it has counted.
    async fn check(
        limits: TunnelLimits,
        is_http1: bool,
        sides: impl AsyncFnOnce(tokio::io::DuplexStream, tokio::io::DuplexStream),
        expected: (Over, u64, u64),
    ) {
        let (mut client, client_far) = tokio::io::duplex(64);
        let (mut upstream, upstream_far) = tokio::io::duplex(64);
        let counts = Counts::default();
        let rules = Rules {
            kind: TunnelKind::Upstream,
            limits,
            is_http1,
        };
        let copying = copy(&mut client, &mut upstream, rules, &counts);
        let (over, ()) = tokio::join!(copying, sides(client_far, upstream_far));
        let counted = (over, counts.to_upstream.get(), counts.to_client.get());
        assert_eq!(counted, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_with_its_upstream() {
        let sides = async |mut client: tokio::io::DuplexStream, mut upstream: tokio::io::DuplexStream| {
            client.write_all(b"question").await.unwrap();
            let mut question = [0; 8];
            upstream.read_exact(&mut question).await.unwrap();
            upstream.write_all(b"answer").await.unwrap();
            drop(upstream);
            let mut answer = [0; 6];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!((&question, &answer), (b"question", b"answer"));
        };
        check(NO_LIMITS, true, sides, (Over::UpstreamEnded, 8, 6)).await;
        check(NO_LIMITS, false, sides, (Over::UpstreamEnded, 8, 6)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_ends_may_still_be_answered() {
        let sides = async |mut client: tokio::io::DuplexStream, mut upstream: tokio::io::DuplexStream| {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = String::new();
            upstream.read_to_string(&mut question).await.unwrap();
            upstream.write_all(b"answer").await.unwrap();
            drop(upstream);
            let mut answer = [0; 6];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
        };
        check(NO_LIMITS, false, sides, (Over::UpstreamEnded, 8, 6)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn limits_end_a_tunnel() {
        let silent = async |_client: tokio::io::DuplexStream, _upstream: tokio::io::DuplexStream| {
            tokio::time::sleep(SECOND * 10).await;
        };
        let idle = TunnelLimits {
            idle: SECOND,
            ..NO_LIMITS
        };
        check(idle, true, silent, (Over::Idle, 0, 0)).await;
        let busy = async |mut client: tokio::io::DuplexStream, mut upstream: tokio::io::DuplexStream| {
            for _ in 0..5 {
                client.write_all(b"x").await.unwrap();
                upstream.read_u8().await.unwrap();
                tokio::time::sleep(SECOND * 2 / 3).await;
            }
        };
        check(idle, true, busy, (Over::UpstreamEnded, 5, 0)).await;
        let due = TunnelLimits {
            idle: SECOND,
            due: Some(Instant::now() + SECOND * 19 / 10),
        };
        let mut busy_for_long = 0;
        let busy = async |mut client: tokio::io::DuplexStream, _upstream: tokio::io::DuplexStream| {
            while client.write_all(b"x").await.is_ok() && busy_for_long < 5 {
                busy_for_long += 1;
                tokio::time::sleep(SECOND * 2 / 3).await;
            }
        };
        check(due, true, busy, (Over::Due, 3, 0)).await;
    }
}
