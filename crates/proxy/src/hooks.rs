//! `weft-proxy wait` and `weft-proxy drain`: the hooks of a pod's container. The first holds the application back until the proxy is ready,
//! the second tells the proxy that its pod ends, and keeps it, if asked, until the application has gone.
//!
//! Whether an application still lives is read from the sockets of the pod, which its containers share: those of any user but the
//! proxy's are the application's. A process that has ended leaves none that listens or is connected.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::{Drain, Wait};

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Longest time that one question to the proxy takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time to try to tell the proxy: SIGTERM waits for this hook, and tells it as well.
const TELL_TIMEOUT: Duration = Duration::from_secs(3);

/// States of a connection whose owner lives: ESTABLISHED, SYN_SENT, CLOSE_WAIT, LISTEN (Linux, `include/net/tcp_states.h`).
const LIVE_STATES: [&str; 4] = ["01", "02", "08", "0A"];

/// How a good answer begins.
const OK: &[u8] = b"HTTP/1.1 200";

/// Waits until the proxy is ready. That time is over is an error, so that the kubelet reports it.
pub async fn wait(options: &Wait) -> Result<()> {
    let started = Instant::now();
    while !is_good(options.address, "GET /healthz/ready") {
        if started.elapsed() >= options.timeout {
            bail!(
                "the proxy is not ready after {:?}; its log says what it waits for",
                options.timeout
            );
        }
        sleep(INTERVAL).await;
    }
    Ok(())
}

/// Has the proxy send callers away, and waits as the flags say. That the application is still there when time is over is no error: the
/// pod's grace period is nearly over, and the proxy must end in any case.
pub async fn drain(options: &Drain) -> Result<()> {
    let started = Instant::now();
    let told = tell(options.address).await;
    if options.until_idle {
        sleep_until(started + options.at_least.min(options.timeout)).await;
        let own = rustix::process::getuid().as_raw();
        while live_sockets(own)? > 0 && started.elapsed() < options.timeout {
            sleep(INTERVAL).await;
        }
    }
    told
}

async fn tell(address: SocketAddr) -> Result<()> {
    let started = Instant::now();
    while !is_good(address, "POST /drain") {
        if started.elapsed() >= TELL_TIMEOUT {
            bail!("no proxy at {address} takes the message that its pod ends; its log says what became of it");
        }
        sleep(INTERVAL).await;
    }
    Ok(())
}

/// Whether the proxy answers 200. Blocks for that long: this process has nothing else to do.
fn is_good(address: SocketAddr, request: &str) -> bool {
    ask(address, request).is_ok_and(|answer| answer == OK)
}

/// The first bytes of the answer; they may come in pieces.
fn ask(address: SocketAddr, request: &str) -> io::Result<[u8; OK.len()]> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut head = [0; OK.len()];
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

    /// A proxy that gives these answers, one to a connection, and then none. It returns the request lines.
    fn proxy(answers: &'static [&'static str]) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let serve = |status: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 256];
                let length = stream.read(&mut head).unwrap();
                // At once: whoever asks reads the status alone and is gone before a second piece.
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                head.lines().next().unwrap_or_default().to_owned()
            };
            answers.iter().map(serve).collect()
        });
        (address, server)
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_the_proxy_answers_200_and_fails_when_it_never_does() {
        let (address, server) = proxy(&["503 Service Unavailable", "200 OK"]);
        let mut options = Wait {
            timeout: Duration::from_secs(20),
            address,
        };
        wait(&options).await.unwrap();
        assert_eq!(server.join().unwrap(), ["GET /healthz/ready HTTP/1.1"; 2]);
        options.timeout = Duration::ZERO;
        let error = wait(&options).await.unwrap_err();
        assert!(error.to_string().contains("not ready"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_proxy_is_told_and_a_missing_one_is_reported_after_the_wait() {
        let (address, server) = proxy(&["503 Service Unavailable", "200 OK"]);
        let mut options = Drain {
            until_idle: false,
            at_least: Duration::ZERO,
            timeout: Duration::from_secs(60),
            address,
        };
        let started = Instant::now();
        drain(&options).await.unwrap();
        assert_eq!(server.join().unwrap(), ["POST /drain HTTP/1.1"; 2]);
        assert!(started.elapsed() < TELL_TIMEOUT, "it goes on at once");
        // Without a proxy, and with sockets of nobody but this process' user, the rest of the time is waited for all the same.
        options.until_idle = true;
        options.at_least = Duration::from_secs(8);
        options.timeout = Duration::from_secs(9);
        let started = Instant::now();
        let error = drain(&options).await.unwrap_err();
        assert!(error.to_string().contains("no proxy at 127.0.0.1:"), "{error}");
        assert!(
            (8..=9).contains(&started.elapsed().as_secs()),
            "{:?}",
            started.elapsed()
        );
    }
}
