//! Requests that wait for a connection to an endpoint, served in order, and the count of the connections that there are. As in Envoy
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking>) whoever finds no connection waits,
//! also while one is made: for the first that is made or comes free.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Pool;
use super::connection::{Connection, Http1};
use super::open::http2_options;
use crate::error::{ErrorKind, ProxyError};
use crate::upstream::cluster::Cluster;
use crate::upstream::limits::{Guard, Resource};

/// A request that waits, as the pool knows it.
#[derive(Debug)]
pub(super) struct Waiter {
    id: u64,
    cluster: Arc<Cluster>,
    tell: oneshot::Sender<Result<Ready, ProxyError>>,
}

/// A connection for a request that has waited.
#[derive(Debug)]
pub(super) struct Ready {
    pub connection: Connection,
    /// It served others before.
    pub reused: bool,
}

/// A request that waits, as it knows itself. It leaves the queue when it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    id: u64,
    pool: Rc<Pool>,
    cluster: Arc<Cluster>,
    told: oneshot::Receiver<Result<Ready, ProxyError>>,
    is_over: bool,
    _pending: Guard,
}

/// One of the connections that a cluster may have. Whoever has it has a connection, or makes one.
#[derive(Debug)]
pub(crate) struct Slot {
    guard: Option<Guard>,
    pool: Weak<Pool>,
}

// === impl Waiting ===

impl Waiting {
    /// Waits for the turn.
    pub(super) async fn turn(&mut self) -> Result<Ready, ProxyError> {
        let told = (&mut self.told).await;
        self.is_over = true;
        told.unwrap_or_else(|_| Err(ErrorKind::ConnectFailed.into()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.told.close();
        match self.told.try_recv() {
            // The turn came, and the request is gone: it is the next one's.
            Ok(Ok(Ready { connection, .. })) => self.pool.take_back(&self.cluster, connection),
            Ok(Err(_)) => {}
            Err(_) => {
                let mut waiting = self.pool.waiting.borrow_mut();
                if let Some(at) = waiting.iter().position(|waiter| waiter.id == self.id) {
                    waiting.remove(at);
                }
            }
        }
    }
}

// === impl Slot ===

impl Slot {
    fn new(guard: Guard, pool: &Rc<Pool>) -> Self {
        pool.open.set(pool.open.get() + 1);
        Self {
            guard: Some(guard),
            pool: Rc::downgrade(pool),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.guard.take());
        if let Some(pool) = self.pool.upgrade() {
            pool.open.set(pool.open.get().saturating_sub(1));
            // Those who have waited for this connection wait for another.
            pool.grow();
        }
    }
}

// === impl Pool ===

impl Pool {
    /// Joins the queue.
    ///
    /// # Errors
    /// As many requests of the cluster wait as may.
    pub(super) fn queue(self: &Rc<Self>, cluster: &Arc<Cluster>) -> Result<Waiting, ProxyError> {
        let pending = cluster.state.take(Resource::Pending, &cluster.model.limits);
        let pending = pending.ok_or(ErrorKind::Overflow)?;
        cluster.state.stats().waits();
        let (tell, told) = oneshot::channel();
        let id = self.last_waiter.get() + 1;
        self.last_waiter.set(id);
        self.waiting.borrow_mut().push_back(Waiter {
            id,
            cluster: cluster.clone(),
            tell,
        });
        Ok(Waiting {
            id,
            pool: self.clone(),
            cluster: cluster.clone(),
            told,
            is_over: false,
            _pending: pending,
        })
    }

    /// Makes connections for those who wait, as far as the limit goes; a pool without any may always have one, since nothing else would
    /// ever serve its queue. Whether any is being made.
    pub(super) fn grow(self: &Rc<Self>) -> bool {
        loop {
            let waiting = self.waiting.borrow();
            // Each that is being made is for as many as it can serve at once.
            let coming = waiting.front().map_or(0, |first| self.streams_of(&first.cluster));
            let without = (self.connecting.get() as usize).saturating_mul(coming);
            let Some(waiter) = waiting.get(without) else {
                return self.connecting.get() > 0;
            };
            let cluster = waiter.cluster.clone();
            drop(waiting);
            let Some(guard) = cluster.state.take(Resource::Connection, &cluster.model.limits) else {
                cluster.state.stats().connections_overflowed();
                if self.open.get() > 0 {
                    return self.connecting.get() > 0;
                }
                let guard = cluster.state.take_anyway(Resource::Connection);
                self.make(cluster, Slot::new(guard, self));
                return true;
            };
            self.make(cluster, Slot::new(guard, self));
        }
    }

    /// How many requests a connection serves at the same time.
    fn streams_of(&self, cluster: &Cluster) -> usize {
        let streams = http2_options(&cluster.model.protocol).concurrent_streams_max;
        if self.http2 { streams.max(1) as usize } else { 1 }
    }

    /// Makes a connection. That outlives the request which needs it: in a queue the first has the least time left, and where each takes
    /// its connect along when it is reset, none is ever made.
    fn make(self: &Rc<Self>, cluster: Arc<Cluster>, slot: Slot) {
        self.connecting.set(self.connecting.get() + 1);
        let pool = self.clone();
        self.executor.spawn(async move {
            cluster.state.stats().connecting();
            let made = pool.open(&cluster, slot).await;
            pool.connecting.set(pool.connecting.get() - 1);
            match made {
                Ok(Some(http1)) => pool.serve_or_keep(http1, false),
                Ok(None) => pool.serve_streams(false),
                Err((error, slot)) => {
                    let timed_out = error.kind == ErrorKind::ConnectTimeout;
                    cluster.state.stats().not_connected(timed_out);
                    pool.give_up(&error);
                    drop(slot);
                }
            }
        });
    }

    /// Nobody gets a connection now: all who wait are told, as in Envoy, and choose anew.
    fn give_up(&self, error: &ProxyError) {
        for waiter in self.waiting.take() {
            // Nobody listens any more where the request is gone.
            let _ = waiter.tell.send(Err(error.clone()));
        }
    }

    /// Gives a connection to the first who waits, or keeps it.
    pub(super) fn serve_or_keep(self: &Rc<Self>, mut http1: Http1, reused: bool) {
        // One that is kept is looked at when it is taken. One that is new is used in any case: where each is closed at once, those who wait
        // must learn of it.
        if reused && !self.waiting.borrow().is_empty() && !http1.connection.is_open() {
            return;
        }
        let ready = Ready {
            connection: Connection::Http1(http1),
            reused,
        };
        if let Some(Ready {
            connection: Connection::Http1(http1),
            ..
        }) = self.offer(ready)
        {
            self.keep(http1);
        }
        // Others of the cluster may have closed one meanwhile.
        self.grow();
    }

    /// Gives the free streams of shared connections to those who wait.
    pub(super) fn serve_streams(self: &Rc<Self>, reused: bool) {
        loop {
            let first = self.waiting.borrow().front().map(|waiter| waiter.cluster.clone());
            let Some(connection) = first.and_then(|cluster| self.free_stream(&cluster)) else {
                break;
            };
            // One that nobody takes is free again.
            drop(self.offer(Ready { connection, reused }));
        }
        self.grow();
    }

    /// Offers to one after the other, and gives back what nobody took.
    fn offer(&self, mut ready: Ready) -> Option<Ready> {
        loop {
            let first = self.waiting.borrow_mut().pop_front();
            let Some(waiter) = first else {
                return Some(ready);
            };
            match waiter.tell.send(Ok(ready)) {
                Ok(()) | Err(Err(_)) => return None,
                Err(Ok(back)) => ready = back,
            }
        }
    }
}
