//! Connections to endpoints that one worker keeps: idle HTTP/1.1 connections and shared HTTP/2 connections.
//!
//! Belongs to one thread; nothing here is locked.

pub mod answer_body;
pub mod connection;
pub mod replay;
pub mod request_body;
pub mod switched;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use self::connection::{Connection, Facts, Http1, Lent, StreamGuard};
use self::request_body::RequestBody;
use crate::error::{ErrorKind, ProxyError};
use crate::executor::Executor;
use crate::http1::client::ClientConnection;
use crate::model::cluster::UpstreamProtocol;
use crate::model::http::Http2Options;
use crate::stream::Stream;
use crate::stream_info::identity::{Identities, Identity};
use crate::tls::asked::Asked;
use crate::tls::client::server_uri_san;
use crate::upstream::cluster::Cluster;
use crate::upstream::connect;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::limits::{Guard, Resource};

/// Idle connections kept per endpoint and worker.
const IDLE_MAX: usize = 256;

/// An endpoint's number, whether HTTP/2 is spoken, and what the requests ask of TLS: a connection that was verified for one host serves
/// no other.
type Key = (u64, bool, Option<Arc<Asked>>);

/// All pools of a worker, by endpoint and protocol.
#[derive(Debug)]
pub struct Pools {
    executor: Executor,
    identities: Rc<Identities>,
    by_endpoint: RefCell<HashMap<Key, Rc<Pool>, foldhash::fast::RandomState>>,
}

/// Connections of one protocol to one endpoint.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    asked: Option<Arc<Asked>>,
    executor: Executor,
    identities: Rc<Identities>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
    connecting: Arc<Semaphore>,
}

#[derive(Debug)]
struct Idle {
    http1: Http1,
    since: Instant,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    local: Option<SocketAddr>,
    identity: Option<Rc<Identity>>,
    streams: Rc<Cell<u32>>,
    requests: Cell<u32>,
    opened_at: Instant,
}

// === impl Pools ===

impl Pools {
    /// No connection yet. Those to come run on `executor`, and have one identity for each pair of certificates.
    pub fn new(executor: Executor, identities: Rc<Identities>) -> Self {
        Self {
            executor,
            identities,
            by_endpoint: RefCell::default(),
        }
    }

    /// A connection to the endpoint: an idle one, a stream of a shared one, or a new one. `fresh` asks for a new one.
    pub async fn get(
        &self,
        cluster: &Arc<Cluster>,
        endpoint: &Arc<Endpoint>,
        request: Wanted<'_>,
    ) -> Result<Lent, ProxyError> {
        let http2 = match &cluster.model.protocol {
            UpstreamProtocol::Http1(_) => false,
            UpstreamProtocol::Http2(_) => true,
            UpstreamProtocol::Downstream { .. } => request.downstream_http2,
            // Without TLS there is no ALPN, and Envoy then speaks HTTP/1.1.
            UpstreamProtocol::Auto { .. } => endpoint.tls.is_some() && request.auto_http2,
        };
        let pool = self.pool(endpoint, http2, request.asked);
        if http2 {
            pool.http2(cluster, request).await
        } else {
            pool.http1(cluster, request).await
        }
    }

    fn pool(&self, endpoint: &Arc<Endpoint>, http2: bool, asked: Option<&Arc<Asked>>) -> Rc<Pool> {
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = pools
            .entry((endpoint.state.id, http2, asked.cloned()))
            .or_insert_with(|| self.open(endpoint, asked));
        if !Arc::ptr_eq(&pool.endpoint, endpoint) && !same_transport(&pool.endpoint, endpoint) {
            // Its TLS changed: connections made before must not serve what comes now.
            *pool = self.open(endpoint, asked);
        }
        pool.clone()
    }

    fn open(&self, endpoint: &Arc<Endpoint>, asked: Option<&Arc<Asked>>) -> Rc<Pool> {
        Rc::new(Pool {
            endpoint: endpoint.clone(),
            asked: asked.cloned(),
            executor: self.executor.clone(),
            identities: self.identities.clone(),
            idle: RefCell::default(),
            shared: RefCell::default(),
            connecting: Arc::new(Semaphore::new(1)),
        })
    }

    /// Lets go of everything: connections end with the requests that they serve.
    pub fn close(&self) {
        self.by_endpoint.borrow_mut().clear();
    }

    /// Closes connections that idle for longer than their cluster allows, and pools of endpoints that are gone. Called once a second.
    pub fn sweep(&self, now: Instant, idle_of: impl Fn(&Endpoint) -> Option<std::time::Duration>) {
        self.by_endpoint.borrow_mut().retain(|_, pool| {
            let Some(limit) = idle_of(&pool.endpoint) else {
                return false;
            };
            let fresh = |idle: &mut Idle| {
                idle.http1.connection.is_open()
                    && (limit.is_zero() || now.saturating_duration_since(idle.since) < limit)
            };
            pool.idle.borrow_mut().retain_mut(fresh);
            pool.shared.borrow_mut().retain(|shared| !shared.sender.is_closed());
            // Clients may ask for any number of hosts.
            pool.asked.is_none() || Rc::strong_count(pool) > 1 || !pool.is_empty()
        });
    }
}

/// What the request needs of its connection.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What it asks of TLS, where its cluster lets it.
    pub asked: Option<&'a Arc<Asked>>,
    /// Do not take a connection that was used before.
    pub fresh: bool,
    /// The client speaks HTTP/2.
    pub downstream_http2: bool,
    /// The endpoint is known to take HTTP/2 by ALPN.
    pub auto_http2: bool,
}

// === impl Pool ===

impl Pool {
    async fn http1(self: Rc<Self>, cluster: &Arc<Cluster>, request: Wanted<'_>) -> Result<Lent, ProxyError> {
        if !request.fresh
            && let Some(connection) = self.take_idle()
        {
            return Ok(Lent {
                connection: Connection::Http1(connection),
                reused: true,
                pool: self,
            });
        }
        let (stream, guard) = self.connect(cluster).await?;
        let local = stream.socket().and_then(|socket| socket.local_addr().ok());
        let identity = self.identity(&stream);
        Ok(Lent {
            connection: Connection::Http1(Http1 {
                connection: ClientConnection::new(stream),
                facts: Box::new(Facts {
                    local,
                    requests: 0,
                    opened_at: Instant::now(),
                    identity,
                    _guard: guard,
                }),
            }),
            reused: false,
            pool: self,
        })
    }

    async fn http2(self: Rc<Self>, cluster: &Arc<Cluster>, request: Wanted<'_>) -> Result<Lent, ProxyError> {
        let options = http2_options(&cluster.model.protocol);
        if !request.fresh
            && let Some(lent) = self.shared_stream(cluster, options)
        {
            return Ok(lent);
        }
        // One connect at a time: requests that come together share its result.
        let turn = self.connecting.clone().acquire_owned().await;
        let turn = turn.map_err(|_| ErrorKind::ConnectFailed)?;
        if !request.fresh
            && let Some(lent) = self.shared_stream(cluster, options)
        {
            return Ok(lent);
        }
        // The connect outlives the request that asked for it: in a queue the first has the least time left, and where each takes its
        // connect along when it is reset, none is ever made.
        let (tell, told) = oneshot::channel();
        let (pool, to) = (self.clone(), cluster.clone());
        self.executor.spawn(async move {
            let opened = pool.open_http2(&to).await;
            drop(turn);
            // Nobody listens any more where the request is gone.
            let _ = tell.send(opened);
        });
        told.await.map_err(|_| ErrorKind::ConnectFailed)??;
        let lent = self.shared_stream(cluster, options);
        let mut lent = lent.ok_or(ErrorKind::ConnectFailed)?;
        lent.reused = false;
        Ok(lent)
    }

    /// Opens a shared connection and keeps it.
    async fn open_http2(&self, cluster: &Arc<Cluster>) -> Result<(), ProxyError> {
        let options = http2_options(&cluster.model.protocol);
        let (stream, guard) = self.connect(cluster).await?;
        let local = stream.socket().and_then(|socket| socket.local_addr().ok());
        let identity = self.identity(&stream);
        let mut builder = http2::Builder::new(self.executor.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(options.stream_window_bytes)
            .initial_connection_window_size(options.connection_window_bytes)
            .max_concurrent_reset_streams(64)
            .max_header_list_size(60 << 10);
        if let Some(interval) = options.keepalive_interval {
            builder
                .keep_alive_interval(interval)
                .keep_alive_timeout(options.keepalive_timeout)
                .keep_alive_while_idle(true);
        }
        let handshake = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| ProxyError::because(ErrorKind::ConnectFailed, error))?;
        self.executor.spawn(async move {
            let _guard = guard;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        self.shared.borrow_mut().push(Shared {
            sender,
            local,
            identity,
            streams: Rc::default(),
            requests: Cell::new(0),
            opened_at: Instant::now(),
        });
        Ok(())
    }

    fn shared_stream(self: &Rc<Self>, cluster: &Cluster, options: &Http2Options) -> Option<Lent> {
        let mut shared = self.shared.borrow_mut();
        let now = Instant::now();
        shared.retain(|shared| {
            !shared.sender.is_closed() && !spent(cluster, shared.requests.get(), shared.opened_at, now)
        });
        let free = shared
            .iter()
            .find(|shared| shared.streams.get() < options.concurrent_streams_max)?;
        free.requests.set(free.requests.get() + 1);
        free.streams.set(free.streams.get() + 1);
        Some(Lent {
            connection: Connection::Http2 {
                sender: free.sender.clone(),
                local: free.local,
                identity: free.identity.clone(),
                stream: StreamGuard(free.streams.clone()),
            },
            reused: true,
            pool: self.clone(),
        })
    }

    async fn connect(&self, cluster: &Arc<Cluster>) -> Result<(Stream, Guard), ProxyError> {
        let limits = &cluster.model.limits;
        let guard = cluster
            .state
            .take(Resource::Connection, limits)
            .ok_or(ErrorKind::Overflow)?;
        let _pending = cluster
            .state
            .take(Resource::Pending, limits)
            .ok_or(ErrorKind::Overflow)?;
        cluster.state.stats().connecting();
        let stream = connect::to_endpoint(&cluster.model, &self.endpoint, self.asked.as_deref()).await?;
        Ok((stream, guard))
    }

    fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    fn identity(&self, stream: &Stream) -> Option<Rc<Identity>> {
        let context = self.endpoint.tls.as_ref()?;
        self.identities.of(context.local_uri_san(), server_uri_san(stream))
    }

    /// The idle connection used last that is still open.
    fn take_idle(&self) -> Option<Http1> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let mut http1 = idle.pop()?.http1;
            if http1.connection.is_open() {
                return Some(http1);
            }
        }
    }

    /// Takes a connection back that has served a whole exchange.
    pub(super) fn give_back(&self, cluster: &Cluster, http1: Http1) {
        let now = Instant::now();
        if spent(cluster, http1.facts.requests, http1.facts.opened_at, now) {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { http1, since: now });
        }
    }
}

/// Whether a connection has served all that its cluster allows.
fn spent(cluster: &Cluster, requests: u32, opened_at: Instant, now: Instant) -> bool {
    let most = cluster.model.requests_per_connection_max;
    let longest = cluster.model.connection_duration_max;
    (most > 0 && requests >= most) || longest.is_some_and(|longest| now.saturating_duration_since(opened_at) >= longest)
}

fn http2_options(protocol: &UpstreamProtocol) -> &Http2Options {
    static DEFAULT: std::sync::LazyLock<Http2Options> = std::sync::LazyLock::new(Http2Options::default);
    match protocol {
        UpstreamProtocol::Http2(options)
        | UpstreamProtocol::Auto { http2: options, .. }
        | UpstreamProtocol::Downstream { http2: options, .. } => options,
        UpstreamProtocol::Http1(_) => &DEFAULT,
    }
}

fn same_transport(a: &Endpoint, b: &Endpoint) -> bool {
    match (&a.tls, &b.tls) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (Some(_), None) | (None, Some(_)) => false,
    }
}
