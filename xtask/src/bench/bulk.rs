//! The TCP case beyond requests: bytes through one connection, and connections opened and closed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::backend::BULK_BYTES;
use super::case::{CONNECTIONS, HOST};

/// How far a measurement came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Bytes or connections.
    pub(super) count: u64,
    pub(super) time: Duration,
}

/// Fetches large bodies over one connection for a time.
pub(super) fn transfer(target: SocketAddr, time: Duration) -> Result<Progress> {
    let mut stream = TcpStream::connect(target)?;
    let mut buffer = vec![0; 256 << 10];
    let start = Instant::now();
    let mut count = 0_u64;
    while start.elapsed() < time {
        write!(stream, "GET /bulk HTTP/1.1\r\nhost: {HOST}\r\n\r\n")?;
        let mut received = 0;
        while received < BULK_BYTES {
            match stream.read(&mut buffer)? {
                0 => bail!("the proxy closed the connection"),
                bytes => received += bytes,
            }
        }
        count += u64::try_from(received)?;
    }
    Ok(Progress {
        count,
        time: start.elapsed(),
    })
}

/// Opens a connection, sends one request, closes; over and over on a few threads.
pub(super) fn connections(target: SocketAddr, time: Duration) -> Result<Progress> {
    let start = Instant::now();
    let threads = (0..CONNECTIONS / 4).map(|_| std::thread::spawn(move || connect_often(target, start, time)));
    let mut count = 0;
    for thread in threads.collect::<Vec<_>>() {
        let Ok(connections) = thread.join() else {
            bail!("a client panicked")
        };
        count += connections?;
    }
    Ok(Progress {
        count,
        time: start.elapsed(),
    })
}

fn connect_often(target: SocketAddr, start: Instant, time: Duration) -> Result<u64> {
    let mut count = 0;
    let mut buffer = vec![0; 4 << 10];
    while start.elapsed() < time {
        let mut stream = TcpStream::connect(target)?;
        write!(stream, "GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")?;
        let mut received = 0;
        // The backend's small answer is longer than its body of 1 KiB.
        while received < 1024 {
            match stream.read(&mut buffer)? {
                0 => bail!("the proxy closed the connection"),
                bytes => received += bytes,
            }
        }
        count += 1;
    }
    Ok(count)
}
