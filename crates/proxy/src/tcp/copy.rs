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

/// What was copied so far; right at every moment, so that a copy that is cut off is told truly, too.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    /// Bytes from the client.
    pub to_upstream: Cell<u64>,
    /// Bytes to the client.
    pub to_client: Cell<u64>,
}

/// Copies both ways and counts into `copied`. `idle` zero waits for ever. An error unless both sides closed.
pub(crate) async fn both_ways<A, B>(client: &mut A, upstream: &mut B, idle: Duration, copied: &Copied) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let last = Cell::new(Instant::now());
    let (client_read, client_write) = tokio::io::split(client);
    let (upstream_read, upstream_write) = tokio::io::split(upstream);
    let to_upstream = one_way(client_read, upstream_write, &copied.to_upstream, &last);
    let to_client = one_way(upstream_read, client_write, &copied.to_client, &last);
    let copying = async { tokio::try_join!(to_upstream, to_client) };
    tokio::select! {
        done = copying => done.map(|_| ()),
        () = idle_since(&last, idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Copies until the reader ends, then closes the writer's half.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &Cell<u64>,
    last: &Cell<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES_MIN];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
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
        let copied = Copied::default();
        let copying = both_ways(&mut client, &mut upstream, Duration::ZERO, &copied);
        let (result, (question, answer)) = tokio::join!(copying, far);
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        assert_eq!((copied.to_upstream.get(), copied.to_client.get()), (8, 6));
        assert!(result.is_ok());
    }

    #[tokio::test]
    async fn a_copy_that_is_cut_off_has_counted() {
        let (mut client, mut client_far) = tokio::io::duplex(64);
        let (mut upstream, mut upstream_far) = tokio::io::duplex(64);
        let copied = Copied::default();
        {
            let copying = both_ways(&mut client, &mut upstream, Duration::ZERO, &copied);
            let far = async {
                client_far.write_all(b"question").await.unwrap();
                let mut question = [0; 8];
                upstream_far.read_exact(&mut question).await.unwrap();
            };
            tokio::select! {
                _ = copying => unreachable!("both sides are open"),
                () = far => {}
            }
        }
        assert_eq!((copied.to_upstream.get(), copied.to_client.get()), (8, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let (mut client, _client_far) = tokio::io::duplex(64);
        let (mut upstream, _upstream_far) = tokio::io::duplex(64);
        let result = both_ways(&mut client, &mut upstream, Duration::from_secs(60), &Copied::default()).await;
        assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }
}
