//! The only place that wires the proxy together: threads, configuration, sockets, shutdown.

mod control;
mod thread;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use weft_base::log::LogControl;
use weft_base::readiness::{Blocker, Readiness};
use weft_base::shutdown::{Shutdown, termination};
use weft_base::workload::{self, IdentityWatch};

use self::control::Updates;
use crate::admin::{self, Admin, DumpSource};
use crate::bootstrap::Loaded;
use crate::compile::{Compiler, Reject};
use crate::config::{Mesh, Run};
use crate::drain::Drain;
use crate::listen::sockets::{BindError, SocketKey, Sockets};
use crate::mesh::{self, Role};
use crate::model::convert;
use crate::model::secret::SdsSource;
use crate::names;
use crate::observe::access_log::LogWriter;
use crate::observe::als::Exporters;
use crate::observe::istio::registry::Registry;
use crate::observe::trace::export::SpanExporters;
use crate::runtime::RuntimeHandle;
use crate::secrets::{IDENTITY_CLUSTER, SecretStore};
use crate::status::{self, Application};
use crate::upstream::dns;
use crate::worker::Shared;
use crate::xds::config_store::ConfigStore;
use crate::xds::sds::SecretClient;
use crate::xds::{self, client};

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    runtime: Arc<RuntimeHandle>,
    compiler: Mutex<Compiler>,
    sockets: Mutex<Sockets>,
    shutdown: Shutdown,
    log: LogWriter,
    istio: Arc<Registry>,
    secrets: SecretStore,
    readiness: Readiness,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    drain_time: Duration,
    drain: Drain,
    workers: usize,
    updates: [Updates; xds::kind::ALL.len()],
}

// === impl Proxy ===

impl Proxy {
    /// Starts the worker threads and serves the static resources. Must be called on the control runtime.
    pub fn start(loaded: &Loaded, options: &Run, shutdown: Shutdown) -> Result<(Self, ConfigStore)> {
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
                drain: drain.clone(),
            };
            let drain_time = options.drain_time;
            threads.push(thread::start(index, shared, shutdown.clone(), receiver, drain_time)?);
        }
        let node = client::node(&loaded.bootstrap.node);
        let spans = SpanExporters::new(
            loaded.bootstrap.node.id.clone(),
            loaded.bootstrap.node.cluster.clone(),
            runtime.clone(),
            shutdown.clone(),
        );
        let exporters = Exporters::new(node, runtime.clone(), shutdown.clone());
        let proxy = Self {
            compiler: Mutex::new(Compiler::new(provider, secrets.clone(), exporters, spans)),
            sockets: Mutex::new(Sockets::new(commands)),
            runtime,
            shutdown,
            log,
            istio,
            secrets: secrets.clone(),
            readiness: Readiness::new(),
            threads: Mutex::new(threads),
            drain_time: options.drain_time,
            drain,
            workers: options.workers(),
            updates: Default::default(),
        };
        proxy.follow_secrets(&secrets);
        proxy.follow_outliers();
        proxy.release_descriptors();
        let mut store = ConfigStore::new(&loaded.bootstrap, secrets, options.tolerate_unsupported);
        // Static resources must all be good; discovered ones are rejected one by one.
        if let Some(reject) = proxy.reconfigure(&mut store).first() {
            bail!("listener {}: {}", reject.name, reject.reason);
        }
        Ok((proxy, store))
    }

    /// Compiles what the store has, swaps the runtime and binds sockets. Returns what could not be used.
    pub fn reconfigure(&self, store: &mut ConfigStore) -> Vec<Reject> {
        let before = self.runtime.load();
        let (runtime, mut rejects) = self.compiler.lock().compile(&store.resources(), &before);
        for (name, cluster) in &runtime.clusters {
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

    /// The running configuration.
    pub fn runtime(&self) -> &Arc<RuntimeHandle> {
        &self.runtime
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

    /// Lets ejected endpoints come back.
    fn follow_outliers(&self) {
        let runtime = self.runtime.clone();
        let stop = self.shutdown.token();
        self.shutdown.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let now = tokio::time::Instant::now();
                runtime.load().clusters.values().for_each(|cluster| cluster.tick(now));
            }
        });
    }
}

/// Runs the proxy until it is asked to end.
pub async fn run(loaded: Loaded, options: Run, log: LogControl) -> Result<()> {
    let shutdown = Shutdown::new();
    let (proxy, store) = Proxy::start(&loaded, &options, shutdown.clone())?;
    let proxy = Arc::new(proxy);
    let admin = Admin::new(&proxy, loaded.bootstrap.node.clone(), log, &shutdown);
    serve(loaded, proxy, store, admin, shutdown, Needs::default()).await
}

/// Runs the proxy under the mesh's control plane until it is asked to end.
pub async fn run_in_mesh(role: Role, options: Mesh, log: LogControl) -> Result<()> {
    let application = Application::parse(&options)?;
    let loaded = mesh::bootstrap(role, &options)?;
    let ca = mesh::ca_config(&options)?;
    let shutdown = Shutdown::new();
    let (proxy, mut store) = Proxy::start(&loaded, &options.as_run(), shutdown.clone())?;
    let proxy = Arc::new(proxy);
    let names = names::start(&options.dns_listen, &shutdown).await;
    if let Some(names) = names.context("cannot serve dns")? {
        store.follow_names(names);
    }
    let ended = CancellationToken::new();
    if let Some(uid) = options.pod_uid.as_deref().filter(|_| role == Role::Sidecar) {
        store.follow_application(uid.into(), ended.clone());
    }
    let admin = Admin::new(&proxy, loaded.bootstrap.node.clone(), log, &shutdown);
    let (status, readiness) = (options.status_listen, options.readiness_listen);
    status::serve(status, readiness, admin.clone(), application, &shutdown).await?;
    let certificate = proxy.readiness.block("certificate");
    let identity = workload::follow(ca, &shutdown);
    let (ready, first) = oneshot::channel();
    let stop = shutdown.token();
    let following = follow_identity(identity, proxy.secrets.clone(), certificate, ready);
    shutdown.spawn(async move { stop.run_until_cancelled(following).await });
    // Discovery is asked only once there is a certificate to show it.
    let needs = Needs {
        certificate: Some(first),
        application_ended: ended,
    };
    serve(loaded, proxy, store, admin, shutdown, needs).await
}

/// Delivers every certificate of the workload as secrets; tells when the first came.
async fn follow_identity(
    mut identity: IdentityWatch,
    secrets: SecretStore,
    certificate: Blocker,
    ready: oneshot::Sender<()>,
) {
    let mut waiting = Some((ready, certificate));
    while identity.changed().await.is_ok() {
        let current = identity.borrow_and_update().clone();
        let Some(current) = current else {
            continue;
        };
        mesh::deliver(&current, &secrets);
        if let Some((ready, certificate)) = waiting.take() {
            drop(certificate);
            // The receiver is gone only when the proxy stops.
            let _ = ready.send(());
        }
    }
}

/// What a proxy waits for beyond its configuration.
#[derive(Debug, Default)]
struct Needs {
    /// Discovery is asked only once this resolves.
    certificate: Option<oneshot::Receiver<()>>,
    /// Cancelled when there is no application any more that the proxy stands in front of.
    application_ended: CancellationToken,
}

/// Follows discovery and serves until asked to end.
async fn serve(
    loaded: Loaded,
    proxy: Arc<Proxy>,
    store: ConfigStore,
    admin: Admin,
    shutdown: Shutdown,
    needs: Needs,
) -> Result<()> {
    let first = needs.certificate;
    let store = Arc::new(Mutex::new(store));
    let dump = DumpSource {
        bootstrap: loaded.source.clone(),
        store: store.clone(),
        secrets: proxy.secrets.clone(),
        started: SystemTime::now(),
    };
    let secrets = SecretClient {
        proxy: Arc::downgrade(&proxy),
        store: store.clone(),
        node: client::node(&loaded.bootstrap.node),
        // In a mesh the workload's own identity answers for it.
        except: first.is_some().then(|| IDENTITY_CLUSTER.into()),
    };
    let stop = shutdown.token();
    let following = secrets.follow(shutdown.clone());
    shutdown.spawn(async move { stop.run_until_cancelled(following).await });
    if let Some(ads) = loaded.bootstrap.ads.clone() {
        let following = client::follow(ads, loaded.bootstrap.clone(), Arc::downgrade(&proxy), store);
        let following = async move {
            if let Some(first) = first {
                // An error says that the sender is gone: the proxy stops.
                let _ = first.await;
            }
            following.await;
        };
        let stop = shutdown.token();
        shutdown.spawn(async move { stop.run_until_cancelled(following).await });
    }
    if let Some(address) = loaded.bootstrap.admin {
        admin::serve(address, admin, dump, &shutdown).await?;
    }
    let signal = tokio::select! {
        signal = termination() => signal.context("cannot wait for signals")?,
        () = shutdown.started() => "quitquitquit",
        () = needs.application_ended.cancelled() => "the application has ended",
    };
    tracing::info!(signal, "draining");
    shutdown.start();
    shutdown.drain(proxy.drain_time).await;
    tokio::task::spawn_blocking(move || proxy.stop())
        .await
        .context("stopping failed")?;
    Ok(())
}
