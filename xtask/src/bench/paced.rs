//! The latency client: requests at a fixed rate, whatever the answers do, so that a stall counts against every request that was due.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::case::{CONNECTIONS, Case, HOST, PACED_RPS, PATH, USER_AGENT};
use super::paced_h2::Http2;

/// An answer that takes longer is an error.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Latencies of a round, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Sends [`PACED_RPS`] for a time over [`CONNECTIONS`] connections.
pub(super) fn measure(case: Case, target: SocketAddr, time: Duration) -> Result<Latency> {
    let gap = Duration::from_secs(1) * u32::try_from(CONNECTIONS)? / PACED_RPS;
    let start = Instant::now() + Duration::from_millis(50);
    let clients = (0..CONNECTIONS).map(|index| {
        // Connections are spread over one gap, so that requests do not come in bursts.
        let first = start + gap * u32::try_from(index)? / u32::try_from(CONNECTIONS)?;
        Ok(std::thread::spawn(move || client(case, target, first, gap, time)))
    });
    let mut micros = Vec::new();
    for client in clients.collect::<Result<Vec<_>>>()? {
        let Ok(result) = client.join() else {
            bail!("a latency client panicked")
        };
        micros.extend(result?);
    }
    micros.sort_unstable();
    Ok(Latency {
        p50_ms: percentile(&micros, 50)?,
        p99_ms: percentile(&micros, 99)?,
    })
}

fn client(case: Case, target: SocketAddr, first: Instant, gap: Duration, time: Duration) -> Result<Vec<u32>> {
    let stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut connection = match case {
        Case::Http2 => Connection::Http2(Http2::open(stream)?),
        Case::Http1 | Case::MtlsPair | Case::Tcp => Connection::Http1(Http1::new(stream)),
    };
    let mut micros = Vec::new();
    let mut due = first;
    while due < first + time {
        // Waking up late is this client's doing and not the proxy's; an answer that is late for the next request is the proxy's.
        let now = Instant::now();
        let from = match due.checked_duration_since(now) {
            Some(early) => {
                std::thread::sleep(early);
                Instant::now()
            }
            None if micros.is_empty() => now,
            None => due,
        };
        connection.exchange()?;
        micros.push(u32::try_from(from.elapsed().as_micros())?);
        due += gap;
    }
    Ok(micros)
}

fn percentile(sorted: &[u32], percent: usize) -> Result<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    let value = sorted.get(rank - 1).context("no request was measured")?;
    Ok(f64::from(*value) / 1000.0)
}

/// A connection of either protocol.
enum Connection {
    Http1(Http1),
    Http2(Http2),
}

/// A keep-alive HTTP/1.1 connection.
struct Http1 {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

// === impl Connection ===

impl Connection {
    /// One request and its whole answer.
    fn exchange(&mut self) -> Result<()> {
        match self {
            Self::Http1(connection) => connection.exchange(),
            Self::Http2(connection) => connection.exchange(),
        }
    }
}

// === impl Http1 ===

impl Http1 {
    fn new(stream: TcpStream) -> Self {
        let request = format!("GET {PATH} HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: {USER_AGENT}\r\naccept: */*\r\n\r\n");
        Self {
            stream,
            request: request.into_bytes(),
            buffer: vec![0; 16 << 10],
        }
    }

    fn exchange(&mut self) -> Result<()> {
        self.stream.write_all(&self.request)?;
        let (mut filled, mut whole) = (0, None);
        while whole.is_none_or(|whole| filled < whole) {
            let count = self.stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                bail!("the proxy closed the connection");
            }
            filled += count;
            if whole.is_none() {
                whole = answer_bytes(&self.buffer[..filled])?;
            }
        }
        Ok(())
    }
}

/// The length of the answer once its head is complete; answers have a content-length.
fn answer_bytes(received: &[u8]) -> Result<Option<usize>> {
    let Some(head) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        bail!("unexpected answer: {}", text.lines().next().unwrap_or_default());
    }
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .context("answer without content-length")?;
    Ok(Some(head + 4 + length.trim().parse::<usize>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let micros: Vec<u32> = (1..=200).map(|n| n * 1000).collect();
        assert!((percentile(&micros, 50).unwrap() - 100.0).abs() < 1e-9);
        assert!((percentile(&micros, 99).unwrap() - 198.0).abs() < 1e-9);
        assert!(percentile(&[], 50).is_err());
    }

    #[test]
    fn an_answer_is_whole_by_its_content_length() {
        assert_eq!(answer_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n").unwrap(), None);
        assert_eq!(
            answer_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").unwrap(),
            Some(43)
        );
        assert!(answer_bytes(b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
