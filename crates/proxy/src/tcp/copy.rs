//! Copying between two byte streams, each direction on its own, until both ended, one failed, or nothing flowed for too long.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// First buffer of a direction.
const BUFFER_BYTES_MIN: usize = 16 << 10;

/// Buffer of a direction that keeps filling the first.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// What was copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// Bytes from the client.
    pub to_upstream: u64,
    /// Bytes to the client.
    pub to_client: u64,
    /// Whether the client was the first to close.
    pub client_closed_first: bool,
    /// Why it ended, unless both sides closed.
    pub error: Option<io::Error>,
}

/// Copies both ways. `idle` zero waits for ever.
pub async fn both_ways<A, B>(client: &mut A, upstream: &mut B, idle: Duration) -> Copied
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let to_upstream = Cell::new(0);
    let to_client = Cell::new(0);
    let last = Cell::new(Instant::now());
    let first_closed = Cell::new(None);
    let error = {
        let (client_read, client_write) = tokio::io::split(client);
        let (upstream_read, upstream_write) = tokio::io::split(upstream);
        let copying = async {
            tokio::try_join!(
                one_way(client_read, upstream_write, &to_upstream, &last, || note_close(
                    &first_closed,
                    true
                )),
                one_way(upstream_read, client_write, &to_client, &last, || note_close(
                    &first_closed,
                    false
                )),
            )
        };
        tokio::select! {
            done = copying => done.err(),
            () = idle_since(&last, idle) => Some(io::ErrorKind::TimedOut.into()),
        }
    };
    Copied {
        to_upstream: to_upstream.get(),
        to_client: to_client.get(),
        client_closed_first: first_closed.get() == Some(true),
        error,
    }
}

fn note_close(first: &Cell<Option<bool>>, client: bool) {
    if first.get().is_none() {
        first.set(Some(client));
    }
}

/// Copies until the reader ends, then closes the writer's half.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &Cell<u64>,
    last: &Cell<Instant>,
    on_close: impl Fn(),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES_MIN];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            on_close();
            return to.shutdown().await;
        }
        last.set(Instant::now());
        to.write_all(&buffer[..read]).await?;
        count.set(count.get() + read as u64);
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
        tokio::time::sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        let (mut client, mut client_far) = tokio::io::duplex(64);
        let (mut upstream, mut upstream_far) = tokio::io::duplex(64);
        let far = async {
            client_far.write_all(b"question").await.unwrap();
            client_far.shutdown().await.unwrap();
            let mut question = String::new();
            upstream_far.read_to_string(&mut question).await.unwrap();
            upstream_far.write_all(b"answer").await.unwrap();
            upstream_far.shutdown().await.unwrap();
            let mut answer = String::new();
            client_far.read_to_string(&mut answer).await.unwrap();
            (question, answer)
        };
        let (copied, (question, answer)) = tokio::join!(both_ways(&mut client, &mut upstream, Duration::ZERO), far);
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        assert_eq!((copied.to_upstream, copied.to_client), (8, 6));
        assert!(copied.error.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let (mut client, _client_far) = tokio::io::duplex(64);
        let (mut upstream, _upstream_far) = tokio::io::duplex(64);
        let copied = both_ways(&mut client, &mut upstream, Duration::from_secs(60)).await;
        assert_eq!(copied.error.map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
    }
}
