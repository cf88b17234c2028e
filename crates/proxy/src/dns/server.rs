//! The DNS server beside the application: UDP and TCP, bounded in what it does at once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use weft_base::shutdown::Shutdown;

use super::NameHandle;
use super::answer::{Reply, failure, reply};
use super::forward;

/// Queries that are forwarded at once; one more is answered with a failure.
const FORWARDED_MAX: usize = 1024;

/// TCP connections at once; one more waits to be accepted.
const CONNECTIONS_MAX: usize = 128;

/// A TCP client may be silent for so long.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// The longest query over UDP.
const QUERY_BYTES_MAX: usize = 4096;

/// What a `resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    pub servers: Vec<SocketAddr>,
    /// Search domains, lower case.
    pub search: Vec<String>,
    /// Dots from which on a name is asked for as it is before the search domains are tried.
    pub dots_min: usize,
}

/// What every query needs.
#[derive(Debug)]
struct Service {
    names: NameHandle,
    resolver: Resolver,
    forwarding: Semaphore,
    turn: AtomicUsize,
}

// === impl Resolver ===

impl Resolver {
    /// Reads a `resolv.conf`; the last `search` or `domain` line counts.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self {
            dots_min: 1,
            ..Self::default()
        };
        let servers = crate::capture::plan::name_servers(text);
        resolver.servers = servers.into_iter().map(|server: IpAddr| (server, 53).into()).collect();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("search" | "domain") => {
                    resolver.search = words
                        .map(|word| word.trim_end_matches('.').to_ascii_lowercase())
                        .collect();
                }
                Some("options") => {
                    let dots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    resolver.dots_min = { dots }.next_back().unwrap_or(resolver.dots_min);
                }
                _ => {}
            }
        }
        resolver
    }
}

/// Serves names on the addresses until the process stops. A family that the pod does not have is left out.
pub async fn serve(
    addresses: &[SocketAddr],
    names: NameHandle,
    resolver: Resolver,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let service = Arc::new(Service {
        names,
        resolver,
        forwarding: Semaphore::new(FORWARDED_MAX),
        turn: AtomicUsize::new(0),
    });
    for address in addresses {
        let sockets = (UdpSocket::bind(address).await, weft_base::listen::bind(*address));
        let (socket, listener) = match sockets {
            (Ok(socket), Ok(listener)) => (Arc::new(socket), listener),
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                tracing::info!(%address, "the pod does not have this address, no dns there");
                continue;
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        tracing::info!(name = "dns", addr = %address, "listening");
        let stop = shutdown.token();
        let (own, tasks) = (service.clone(), shutdown.clone());
        shutdown.spawn(async move { stop.run_until_cancelled(datagrams(own, socket, tasks)).await });
        let stop = shutdown.token();
        let (own, tasks) = (service.clone(), shutdown.clone());
        shutdown.spawn(async move { stop.run_until_cancelled(connections(own, listener, tasks)).await });
    }
    Ok(())
}

async fn datagrams(service: Arc<Service>, socket: Arc<UdpSocket>, tasks: Shutdown) {
    let mut query = vec![0; QUERY_BYTES_MAX];
    loop {
        let (read, client) = match socket.recv_from(&mut query).await {
            Ok(received) => received,
            Err(error) => {
                // An answer that could not be delivered comes back as an error of the next read.
                tracing::debug!(%error, "dns socket");
                continue;
            }
        };
        match service.decide(&query[..read], true) {
            Reply::Answer(answer) => drop(socket.send_to(&answer, client).await),
            Reply::Drop => {}
            Reply::Forward => {
                let (own, socket, query) = (service.clone(), socket.clone(), query[..read].to_vec());
                tasks.spawn(async move {
                    if let Some(answer) = own.forward(&query, true).await {
                        // The client asks again if it does not get it.
                        let _ = socket.send_to(&answer, client).await;
                    }
                });
            }
        }
    }
}

async fn connections(service: Arc<Service>, listener: TcpListener, tasks: Shutdown) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let own = service.clone();
                tasks.spawn(async move {
                    let _place = place;
                    if let Err(error) = connection(&own, stream).await {
                        tracing::debug!(%error, "dns connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept dns connections");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(service: &Service, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let query = match tokio::time::timeout(IDLE_LIMIT, forward::read_message(&mut stream)).await {
            Ok(Ok(query)) => query,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        let answer = match service.decide(&query, false) {
            Reply::Answer(answer) => Some(answer),
            Reply::Forward => service.forward(&query, false).await,
            Reply::Drop => None,
        };
        let Some(answer) = answer else {
            return Ok(());
        };
        forward::write_message(&mut stream, &answer).await?;
    }
}

// === impl Service ===

impl Service {
    fn decide(&self, query: &[u8], udp: bool) -> Reply {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        reply(query, &self.names.load(), &self.resolver.search, udp, turn)
    }

    async fn forward(&self, query: &[u8], udp: bool) -> Option<Vec<u8>> {
        let Ok(_place) = self.forwarding.try_acquire() else {
            return failure(query);
        };
        let answer = forward::ask(query, &self.resolver.servers, udp, fastrand::u16(..)).await;
        answer.or_else(|| failure(query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read() {
        let read = Resolver::parse(
            "nameserver 10.0.0.1\nsearch old\nsearch Default.svc. svc.cluster.local\nnameserver fd00::1\n",
        );
        assert_eq!(read.search, ["default.svc", "svc.cluster.local"]);
        assert_eq!(
            read.servers,
            [
                "10.0.0.1:53".parse().unwrap(),
                "[fd00::1]:53".parse::<SocketAddr>().unwrap()
            ]
        );
    }
}
