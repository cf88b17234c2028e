//! `weft-proxy wait`: the hooks of a pod's container, which hold the application back until the proxy is ready and keep the proxy until the
//! application has gone.
//!
//! Whether an application still lives is read from the sockets of the pod, which its containers share: those of any user but the proxy's are
//! the application's. A process that has ended leaves none that listens or is connected.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use crate::config::Wait;

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Longest time that one question to the readiness port takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// States of a connection whose owner lives: ESTABLISHED, SYN_SENT, CLOSE_WAIT, LISTEN (Linux, `include/net/tcp_states.h`).
const LIVE_STATES: [&str; 4] = ["01", "02", "08", "0A"];

/// Waits as the flags say. That time is over is an error, so that the kubelet reports it.
pub async fn run(options: &Wait) -> Result<()> {
    let started = Instant::now();
    if options.idle {
        sleep(options.at_least.min(options.timeout)).await;
    }
    let own = rustix::process::getuid().as_raw();
    loop {
        let done = if options.idle {
            live_sockets(own)? == 0
        } else {
            is_ready(options.address)
        };
        if done {
            return Ok(());
        }
        if started.elapsed() >= options.timeout {
            // The pod's grace period is nearly over; the proxy must end now in any case.
            if options.idle {
                return Ok(());
            }
            bail!(
                "the proxy is not ready after {:?}; its log says what it waits for",
                options.timeout
            );
        }
        sleep(INTERVAL).await;
    }
}

/// How an answer of readiness begins.
const READY: &[u8] = b"HTTP/1.1 200";

/// Whether the readiness port answers 200. Blocks for that long: this process has nothing else to do.
fn is_ready(address: SocketAddr) -> bool {
    ask(address).is_ok_and(|answer| answer == READY)
}

/// The first bytes of the answer; they may come in pieces.
fn ask(address: SocketAddr) -> io::Result<[u8; READY.len()]> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(b"GET /healthz/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; READY.len()];
    stream.read_exact(&mut head)?;
    Ok(head)
}

/// Sockets of this network namespace that belong to other users than `own`.
fn live_sockets(own: u32) -> io::Result<usize> {
    let mut count = 0;
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        match std::fs::read_to_string(table) {
            Ok(text) => count += count_live(&text, own),
            // Without IPv6 there is no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Counts in a table of Linux's `proc_net_tcp` form: number, local, remote, state, queues, timer, retransmits, user.
fn count_live(table: &str, own: u32) -> usize {
    let is_live = |line: &&str| {
        let mut words = line.split_ascii_whitespace();
        let state = words.nth(3);
        let user = words.nth(3).and_then(|user| user.parse::<u32>().ok());
        state.is_some_and(|state| LIVE_STATES.contains(&state)) && user.is_some_and(|user| user != own)
    };
    table.lines().skip(1).filter(is_live).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \x20  0: 0100007F:3A98 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 1 1\n\
        \x20  1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1\n\
        \x20  2: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 3 1\n\
        \x20  3: 0100007F:1F90 0100007F:9C41 06 00000000:00000000 03:00000000 00000000     0        0 0 3\n\
        \x20  4: 0100007F:1F90 0100007F:9C42 05 00000000:00000000 00:00000000 00000000     0        0 0 3\n";

    #[test]
    fn sockets_of_the_application_are_told_from_the_proxys_and_from_remains() {
        assert_eq!(count_live(TABLE, 1337), 2);
        assert_eq!(count_live(TABLE, 0), 2);
        assert_eq!(count_live("", 0), 0);
    }

    #[tokio::test]
    async fn waiting_ends_when_the_proxy_answers_200_and_fails_when_it_never_does() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut options = Wait {
            idle: false,
            at_least: Duration::ZERO,
            timeout: Duration::from_secs(20),
            address,
        };
        let server = std::thread::spawn(move || {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 256];
                let _ = stream.read(&mut head).unwrap();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        run(&options).await.unwrap();
        server.join().unwrap();
        options.timeout = Duration::ZERO;
        let error = run(&options).await.unwrap_err();
        assert!(error.to_string().contains("not ready"), "{error}");
    }
}
