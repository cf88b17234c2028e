//! One traffic thread: a current-thread runtime with its own listening sockets, upstream pools and random numbers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_base::shutdown::Shutdown;

use crate::drain::Drain;
use crate::executor::Executor;
use crate::http1::date::DateCache;
use crate::journal::Journals;
use crate::observe::access_log::{LineBuffers, LogWriter};
use crate::observe::istio::registry::Registry;
use crate::observe::istio::shard::Shard;
use crate::pool::Pools;
use crate::random::Random;
use crate::runtime::RuntimeHandle;
use crate::stream_info::identity::Identities;
use crate::upstream::originals::Originals;

/// Longest time that an access-log line waits on its worker.
const LOG_INTERVAL: Duration = Duration::from_millis(200);

/// Pause of a drain between two looks for upstream connections that serve nobody.
const CLOSE_INTERVAL: Duration = Duration::from_millis(50);

/// What every connection and request of a thread may use.
#[derive(Debug)]
pub struct Worker {
    /// Number of the thread, from 0.
    pub index: usize,
    /// The running configuration.
    pub runtime: Arc<RuntimeHandle>,
    /// Upstream connections of the thread.
    pub pools: Pools,
    /// Endpoints of original destinations.
    pub originals: Originals,
    /// Ends the thread: drain, then force.
    pub shutdown: Shutdown,
    /// Where access-log lines go.
    pub log: LineBuffers,
    /// Istio's standard metrics of the thread.
    pub istio: Shard,
    /// Whose journals are wanted.
    pub journals: Arc<Journals>,
    /// Whether clients are to be sent away.
    pub drain: Drain,
    /// Random numbers of the thread.
    pub random: Random,
    /// The date that its answers are given.
    pub date: DateCache,
    /// Identities that its connections have shown.
    pub identities: Rc<Identities>,
    /// Runs the tasks of the thread.
    pub executor: Executor,
}

/// What the workers have in common.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The running configuration.
    pub runtime: Arc<RuntimeHandle>,
    /// Where access-log lines go.
    pub log: LogWriter,
    /// Series of Istio's standard metrics.
    pub istio: Arc<Registry>,
    /// Whose journals are wanted.
    pub journals: Arc<Journals>,
    /// Whether clients are to be sent away.
    pub drain: Drain,
}

// === impl Worker ===

impl Worker {
    /// A worker of the current thread.
    pub fn new(index: usize, shared: Shared, shutdown: Shutdown, seed: u64) -> Rc<Self> {
        let Shared {
            runtime,
            log,
            istio,
            journals,
            drain,
        } = shared;
        let (executor, identities) = (Executor::default(), Rc::<Identities>::default());
        Rc::new(Self {
            index,
            drain,
            istio: Shard::new(istio, index),
            journals,
            runtime,
            pools: Pools::new(executor.clone(), identities.clone()),
            originals: Originals::default(),
            shutdown,
            log: LineBuffers::new(log),
            random: Random::new(seed),
            date: DateCache::default(),
            identities,
            executor,
        })
    }

    /// A uniform random number.
    pub fn random(&self) -> u64 {
        self.random.next()
    }

    /// Starts a task on this thread; it ends by itself or with the worker.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(task);
    }

    /// Waits until every task has ended, at most for `deadline`; what is left ends with the thread. True when nothing was left.
    /// Upstream connections that serve nobody have tasks too: they are let go of again and again, as requests in flight leave some.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.executor.close();
        let ended = async {
            loop {
                self.pools.close();
                if tokio::time::timeout(CLOSE_INTERVAL, self.executor.ended())
                    .await
                    .is_ok()
                {
                    return;
                }
            }
        };
        tokio::time::timeout(deadline, ended).await.is_ok()
    }

    /// Hands access-log lines over every so often, until the drain starts; what comes later goes with the worker.
    pub async fn hand_over_logs(&self) {
        let mut ticks = tokio::time::interval(LOG_INTERVAL);
        let stop = self.shutdown.token();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.log.hand_over();
        }
    }

    /// Looks after pools once a second until the drain starts.
    pub async fn housekeeping(&self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let stop = self.shutdown.token();
        let mut generation = 0;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let runtime = self.runtime.load();
            if generation != runtime.generation {
                generation = runtime.generation;
                self.istio.forget();
            }
            let now = Instant::now();
            let mut limits = runtime.idle_timeouts();
            limits.extend(self.originals.sweep(now));
            self.pools
                .sweep(now, |endpoint| limits.get(&endpoint.state.id).copied());
        }
    }
}
