//! From an accepted socket to whoever serves it: what is known of it, which chain, TLS, protocol.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::inspect::{Inspect, Inspected, http2_preface, inspect};
use super::sockets::{Command, SocketKey};
use super::{original_dst, proxy_protocol};
use crate::http;
use crate::journal::{Journal, Whose, say};
use crate::model::http::Codec;
use crate::model::listener::{Listener, TransportProtocol};
use crate::network_filters::NetworkFilters;
use crate::runtime::chain_match::Facts;
use crate::runtime::{ActionRuntime, ChainRef, ChainRuntime, ListenerRuntime};
use crate::stats::ListenerStats;
use crate::stream::{Replay, Stream};
use crate::stream_info::connection::{ConnectionInfo, TlsInfo, Told};
use crate::stream_info::identity::Identity;
use crate::tcp;
use crate::worker::Worker;

/// Counts an open connection of a listener.
#[derive(Debug)]
struct Open(Arc<ListenerStats>);

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// Follows the control thread's commands until the worker drains.
pub async fn run(worker: Rc<Worker>, mut commands: UnboundedReceiver<Command>) {
    let mut accepting: HashMap<SocketKey, CancellationToken> = HashMap::new();
    let stop = worker.shutdown.token();
    while let Some(Some(command)) = stop.run_until_cancelled(commands.recv()).await {
        match command {
            Command::Listen { key, socket } => match TcpListener::from_std(socket) {
                Ok(listener) => {
                    let ended = stop.child_token();
                    accepting.insert(key.clone(), ended.clone());
                    let own = worker.clone();
                    worker.spawn(async move { accept_loop(own, listener, key, ended).await });
                }
                Err(error) => tracing::error!(listener = %key.listener, %error, "cannot use listening socket"),
            },
            Command::Unlisten(key) => {
                if let Some(ended) = accepting.remove(&key) {
                    ended.cancel();
                }
            }
        }
    }
}

async fn accept_loop(worker: Rc<Worker>, listener: TcpListener, key: SocketKey, ended: CancellationToken) {
    while let Some(accepted) = ended.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((socket, peer)) => {
                let own = worker.clone();
                let name = key.listener.clone();
                worker.spawn(async move {
                    let mut journal = Journal::default();
                    match serve(own, socket, peer, &name, &mut journal).await {
                        Ok(()) => say!(journal, "connection closed"),
                        Err(error) => say!(journal, %error, "connection ended early"),
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: waiting lets some be given back.
                tracing::warn!(listener = %key.listener, %error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(
    worker: Rc<Worker>,
    mut socket: TcpStream,
    peer: SocketAddr,
    name: &Arc<str>,
    journal: &mut Journal,
) -> io::Result<()> {
    let accepted_at = Instant::now();
    // Stage 1: the listener of this moment, or the one that the client's destination belongs to.
    let runtime = worker.runtime.load();
    let Some(mut listener) = runtime.listeners.get(name) else {
        return Ok(());
    };
    socket.set_nodelay(true)?;
    let mut remote_addr = peer;
    let wants_original = listener.model.original_destination || listener.model.use_original_dst;
    let original_dst = wants_original.then(|| original_dst::original_dst(&socket)).flatten();
    let mut local_addr = original_dst.unwrap_or(socket.local_addr()?);
    if let Some(original) = original_dst.filter(|_| listener.model.use_original_dst) {
        listener = runtime.listener_of(original, listener);
    }
    let listener = listener.clone();
    let generation = runtime.generation;
    drop(runtime);
    let _open = Open::new(&listener.stats);
    let model = &listener.model;
    let name = &model.name;
    let id = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    *journal = worker.journals.connection(Whose {
        connection: id,
        listener: name,
        peer,
    });
    say!(journal, local = %local_addr, original_destination = ?original_dst, "connection accepted");

    // Stage 2: the addresses that count.
    if model.proxy_protocol
        && let Some(addresses) = proxy_protocol::read(&mut socket, model.inspect_timeout).await?
    {
        remote_addr = addresses.source;
        local_addr = addresses.destination;
    }

    // Stage 3: the first bytes, where the choice of the chain depends on them.
    let found = first_bytes(&mut socket, &listener, local_addr).await?;
    if found.timed_out {
        listener.stats.inspect_timeouts.fetch_add(1, Ordering::Relaxed);
        say!(journal, "no bytes in time that a chain could be chosen by");
        if !model.continue_on_inspect_timeout {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }

    // Stage 4: the chain.
    let facts = Facts {
        destination: local_addr,
        source: remote_addr,
        direct_source: peer,
        server_name: found.server_name.as_deref(),
        transport: found.transport,
        application_protocols: &found.application_protocols,
    };
    let position = choose_chain(&listener, &facts, journal)?;
    let chain = &listener.chains[position];

    // Stage 5: TLS, or the choice between HTTP/1 and HTTP/2.
    let Some((prefix, preface)) = preface_of(&mut socket, &found, chain, &worker).await? else {
        return Ok(());
    };
    let replay = Replay::new(prefix, socket);
    let (stream, tls) = secure(chain, replay, journal).await?;
    let identity = tls.as_ref().and_then(|tls| identity_of(tls, &worker));
    let info = Rc::new(ConnectionInfo {
        id,
        listener: name.clone(),
        direction: model.direction,
        filter_chain: chain.name.clone(),
        local_addr,
        remote_addr,
        direct_remote_addr: peer,
        original_dst,
        accepted_at,
        server_name: found.server_name,
        tls,
        identity,
        told: Told::default(),
        journal: journal.clone(),
    });

    // Stage 6: whoever serves it, as it is now: the client may have waited long before its first byte.
    let at = ChainRef {
        listener: name.clone(),
        name: chain.name.clone(),
        position,
    };
    let served = (chain.filters.clone(), chain.action.clone());
    drop(listener);
    hand_over(stream, info, at, (generation, served), preface, worker).await;
    Ok(())
}

/// Serves a connection to its end.
async fn hand_over(
    stream: Stream,
    info: Rc<ConnectionInfo>,
    at: ChainRef,
    (generation, (filters, action)): (u64, (Arc<NetworkFilters>, ActionRuntime)),
    preface: bool,
    worker: Rc<Worker>,
) {
    match action {
        ActionRuntime::Http(http) => {
            http::serve::serve(stream, info, at, (generation, http), &filters, preface, worker).await;
        }
        ActionRuntime::Tcp(tcp) => {
            let tcp = worker.runtime.load().tcp_proxy(&at).unwrap_or((filters, tcp));
            tcp::forward::serve(stream, info, tcp, worker).await;
        }
        ActionRuntime::Refused => {}
    }
}

/// Terminates TLS where the chain does.
async fn secure(chain: &ChainRuntime, replay: Replay, journal: &Journal) -> io::Result<(Stream, Option<TlsInfo>)> {
    let Some(context) = &chain.tls else {
        return Ok((Stream::Tcp(replay), None));
    };
    match context.accept(replay).await {
        Ok((stream, tls)) => {
            let peer = tls.peer.as_ref().and_then(|peer| peer.uri_sans.first());
            say!(journal, version = ?tls.version, alpn = tls.alpn.as_deref(), peer = peer.map(|peer| &**peer), "tls handshake done");
            Ok((stream, Some(tls)))
        }
        Err(error) => {
            say!(journal, reason = %error, "tls handshake refused");
            Err(io::Error::other(error))
        }
    }
}

/// Who the two sides are by their certificates.
fn identity_of(tls: &TlsInfo, worker: &Worker) -> Option<Rc<Identity>> {
    let peer = tls.peer.as_ref().and_then(|peer| peer.uri_sans.first().cloned());
    worker.identities.of(tls.local_uri_san.clone(), peer)
}

/// The bytes read so far, and whether they are the HTTP/2 preface; more is read where the codec depends on it. `None` where
/// the process ends before the client has said anything.
async fn preface_of(
    socket: &mut TcpStream,
    found: &Inspected,
    chain: &ChainRuntime,
    worker: &Worker,
) -> io::Result<Option<(Bytes, bool)>> {
    let known = found.application_protocols.iter().any(|protocol| &**protocol == "h2c");
    let prefix = found.prefix.clone();
    match &chain.action {
        ActionRuntime::Http(http)
            if chain.tls.is_none() && http.model.codec == Codec::Auto && !found.plaintext_known =>
        {
            // A client that has said nothing yet loses nothing when the process ends.
            let stop = worker.shutdown.token();
            let reading = http2_preface(socket, prefix, http.model.idle_timeout);
            stop.run_until_cancelled(reading).await.transpose()
        }
        ActionRuntime::Http(_) | ActionRuntime::Tcp(_) | ActionRuntime::Refused => Ok(Some((prefix, known))),
    }
}

// === impl Open ===

impl Open {
    fn new(stats: &Arc<ListenerStats>) -> Self {
        stats.connections_total.fetch_add(1, Ordering::Relaxed);
        stats.connections_active.fetch_add(1, Ordering::Relaxed);
        Self(stats.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections_active.fetch_sub(1, Ordering::Relaxed);
    }
}

fn choose_chain(listener: &ListenerRuntime, facts: &Facts<'_>, journal: &Journal) -> io::Result<usize> {
    if listener.index.closes(facts) {
        say!(journal, ?facts, "a refused filter chain may be meant");
        return Err(io::Error::other("a filter chain that was refused may be meant"));
    }
    let default = listener.model.default_chain.as_ref().map(|_| listener.chains.len() - 1);
    let Some(position) = listener.index.find(facts).or(default) else {
        listener.stats.no_chain.fetch_add(1, Ordering::Relaxed);
        say!(journal, ?facts, "no filter chain matches");
        return Err(io::Error::new(io::ErrorKind::NotFound, "no filter chain matches"));
    };
    let chain = &listener.chains[position];
    say!(journal, chain = %chain.name, position, "filter chain found");
    if matches!(chain.action, ActionRuntime::Refused) {
        return Err(io::Error::other("the filter chain was refused with its configuration"));
    }
    Ok(position)
}

/// Inspects what the listener inspects and the chains of this destination ask for.
async fn first_bytes(
    socket: &mut TcpStream,
    listener: &ListenerRuntime,
    destination: SocketAddr,
) -> io::Result<Inspected> {
    let model: &Listener = &listener.model;
    let depends_on = listener.index.depends_on(destination);
    let what = Inspect {
        tls: model.inspect_tls && depends_on.tls,
        http: model.inspect_http && depends_on.plaintext,
        timeout: model.inspect_timeout,
    };
    if what.tls || what.http {
        return inspect(socket, what).await;
    }
    Ok(Inspected {
        prefix: Bytes::new(),
        transport: TransportProtocol::RawBuffer,
        server_name: None,
        application_protocols: Vec::new(),
        plaintext_known: false,
        timed_out: false,
    })
}
