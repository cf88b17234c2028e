//! One downstream HTTP connection: what it serves by, how much it has served, and when it ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::journal::say;
use crate::network_filters::NetworkFilters;
use crate::runtime::ChainRef;
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream_info::StreamInfo;
use crate::stream_info::connection::ConnectionInfo;
use crate::stream_info::notes::Notes;
use crate::worker::Worker;

/// A connection that serves requests.
#[derive(Debug)]
pub struct HttpConnection {
    pub info: Rc<ConnectionInfo>,
    pub worker: Rc<Worker>,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    /// What network filters have left for each of its requests.
    pub notes: Option<Box<Notes>>,
    at: ChainRef,
    current: RefCell<(u64, Arc<ConnectionManager>)>,
    served: Cell<u32>,
    active: Cell<u32>,
    last_active: Cell<Instant>,
    /// Wakes [`Self::end`] after each answer of a connection that drains.
    head_sent: Notify,
    /// The configuration asks for more now than when it was accepted.
    outdated: Cell<bool>,
    /// Wakes [`Self::end`] when a request has come on one that is outdated.
    seen_outdated: Notify,
}

/// A request that its connection is busy with, from its head to its record.
#[derive(Debug)]
pub struct ActiveRequest(Rc<HttpConnection>);

/// Why a connection should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The process or listener drains, or the connection is old, has served enough or would not be taken any more.
    Gracefully,
    /// Nothing was asked for too long.
    Now,
}

// === impl HttpConnection ===

impl HttpConnection {
    /// A connection that was just accepted on a chain, of a generation of the configuration; `None` where a network filter denies it.
    pub(super) fn new(
        info: Rc<ConnectionInfo>,
        at: ChainRef,
        current: (u64, Arc<ConnectionManager>),
        filters: &NetworkFilters,
        http2: bool,
        worker: Rc<Worker>,
    ) -> Option<Rc<Self>> {
        Some(Rc::new(Self {
            http2,
            notes: left_by(filters, &info)?,
            at,
            current: RefCell::new(current),
            served: Cell::new(0),
            active: Cell::new(0),
            last_active: Cell::new(info.accepted_at),
            head_sent: Notify::new(),
            outdated: Cell::new(false),
            seen_outdated: Notify::new(),
            info,
            worker,
        }))
    }

    /// The connection manager of the next request: that of the running configuration, or the last one there was.
    pub fn manager(&self) -> Arc<ConnectionManager> {
        let runtime = self.worker.runtime.load();
        let mut current = self.current.borrow_mut();
        if current.0 != runtime.generation {
            if let Some(manager) = runtime.connection_manager(&self.at) {
                current.1 = manager;
            }
            current.0 = runtime.generation;
            self.outdated.set(runtime.is_outdated(&self.at, self.info.tls.as_ref()));
            if self.outdated.get() {
                self.seen_outdated.notify_one();
            }
        }
        current.1.clone()
    }

    /// Whether interim answers of upstreams go on to the client.
    pub(super) fn passes_interim(&self) -> bool {
        self.current.borrow().1.model.proxy_100_continue
    }

    fn spent(&self, manager: &ConnectionManager) -> bool {
        let most = manager.model.requests_per_connection_max;
        let longest = manager.model.connection_duration_max;
        self.outdated.get()
            || (most > 0 && self.served.get() >= most)
            || longest.is_some_and(|longest| self.info.accepted_at.elapsed() >= longest)
    }

    /// A request has come.
    pub(super) fn asked(&self) {
        self.served.set(self.served.get() + 1);
    }

    /// The head of its answer goes out. Whether the client is to be told to go elsewhere.
    pub(super) fn answered(&self) -> bool {
        let draining =
            self.worker.drain.token(self.info.direction).is_cancelled() || self.spent(&self.current.borrow().1);
        if draining {
            self.head_sent.notify_one();
        }
        draining
    }

    /// Resolves when the connection should end. Timers are armed only for what is configured.
    pub(super) async fn end(&self) -> End {
        let sent_away = self.sent_away();
        tokio::pin!(sent_away);
        loop {
            let manager = self.current.borrow().1.clone();
            let idle = manager.model.idle_timeout;
            let mut due = None;
            if !idle.is_zero() && self.active.get() == 0 {
                due = Some(self.last_active.get() + idle);
            }
            let longest = manager
                .model
                .connection_duration_max
                .map(|longest| self.info.accepted_at + longest);
            let next = due.into_iter().chain(longest).min();
            let next = next.unwrap_or_else(|| Instant::now() + idle.max(Duration::from_secs(60)));
            tokio::select! {
                () = &mut sent_away => return End::Gracefully,
                () = self.seen_outdated.notified() => return End::Gracefully,
                () = tokio::time::sleep_until(next) => {}
            }
            if self.spent(&manager) {
                return End::Gracefully;
            }
            if !idle.is_zero() && self.active.get() == 0 && self.last_active.get().elapsed() >= idle {
                return End::Now;
            }
        }
    }

    /// Resolves when the client is to be told to open no more requests. Over HTTP/1 the next answer tells it; without one the
    /// connection stays until the process ends, since to close it could cross a request. Over HTTP/2 a frame does (GOAWAY, RFC 9113,
    /// section
    /// 6.8), after the first answer: a client that came just now would otherwise have come for nothing.
    async fn sent_away(&self) {
        let over = self.worker.shutdown.token();
        let drains = self.worker.drain.token(self.info.direction);
        if !self.http2 || over.run_until_cancelled(drains.cancelled()).await.is_none() {
            return over.cancelled().await;
        }
        while self.served.get() == 0 && over.run_until_cancelled(self.head_sent.notified()).await.is_some() {}
    }
}

// === impl ActiveRequest ===

impl ActiveRequest {
    /// Keeps the connection from being taken for idle.
    pub(super) fn new(connection: Rc<HttpConnection>) -> Self {
        connection.active.set(connection.active.get() + 1);
        Self(connection)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get().saturating_sub(1));
        self.0.last_active.set(Instant::now());
    }
}

/// Sends a connection down the network filters and gives what they leave, or `None` where one denies it. What they remember of it is of no
/// use here: only those of bytes do.
fn left_by(filters: &NetworkFilters, info: &Rc<ConnectionInfo>) -> Option<Option<Box<Notes>>> {
    if filters.is_empty() {
        return Some(None);
    }
    let mut facts = StreamInfo::new(info.clone(), Instant::now(), SystemTime::now());
    let is_denied = filters.on_connection(&mut facts).is_denied();
    if is_denied {
        say!(
            info.journal,
            reason = facts.termination.as_deref(),
            "the connection is denied"
        );
    }
    (!is_denied).then_some(facts.notes)
}
