//! The only place that wires the discovery server together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use kube::Client;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::sync::watch;
use tonic::transport::Server;
use weft_base::admin::Admin;
use weft_base::ca_client::CaConfig;
use weft_base::identity::SpiffeId;
use weft_base::kubernetes::leader;
use weft_base::kubernetes::token::TokenReviewer;
use weft_base::log::LogControl;
use weft_base::readiness::Readiness;
use weft_base::shutdown::Shutdown;
use weft_base::spiffe::{Allowed, client_verifier};
use weft_base::workload::{self, IdentityWatch, WorkloadIdentity};
use weft_base::{accept, grpc_tls, listen, operators, tls};
use weft_mesh::snapshot::{MeshSettings, MeshSnapshot};
use weft_mesh::view::ProxySettings;

pub use crate::config::Config;
use crate::debug::Debug;
use crate::metrics::Metrics;
use crate::source::file::FileSource;
use crate::source::kube::KubeSource;
use crate::status;
use crate::store::{Debounce, Store};
use crate::webhook;
use crate::xds::connections::Connections;
use crate::xds::identities::Identities;
use crate::xds::server::DiscoveryServer;
use crate::xds::service::service;

/// Service account of the discovery server.
const SERVICE_ACCOUNT: &str = "weft-pilot";

/// Lease of the discovery server that writes statuses.
const LEASE: &str = "weft-pilot-leader";

/// Streams of one connection.
const STREAMS_MAX: u32 = 100;

/// A running discovery server.
#[derive(Clone, Debug)]
pub struct Pilot {
    /// Plaintext discovery, where it is served.
    pub xds: Option<SocketAddr>,
    /// Discovery over TLS, where there is an authority.
    pub xds_tls: Option<SocketAddr>,
    /// Metrics and debug pages.
    pub monitoring: SocketAddr,
    pub snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    /// The connected proxies.
    pub connections: Connections,
}

// === impl Pilot ===

impl Pilot {
    /// Follows the files and serves proxies until `shutdown` starts.
    pub async fn start(config: &Config, log: Option<LogControl>, shutdown: &Shutdown) -> Result<Self> {
        let settings = MeshSettings {
            trust_domain: config.trust_domain.to_string(),
            root_namespace: config.root_namespace.clone(),
            ..MeshSettings::default()
        };
        let proxy_settings = ProxySettings {
            access_log_file: config.access_log_file.clone(),
            collector: config.telemetry_address.clone(),
            spans: config.otlp_address.clone(),
            sampling_ppm: config.trace_sampling,
        };
        let readiness = Readiness::new();
        let client = match config.kubernetes {
            true => Some(weft_base::kubernetes::connect().await?),
            false => None,
        };
        let connections = Connections::default();
        let snapshots = start_sources(config, client.clone(), settings, &connections, shutdown);
        hold_until_loaded(&readiness, snapshots.clone(), shutdown);

        let debug = Debug {
            snapshots: snapshots.clone(),
            connections: connections.clone(),
            settings: proxy_settings.clone(),
        };
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        count_snapshots(&metrics, snapshots.clone(), shutdown);
        let admin = Admin {
            version: concat!("weft-pilot ", env!("CARGO_PKG_VERSION")),
            readiness: readiness.clone(),
            metrics: Arc::new(Mutex::new(registry)),
            log,
        };
        let router = operators::protect(admin.router().merge(debug.router()));
        let monitoring = weft_base::serve::http("monitoring", config.monitoring_listen, router, shutdown)?;

        if config.kubernetes {
            // Lists of a large cluster take a moment, and a proxy that asked before would be told that nothing is there.
            let mut loading = snapshots.clone();
            loading.wait_for(|snapshot| snapshot.generation > 0).await?;
        }
        let server = DiscoveryServer::new(
            snapshots.clone(),
            proxy_settings,
            connections.clone(),
            metrics,
            shutdown.clone(),
        );
        let plaintext = config.plaintext();
        let xds = plaintext.map(|addr| serve_plaintext(addr, server.clone(), shutdown));
        let xds = xds.transpose()?;
        let xds_tls = match ca_config(config)? {
            None => None,
            Some(ca) => {
                let reviewer = (client.clone()).map(|client| TokenReviewer::new(client, config.trust_domain.clone()));
                let server = server.with(Identities::Proven(reviewer.map(Box::new)));
                let identity = workload::follow(ca, shutdown);
                if let Some(client) = client {
                    let parts = (client, identity.clone(), snapshots.clone());
                    webhook::start(config, parts, &readiness, shutdown).await?;
                }
                Some(serve_tls(config, identity, server, &readiness, shutdown)?)
            }
        };
        Ok(Self {
            xds,
            xds_tls,
            monitoring,
            snapshots,
            connections,
        })
    }
}

/// Starts the store and what feeds it.
fn start_sources(
    config: &Config,
    client: Option<Client>,
    settings: MeshSettings,
    connections: &Connections,
    shutdown: &Shutdown,
) -> watch::Receiver<Arc<MeshSnapshot>> {
    let sources = usize::from(!config.config.is_empty()) + usize::from(config.kubernetes);
    let root_namespace = settings.root_namespace.clone();
    let (store, events, snapshots) = Store::new(settings, Debounce::default(), sources);
    shutdown.spawn(store.run(shutdown.clone()));
    if let Some(client) = client {
        let source = KubeSource::new(client.clone(), &root_namespace);
        let identity = leader::identity(config.pod_name.as_deref());
        let leads = leader::campaign(client.clone(), &config.namespace, LEASE, identity, shutdown);
        let writing = status::run(client, source.served(), snapshots.clone(), connections.clone(), leads);
        let stop = shutdown.token();
        shutdown.spawn(async move {
            stop.run_until_cancelled(writing).await;
        });
        shutdown.spawn(source.run(events.clone(), snapshots.clone(), shutdown.clone()));
    }
    if !config.config.is_empty() {
        shutdown.spawn(FileSource::new(config.config.clone()).run(events, shutdown.clone()));
    }
    snapshots
}

/// Not ready before every object was read once: a proxy must not be told that everything is gone.
fn hold_until_loaded(readiness: &Readiness, mut snapshots: watch::Receiver<Arc<MeshSnapshot>>, shutdown: &Shutdown) {
    let blocker = readiness.block("configuration");
    let stop = shutdown.token();
    shutdown.spawn(async move {
        let loaded = snapshots.wait_for(|snapshot| snapshot.generation > 0);
        if let Some(Ok(_)) = stop.run_until_cancelled(loaded).await {
            drop(blocker);
        }
    });
}

/// Keeps the metrics of the mesh itself.
fn count_snapshots(metrics: &Metrics, mut snapshots: watch::Receiver<Arc<MeshSnapshot>>, shutdown: &Shutdown) {
    let metrics = metrics.clone();
    let stop = shutdown.token();
    shutdown.spawn(async move {
        while let Some(Ok(())) = stop.run_until_cancelled(snapshots.changed()).await {
            let snapshot = snapshots.borrow_and_update().clone();
            metrics.published(&snapshot);
        }
    });
}

fn grpc() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
}

fn serve_plaintext(addr: SocketAddr, server: DiscoveryServer, shutdown: &Shutdown) -> Result<SocketAddr> {
    let (listener, addr) = listen::open("xds", addr)?;
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        let incoming = accept::incoming(listener, &stop);
        let served = grpc().add_service(service(server));
        if let Err(error) = served
            .serve_with_incoming_shutdown(incoming, async move { stop.started().await })
            .await
        {
            tracing::error!(%error, "discovery service ended");
        }
    });
    Ok(addr)
}

fn serve_tls(
    config: &Config,
    identity: IdentityWatch,
    server: DiscoveryServer,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Result<SocketAddr> {
    let (listener, addr) = listen::open("xds-tls", config.xds_tls_listen)?;
    let trust_domain = config.trust_domain.clone();
    let blocker = readiness.block("certificate");
    let (publish, tls_config) = watch::channel(None);
    let stop = shutdown.token();
    let allowed = Allowed::TrustDomain(trust_domain);
    // A client without a certificate may still have a token.
    let required = !config.kubernetes;
    shutdown.spawn(async move {
        stop.run_until_cancelled(follow_identity(identity, (allowed, required), publish, blocker))
            .await;
    });
    let incoming = grpc_tls::incoming(listener, tls_config, shutdown);
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        let served = grpc().add_service(service(server));
        if let Err(error) = served
            .serve_with_incoming_shutdown(incoming, async move { stop.started().await })
            .await
        {
            tracing::error!(%error, "discovery service over tls ended");
        }
    });
    Ok(addr)
}

/// Turns every new certificate into a server configuration.
async fn follow_identity(
    mut identity: IdentityWatch,
    clients: (Allowed, bool),
    publish: watch::Sender<Option<Arc<ServerConfig>>>,
    blocker: weft_base::readiness::Blocker,
) {
    let mut blocker = Some(blocker);
    while identity.changed().await.is_ok() {
        let current = identity.borrow_and_update().clone();
        let Some(current) = current else {
            continue;
        };
        match server_config(&current, clients.clone()) {
            Ok(config) => {
                publish.send_replace(Some(config));
                drop(blocker.take());
            }
            Err(error) => tracing::error!(%error, "certificate is not usable for discovery"),
        }
    }
}

/// Whose certificates clients may show, and whether they must.
fn server_config(identity: &WorkloadIdentity, (allowed, required): (Allowed, bool)) -> Result<Arc<ServerConfig>> {
    let roots = tls::roots(identity.roots_pem.as_bytes())?;
    let clients = client_verifier(roots, allowed, required)?;
    Ok(grpc_tls::server_config(
        &identity.chain_pem,
        &identity.key_pem,
        clients,
    )?)
}

fn ca_config(config: &Config) -> Result<Option<CaConfig>> {
    let Some(address) = config.ca_address.clone() else {
        return Ok(None);
    };
    let (Some(root_cert), Some(token_file)) = (config.ca_root_cert.clone(), config.token_file.clone()) else {
        bail!("--ca-address needs --ca-root-cert and --token-file");
    };
    Ok(Some(CaConfig {
        address,
        root_cert,
        token_file,
        id: SpiffeId::new(config.trust_domain.clone(), &config.namespace, SERVICE_ACCOUNT)?,
    }))
}
