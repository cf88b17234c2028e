//! The only place that wires the authority together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use rcgen::{KeyPair, PublicKeyData, SubjectPublicKeyInfo};
use rustls::ServerConfig;
use tokio::sync::watch;
use tonic::transport::Server;
use weft_base::admin::Admin;
use weft_base::identity::SpiffeId;
use weft_base::kubernetes::leader;
use weft_base::kubernetes::token::TokenReviewer;
use weft_base::readiness::Readiness;
use weft_base::shutdown::Shutdown;
use weft_base::spiffe::{Allowed, client_verifier};
use weft_base::{grpc_tls, operators, tls};
use weft_proto::istio_ca::istio_certificate_service_server::IstioCertificateServiceServer;

use crate::authenticate::Tokens;
use crate::authority::{Authority, LEAF_LIFETIME, Order};
pub use crate::config::Config;
use crate::kube::{distribute, secret};
use crate::metrics::Metrics;
use crate::service::{ServerNames, Service};
use crate::store::{self, ROOT_CERT};

/// Largest message that the service takes in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Calls at once per connection.
const CALLS_MAX: usize = 16;

/// Lease of the replica that writes ConfigMaps.
const LEASE: &str = "weft-citadel-leader";

/// A running authority.
#[derive(Clone, Debug)]
pub struct Citadel {
    /// Where it signs.
    pub addr: SocketAddr,
    /// Where it is monitored.
    pub monitoring_addr: SocketAddr,
    /// Where the root certificate is, if it is in a file.
    pub root_cert: Option<PathBuf>,
}

// === impl Citadel ===

impl Citadel {
    /// Opens the root and serves until `shutdown` starts.
    pub async fn start(config: &Config, log: Option<weft_base::log::LogControl>, shutdown: &Shutdown) -> Result<Self> {
        let opened = open(config, shutdown).await?;
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics
            .root_cert_expiry_timestamp
            .set(opened.authority.not_after().unix_timestamp());
        let admin = Admin {
            version: concat!("weft-citadel ", env!("CARGO_PKG_VERSION")),
            readiness: Readiness::new(),
            metrics: Arc::new(Mutex::new(registry)),
            log,
        };
        let starting = admin.readiness.block("certificate service");
        let router = operators::protect(admin.router());
        let monitoring_addr = weft_base::serve::http("monitoring", config.monitoring_listen, router, shutdown)?;
        let addr = serve(config, opened, metrics, shutdown)?;
        drop(starting);
        Ok(Self {
            addr,
            monitoring_addr,
            root_cert: config.state_dir.as_ref().map(|dir| dir.join(ROOT_CERT)),
        })
    }
}

/// The root, and who checks tokens.
struct Opened {
    authority: Arc<Authority>,
    tokens: Tokens,
    /// DNS names of control-plane servers.
    servers: ServerNames,
}

/// Opens the root of the state directory, or of the cluster.
async fn open(config: &Config, shutdown: &Shutdown) -> Result<Opened> {
    if let Some(dir) = config.state_dir.as_ref().filter(|_| !config.kubernetes) {
        let state = store::open(dir, &config.trust_domain, SystemTime::now())?;
        return Ok(Opened {
            authority: Arc::new(state.authority),
            tokens: Tokens::Join(state.join_key),
            servers: ServerNames::default(),
        });
    }
    let client = weft_base::kubernetes::connect().await?;
    let now = SystemTime::now();
    let authority = secret::open(&client, &config.namespace, &config.trust_domain, now).await?;
    let root_pem = authority.root_pem().to_owned();
    let identity = leader::identity(config.pod_name.as_deref());
    let leads = leader::campaign(client.clone(), &config.namespace, LEASE, identity, shutdown);
    let (stop, distribute) = (shutdown.token(), distribute::run(client.clone(), root_pem, leads));
    shutdown.spawn(async move {
        stop.run_until_cancelled(distribute).await;
    });
    Ok(Opened {
        authority: Arc::new(authority),
        tokens: Tokens::ServiceAccounts(Box::new(TokenReviewer::new(client, config.trust_domain.clone()))),
        servers: ServerNames {
            namespace: Some(config.namespace.clone()),
        },
    })
}

fn serve(config: &Config, opened: Opened, metrics: Metrics, shutdown: &Shutdown) -> Result<SocketAddr> {
    let (listener, addr) = weft_base::listen::open("ca", config.listen)?;
    let (publish, tls_config) = watch::channel(Some(server_config(config, &opened.authority)?));
    renew_server_certificate(config.clone(), opened.authority.clone(), publish, shutdown);
    let incoming = grpc_tls::incoming(listener, tls_config, shutdown);
    let service = IstioCertificateServiceServer::new(Service {
        authority: opened.authority,
        tokens: opened.tokens,
        servers: opened.servers,
        trust_domain: config.trust_domain.clone(),
        metrics,
    });
    let server = Server::builder()
        .concurrency_limit_per_connection(CALLS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .timeout(Duration::from_secs(10))
        .add_service(service.max_decoding_message_size(MESSAGE_BYTES_MAX));
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        if let Err(error) = server
            .serve_with_incoming_shutdown(incoming, async move { stop.started().await })
            .await
        {
            tracing::error!(%error, "certificate service ended");
        }
    });
    Ok(addr)
}

/// The authority's own server certificate, signed by itself.
fn server_config(config: &Config, authority: &Authority) -> Result<Arc<ServerConfig>> {
    let id = SpiffeId::new(config.trust_domain.clone(), &config.namespace, "weft-citadel")?;
    let key = KeyPair::generate_for(crate::csr::authority_algorithm())?;
    let public_key = SubjectPublicKeyInfo::from_der(&key.subject_public_key_info())?;
    // Names under which workloads reach the authority, beside its identity.
    let own = ServerNames {
        namespace: Some(config.namespace.clone()),
    };
    let mut dns_names = own.of(&id);
    dns_names.extend(["localhost", "127.0.0.1", "istiod.istio-system.svc"].map(str::to_owned));
    let order = Order {
        id: &id,
        dns_names: &dns_names,
        public_key: &public_key,
        lifetime: LEAF_LIFETIME,
    };
    let mut chain_pem = authority.sign(&order, SystemTime::now(), store::random_serial()?)?;
    for certificate in authority.intermediates() {
        chain_pem.push('\n');
        chain_pem.push_str(certificate);
    }
    let roots = tls::roots(authority.root_pem().as_bytes())?;
    let clients = client_verifier(roots, Allowed::TrustDomain(config.trust_domain.clone()), false)?;
    Ok(grpc_tls::server_config(&chain_pem, &key.serialize_pem(), clients)?)
}

/// Replaces the server certificate at half its life.
fn renew_server_certificate(
    config: Config,
    authority: Arc<Authority>,
    publish: watch::Sender<Option<Arc<ServerConfig>>>,
    shutdown: &Shutdown,
) {
    let stop = shutdown.token();
    shutdown.spawn(async move {
        let mut ticks = tokio::time::interval(LEAF_LIFETIME / 2);
        ticks.tick().await;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match server_config(&config, &authority) {
                Ok(renewed) => drop(publish.send_replace(Some(renewed))),
                Err(error) => tracing::error!(%error, "cannot renew the server certificate"),
            }
        }
    });
}

/// Makes a join token from a state directory.
pub fn token(state_dir: &Path, id: &SpiffeId, lifetime: Duration) -> Result<String> {
    let key = store::join_key(state_dir)?;
    let expires = crate::join_token::expiry(SystemTime::now(), lifetime);
    Ok(crate::join_token::issue(&key, id, expires))
}
