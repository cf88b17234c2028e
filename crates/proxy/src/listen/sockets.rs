//! Listening sockets: bound once per address for every worker, kept while any listener wants the address.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::UnboundedSender;

/// Connections that wait to be accepted, per socket.
const BACKLOG: i32 = 4096;

/// What the control thread tells a worker. Bounded by the number of listeners, since each change sends one per address.
#[derive(Debug)]
pub enum Command {
    /// Accept on this socket for the named listener.
    Listen {
        /// Key of the socket.
        key: SocketKey,
        socket: std::net::TcpListener,
    },
    Unlisten(SocketKey),
}

/// A socket's address and, where the port is free to choose, whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey {
    pub listener: Arc<str>,
    /// Address as configured.
    pub address: SocketAddr,
}

/// The sockets of all workers.
#[derive(Debug)]
pub struct Sockets {
    workers: Vec<UnboundedSender<Command>>,
    bound: BTreeMap<SocketKey, SocketAddr>,
}

/// An address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {}: cannot bind {}: {error}{}", key.listener, key.address, hint(error))]
pub struct BindError {
    pub key: SocketKey,
    pub error: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    let hints = [
        (
            io::ErrorKind::AddrInUse,
            "; another process listens there, stop it or choose another port",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "; ports below 1024 need the right to bind them",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "; the machine does not have this address",
        ),
    ];
    hints
        .into_iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or("", |(_, hint)| hint)
}

// === impl Sockets ===

impl Sockets {
    /// No sockets yet, for these workers.
    pub fn new(workers: Vec<UnboundedSender<Command>>) -> Self {
        Self {
            workers,
            bound: BTreeMap::new(),
        }
    }

    /// Binds what is wanted and not bound, and lets go of what is bound and not wanted.
    pub fn apply(&mut self, wanted: &[SocketKey]) -> Vec<BindError> {
        let gone: Vec<SocketKey> = self.bound.keys().filter(|key| !wanted.contains(key)).cloned().collect();
        for key in gone {
            self.bound.remove(&key);
            self.tell(|| Command::Unlisten(key.clone()));
        }
        let mut errors = Vec::new();
        for key in wanted {
            if self.bound.contains_key(key) {
                continue;
            }
            if let Err(error) = self.bind(key) {
                errors.push(BindError {
                    key: key.clone(),
                    error,
                });
            }
        }
        errors
    }

    /// Bound addresses by listener.
    pub fn bound(&self) -> &BTreeMap<SocketKey, SocketAddr> {
        &self.bound
    }

    /// One socket per worker; the kernel spreads connections over them.
    fn bind(&mut self, key: &SocketKey) -> io::Result<()> {
        let mut address = key.address;
        // Sharing an address must not let another process take half of its connections unnoticed.
        if address.port() != 0 {
            drop(bound_socket(address, false)?);
        }
        let mut sockets = Vec::with_capacity(self.workers.len());
        for _ in &self.workers {
            let socket = listening_socket(address)?;
            address = socket.local_addr()?;
            sockets.push(socket);
        }
        tracing::info!(name = %key.listener, addr = %address, "listening");
        for (worker, socket) in self.workers.iter().zip(sockets) {
            // A worker that is gone has its own error; the others go on.
            let _ = worker.send(Command::Listen {
                key: key.clone(),
                socket,
            });
        }
        self.bound.insert(key.clone(), address);
        Ok(())
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            let _ = worker.send(command());
        }
    }
}

fn listening_socket(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = bound_socket(address, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bound_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        // As in Envoy, `::` does not stand for IPv4 addresses as well: they may have a socket of their own.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
