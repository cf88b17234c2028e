//! The life of a proxy: from its options to its orderly end. The only place that wires its parts together.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_base::log::LogControl;
use weft_base::readiness::Blocker;
use weft_base::shutdown::{Shutdown, Termination};
use weft_base::workload::{self, IdentityWatch};

use crate::admin::{self, Admin, DumpSource};
use crate::bootstrap::Loaded;
use crate::bootstrap::node::node;
use crate::config::{Mesh, Run};
use crate::dataplane::Proxy;
use crate::dataplane::ending::Clients;
use crate::dns;
use crate::mesh::{self, Role};
use crate::secrets::{IDENTITY_CLUSTER, SecretStore};
use crate::status::{self, Application};
use crate::xds::client::Client;
use crate::xds::config_store::ConfigStore;
use crate::xds::sds::SecretClient;

// === impl Clients ===

impl From<Role> for Clients {
    fn from(role: Role) -> Self {
        match role {
            Role::Sidecar => Self::Callers,
            Role::Gateway => Self::Any,
        }
    }
}

/// Runs the proxy until it is asked to end.
pub async fn run(loaded: Loaded, options: Run, log: LogControl) -> Result<()> {
    let termination = Termination::listen().context("cannot wait for signals")?;
    let shutdown = Shutdown::new();
    let (proxy, store) = start(&loaded, &options, shutdown.clone())?;
    let admin = Admin::new(&proxy, loaded.bootstrap.node.clone(), log, &shutdown);
    serve(loaded, proxy, store, admin, (shutdown, termination), Needs::default()).await
}

/// Runs the proxy under the mesh's control plane until it is asked to end.
pub async fn run_in_mesh(role: Role, options: Mesh, log: LogControl) -> Result<()> {
    let application = Application::parse(&options)?;
    let loaded = mesh::bootstrap(role, &options)?;
    let ca = mesh::ca_config(&options)?;
    let termination = Termination::listen().context("cannot wait for signals")?;
    let shutdown = Shutdown::new();
    let (proxy, mut store) = start(&loaded, &options.as_run(), shutdown.clone())?;
    let names = dns::start(&options.dns_listen, &shutdown).await;
    if let Some(names) = names.context("cannot serve dns")? {
        store.follow_names(names);
    }
    let ended = CancellationToken::new();
    if let Some(uid) = options.pod_uid.as_deref().filter(|_| role == Role::Sidecar) {
        store.follow_application(uid.into(), ended.clone());
    }
    let admin = Admin::new(&proxy, loaded.bootstrap.node.clone(), log, &shutdown);
    let starting = proxy.readiness().block("start");
    let (status, readiness) = (options.status_listen, options.readiness_listen);
    status::serve(status, readiness, admin.clone(), application, &shutdown)?;
    let certificate = proxy.readiness().block("certificate");
    let identity = workload::follow(ca, &shutdown);
    let (ready, first) = oneshot::channel();
    let stop = shutdown.token();
    let following = follow_identity(identity, proxy.secrets().clone(), certificate, ready);
    shutdown.spawn(async move { stop.run_until_cancelled(following).await });
    // Discovery is asked only once there is a certificate to show it.
    let needs = Needs {
        starting: Some(starting),
        certificate: Some(first),
        application_ended: ended,
        clients: role.into(),
    };
    serve(loaded, proxy, store, admin, (shutdown, termination), needs).await
}

/// Starts the data plane with the static resources, and gives the store to which discovered ones come. Must be called on the control
/// runtime.
pub fn start(loaded: &Loaded, options: &Run, shutdown: Shutdown) -> Result<(Arc<Proxy>, ConfigStore)> {
    let proxy = Proxy::start(loaded, options, shutdown)?;
    let secrets = proxy.secrets().clone();
    let mut store = ConfigStore::new(&loaded.bootstrap, secrets, options.tolerate_unsupported);
    // Static resources must all be good; discovered ones are rejected one by one.
    if let Some(reject) = proxy.reconfigure(&store.resources(Instant::now())).first() {
        bail!("listener {}: {}", reject.name, reject.reason);
    }
    Ok((Arc::new(proxy), store))
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

/// What a proxy waits for beyond its configuration, at its start and at its end.
#[derive(Debug, Default)]
struct Needs {
    /// Discovery is asked only once this resolves.
    certificate: Option<oneshot::Receiver<()>>,
    /// Holds readiness back until everything else that does is there.
    starting: Option<Blocker>,
    /// Cancelled when there is no application any more that the proxy stands in front of.
    application_ended: CancellationToken,
    /// Who has to hear of the end.
    clients: Clients,
}

/// Follows discovery and serves until asked to end.
async fn serve(
    loaded: Loaded,
    proxy: Arc<Proxy>,
    store: ConfigStore,
    admin: Admin,
    (shutdown, mut termination): (Shutdown, Termination),
    needs: Needs,
) -> Result<()> {
    let first = needs.certificate;
    let store = Arc::new(Mutex::new(store));
    let dump = DumpSource {
        bootstrap: loaded.source.clone(),
        store: store.clone(),
        secrets: proxy.secrets().clone(),
        started: SystemTime::now(),
    };
    let secrets = SecretClient {
        proxy: Arc::downgrade(&proxy),
        store: store.clone(),
        node: node(&loaded.bootstrap.node),
        // In a mesh the workload's own identity answers for it.
        except: first.is_some().then(|| IDENTITY_CLUSTER.into()),
    };
    let stop = shutdown.token();
    let following = secrets.follow(shutdown.clone());
    shutdown.spawn(async move { stop.run_until_cancelled(following).await });
    if let Some(ads) = loaded.bootstrap.ads.clone() {
        let client = Client::new(ads, &loaded.bootstrap, Arc::downgrade(&proxy), store);
        let following = async move {
            if let Some(first) = first {
                // An error says that the sender is gone: the proxy stops.
                let _ = first.await;
            }
            client.follow().await;
        };
        let stop = shutdown.token();
        shutdown.spawn(async move { stop.run_until_cancelled(following).await });
    }
    drop(needs.starting);
    if let Some(address) = loaded.bootstrap.admin {
        admin::serve(address, admin, dump, &shutdown)?;
    }
    let signal = tokio::select! {
        signal = termination.next() => signal,
        () = shutdown.started() => "quitquitquit",
        () = needs.application_ended.cancelled() => "the application has ended",
    };
    tracing::info!(signal, "draining");
    // Load balancers that ask whether it is ready hear of the end first.
    let _not_ready = proxy.readiness().block("draining");
    let again = async { Ok(termination.next().await) };
    let heard = proxy.send_clients_away(needs.clients, again).await;
    heard.context("cannot wait for signals")?;
    shutdown.start();
    shutdown.drain(proxy.drain_time()).await;
    tokio::task::spawn_blocking(move || proxy.stop())
        .await
        .context("stopping failed")?;
    Ok(())
}
