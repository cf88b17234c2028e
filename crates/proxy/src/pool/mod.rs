//! Connections to endpoints that one worker keeps: idle HTTP/1.1 connections and shared HTTP/2 connections.
//!
//! Belongs to one thread; nothing here is locked.

pub(crate) mod answer_body;
pub(crate) mod connection;
mod open;
pub(crate) mod queue;
pub(crate) mod replay;
pub(crate) mod request_body;
pub(crate) mod switched;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::client::conn::http2;
use tokio::time::Instant;

use self::connection::{Connection, Http1, Lent, StreamGuard};
use self::open::http2_options;
use self::queue::{Ready, Waiter};
use self::request_body::RequestBody;
use crate::error::ProxyError;
use crate::executor::Executor;
use crate::model::cluster::UpstreamProtocol;
use crate::stream_info::identity::{Identities, Identity};
use crate::tls::asked::Asked;
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;

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
    http2: bool,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
    /// Requests that found no connection, in the order in which they came.
    waiting: RefCell<VecDeque<Waiter>>,
    last_waiter: Cell<u64>,
    /// Connections that there are, and those that are being made.
    open: Cell<u32>,
    /// Connections that are being made.
    connecting: Cell<u32>,
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
    /// Streams that the server allows at the same time.
    allowed: Rc<Cell<u32>>,
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

    /// A connection to the endpoint: an idle one, a stream of a shared one, or one that is waited for. `fresh` asks for a new one.
    ///
    /// # Errors
    /// None can be made, or as many requests wait as may.
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
        self.pool(endpoint, http2, request.asked).lend(cluster, request).await
    }

    fn pool(&self, endpoint: &Arc<Endpoint>, http2: bool, asked: Option<&Arc<Asked>>) -> Rc<Pool> {
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = pools
            .entry((endpoint.state.id, http2, asked.cloned()))
            .or_insert_with(|| self.open(endpoint, http2, asked));
        if !Arc::ptr_eq(&pool.endpoint, endpoint) && !same_transport(&pool.endpoint, endpoint) {
            // Its TLS changed: connections made before must not serve what comes now.
            *pool = self.open(endpoint, http2, asked);
        }
        pool.clone()
    }

    fn open(&self, endpoint: &Arc<Endpoint>, http2: bool, asked: Option<&Arc<Asked>>) -> Rc<Pool> {
        Rc::new(Pool {
            endpoint: endpoint.clone(),
            asked: asked.cloned(),
            executor: self.executor.clone(),
            identities: self.identities.clone(),
            http2,
            idle: RefCell::default(),
            shared: RefCell::default(),
            waiting: RefCell::default(),
            last_waiter: Cell::new(0),
            open: Cell::new(0),
            connecting: Cell::new(0),
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
            pool.close_idle(now, limit);
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
    async fn lend(self: Rc<Self>, cluster: &Arc<Cluster>, request: Wanted<'_>) -> Result<Lent, ProxyError> {
        let lent = |connection, reused, pool| Lent {
            connection,
            reused,
            pool,
        };
        if !request.fresh
            && let Some(connection) = self.ready(cluster)
        {
            return Ok(lent(connection, true, self));
        }
        let mut waiting = self.queue(cluster)?;
        // Where no new one may be made, one that was used is better than to wait for one that nobody will give back.
        if !self.grow()
            && request.fresh
            && let Some(connection) = self.ready(cluster)
        {
            drop(waiting);
            return Ok(lent(connection, true, self));
        }
        let Ready { connection, reused } = waiting.turn().await?;
        drop(waiting);
        Ok(lent(connection, reused, self))
    }

    /// A connection that nobody has to wait for.
    fn ready(self: &Rc<Self>, cluster: &Cluster) -> Option<Connection> {
        if self.http2 {
            self.free_stream(cluster)
        } else {
            self.take_idle().map(Connection::Http1)
        }
    }

    /// A stream of a shared connection.
    fn free_stream(self: &Rc<Self>, cluster: &Cluster) -> Option<Connection> {
        let mut shared = self.shared.borrow_mut();
        let now = Instant::now();
        shared.retain(|shared| {
            !shared.sender.is_closed() && !spent(cluster, shared.requests.get(), shared.opened_at, now)
        });
        let most = http2_options(&cluster.model.protocol).concurrent_streams_max;
        let free = shared
            .iter()
            .find(|shared| shared.streams.get() < most.min(shared.allowed.get()))?;
        free.requests.set(free.requests.get() + 1);
        Some(Connection::Http2 {
            sender: free.sender.clone(),
            local: free.local,
            identity: free.identity.clone(),
            stream: StreamGuard::new(free.streams.clone(), self),
        })
    }

    fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    /// The idle connection used last that is still open.
    fn take_idle(&self) -> Option<Http1> {
        loop {
            // Taken first, then looked at: one that is closed is let go of while nothing is borrowed.
            let Idle { mut http1, .. } = self.idle.borrow_mut().pop()?;
            if http1.connection.is_open() {
                return Some(http1);
            }
        }
    }

    /// Takes a connection back that nobody uses: for the next who waits, or to be kept.
    pub(super) fn take_back(self: &Rc<Self>, cluster: &Cluster, connection: Connection) {
        match connection {
            Connection::Http1(http1) => self.give_back(cluster, http1),
            // Its stream is free with it.
            Connection::Http2 { .. } => drop(connection),
        }
    }

    /// Takes a connection back that has served a whole exchange.
    pub(super) fn give_back(self: &Rc<Self>, cluster: &Cluster, http1: Http1) {
        if !spent(cluster, http1.facts.requests, http1.facts.opened_at, Instant::now()) {
            self.serve_or_keep(http1, true);
        }
    }

    fn keep(&self, http1: Http1) {
        let mut idle = self.idle.borrow_mut();
        let room = idle.len() < IDLE_MAX;
        let http1 = if room {
            let since = Instant::now();
            idle.push(Idle { http1, since });
            None
        } else {
            Some(http1)
        };
        drop(idle);
        drop(http1);
    }

    /// Closes connections that idle for longer than `limit`, zero being none, or that are closed.
    fn close_idle(&self, now: Instant, limit: std::time::Duration) {
        let (mut kept, mut closed) = (Vec::new(), Vec::new());
        for mut idle in self.idle.take() {
            let in_time = limit.is_zero() || now.saturating_duration_since(idle.since) < limit;
            if in_time && idle.http1.connection.is_open() {
                kept.push(idle);
            } else {
                closed.push(idle);
            }
        }
        self.idle.replace(kept);
        drop(closed);
    }
}

/// Whether a connection has served all that its cluster allows.
fn spent(cluster: &Cluster, requests: u32, opened_at: Instant, now: Instant) -> bool {
    let most = cluster.model.requests_per_connection_max;
    let longest = cluster.model.connection_duration_max;
    (most > 0 && requests >= most) || longest.is_some_and(|longest| now.saturating_duration_since(opened_at) >= longest)
}

fn same_transport(a: &Endpoint, b: &Endpoint) -> bool {
    match (&a.tls, &b.tls) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests;
