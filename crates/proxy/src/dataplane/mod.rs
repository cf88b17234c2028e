//! The data plane: applies a set of resources, says what of it cannot be used, and owns what serves traffic: threads, sockets, the running
//! configuration. Where resources come from is not its business.

pub mod control;
pub mod ending;
mod thread;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;
use weft_base::readiness::Readiness;
use weft_base::shutdown::Shutdown;

use self::control::Updates;
use crate::bootstrap::Loaded;
use crate::bootstrap::node::node;
use crate::compile::{Compiler, Reject, Resources};
use crate::config::Run;
use crate::drain::Drain;
use crate::journal::Journals;
use crate::listen::sockets::{BindError, SocketKey, Sockets};
use crate::model::convert;
use crate::model::secret::SdsSource;
use crate::observe::access_log::LogWriter;
use crate::observe::als::Exporters;
use crate::observe::istio::registry::Registry;
use crate::observe::trace::export::SpanExporters;
use crate::runtime::RuntimeHandle;
use crate::secrets::SecretStore;
use crate::upstream::dns;
use crate::worker::Shared;

/// How long a cluster that is new may wait until passive health looks at its clock for the first time.
const OUTLIERS_LOOK: Duration = Duration::from_millis(250);

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    runtime: Arc<RuntimeHandle>,
    compiler: Mutex<Compiler>,
    sockets: Mutex<Sockets>,
    shutdown: Shutdown,
    log: LogWriter,
    istio: Arc<Registry>,
    journals: Arc<Journals>,
    secrets: SecretStore,
    readiness: Readiness,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    drain_time: Duration,
    /// How long listeners stay open while clients are sent away.
    minimum_drain_time: Duration,
    drain: Drain,
    workers: usize,
    updates: Updates,
}

// === impl Proxy ===

impl Proxy {
    /// Starts the worker threads, which have nothing to serve yet. Must be called on the control runtime.
    pub fn start(loaded: &Loaded, options: &Run, shutdown: Shutdown) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // Only the first call in a process sets it; every context names its provider anyway.
        let _ = CryptoProvider::install_default((*provider).clone());
        let secrets = SecretStore::new(&shutdown);
        for (name, secret) in &loaded.bootstrap.secrets {
            secrets.deliver(&SdsSource::Static, name, secret.clone());
        }
        let log = LogWriter::start().context("cannot start the access-log thread")?;
        let runtime = Arc::new(RuntimeHandle::default());
        let istio = Arc::new(Registry::new(&loaded.bootstrap.node));
        let journals = Arc::<Journals>::default();
        let drain = Drain::new(&shutdown);
        let mut commands = Vec::new();
        let mut threads = Vec::new();
        for index in 0..options.workers() {
            let (sender, receiver) = unbounded_channel();
            commands.push(sender);
            let shared = Shared {
                runtime: runtime.clone(),
                log: log.clone(),
                istio: istio.clone(),
                journals: journals.clone(),
                drain: drain.clone(),
            };
            let drain_time = options.drain_time;
            threads.push(thread::start(index, shared, shutdown.clone(), receiver, drain_time)?);
        }
        let described = node(&loaded.bootstrap.node);
        let spans = SpanExporters::new(
            loaded.bootstrap.node.id.clone(),
            loaded.bootstrap.node.cluster.clone(),
            runtime.clusters().clone(),
            shutdown.clone(),
        );
        let exporters = Exporters::new(described, runtime.clusters().clone(), shutdown.clone());
        let proxy = Self {
            compiler: Mutex::new(Compiler::new(
                provider,
                secrets.clone(),
                exporters,
                spans,
                loaded.bootstrap.node.cluster.clone(),
            )),
            sockets: Mutex::new(Sockets::new(commands)),
            runtime,
            shutdown,
            log,
            istio,
            journals,
            secrets: secrets.clone(),
            readiness: Readiness::new(),
            threads: Mutex::new(threads),
            drain_time: options.drain_time,
            minimum_drain_time: options.minimum_drain_time,
            drain,
            workers: options.workers(),
            updates: Updates::default(),
        };
        proxy.follow_secrets(&secrets);
        proxy.follow_outliers();
        proxy.release_descriptors();
        Ok(proxy)
    }

    /// Compiles a set of resources, swaps the runtime and binds sockets. Returns what could not be used.
    pub fn reconfigure(&self, resources: &Resources) -> Vec<Reject> {
        let before = self.runtime.load();
        let (runtime, mut rejects) = self.compiler.lock().compile(resources, &before);
        for (name, cluster) in runtime.clusters.iter() {
            if before
                .clusters
                .get(name)
                .is_none_or(|before| !Arc::ptr_eq(before, cluster))
            {
                dns::follow(cluster, &self.shutdown);
            }
        }
        self.runtime.store(Arc::new(runtime));
        let errors = self.bind();
        rejects.extend(errors.into_iter().map(|error| Reject {
            name: error.key.listener.clone(),
            reason: error.to_string(),
        }));
        rejects
    }

    /// Binds what the running configuration wants and what has not drained, and lets go of the rest.
    fn bind(&self) -> Vec<BindError> {
        let runtime = self.runtime.load();
        let mut wanted = Vec::new();
        for (name, listener) in &runtime.listeners {
            if listener.model.bind_to_port && self.drain.listens(&listener.model) {
                let keys = listener.model.addresses.iter().map(|address| SocketKey {
                    listener: name.clone(),
                    address: *address,
                });
                wanted.extend(keys);
            }
        }
        self.sockets.lock().apply(&wanted)
    }

    /// The addresses that listeners are bound to, by listener.
    pub fn addresses(&self) -> BTreeMap<Arc<str>, Vec<SocketAddr>> {
        let mut addresses: BTreeMap<Arc<str>, Vec<SocketAddr>> = BTreeMap::new();
        for (key, bound) in self.sockets.lock().bound() {
            addresses.entry(key.listener.clone()).or_default().push(*bound);
        }
        addresses
    }

    /// What the proxy still waits for before it can serve.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Whose journals are wanted.
    pub fn journals(&self) -> &Arc<Journals> {
        &self.journals
    }

    /// The running configuration.
    pub fn runtime(&self) -> &Arc<RuntimeHandle> {
        &self.runtime
    }

    /// Key material of the running configuration.
    pub fn secrets(&self) -> &SecretStore {
        &self.secrets
    }

    /// How long requests in flight are waited for at the end.
    pub fn drain_time(&self) -> Duration {
        self.drain_time
    }

    /// Stops accepting, waits for requests in flight, then ends the threads.
    pub fn stop(&self) {
        self.shutdown.start();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
        self.log.flush();
        tracing::info!(drain_seconds = self.drain_time.as_secs(), "proxy stopped");
    }

    /// Rebuilds TLS contexts when key material changes.
    fn follow_secrets(&self, secrets: &SecretStore) {
        let mut changes = secrets.changes();
        let secrets = secrets.clone();
        let runtime = self.runtime.clone();
        let stop = self.shutdown.token();
        self.shutdown.spawn(async move {
            while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
                runtime.load().refresh_contexts(&secrets);
            }
        });
    }

    /// Keeps what is only needed to read configuration no longer than configuration comes.
    fn release_descriptors(&self) {
        let stop = self.shutdown.token();
        self.shutdown.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(2));
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                convert::release_unused_descriptors();
            }
        });
    }

    /// Looks at the clock for passive health. A cluster that is new is noticed after [`OUTLIERS_LOOK`].
    fn follow_outliers(&self) {
        let runtime = self.runtime.clone();
        let stop = self.shutdown.token();
        self.shutdown.spawn(async move {
            let mut next = Instant::now();
            while stop.run_until_cancelled(tokio::time::sleep_until(next)).await.is_some() {
                let now = Instant::now();
                let runtime = runtime.load();
                let clusters = runtime.clusters.values();
                let due = clusters
                    .filter_map(|cluster| cluster.sweep(now, || fastrand::u64(..)))
                    .min();
                next = due.map_or(now + OUTLIERS_LOOK, |due| due.min(now + OUTLIERS_LOOK));
            }
        });
    }
}
