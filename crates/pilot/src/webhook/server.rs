//! HTTPS for the API server, with a certificate that changes while it serves.
//!
//! A connection carries one request. A Service spreads connections, not requests, and a connection that an API server keeps to a pod
//! of a lost node fails every admission until it notices, for most of a minute (docs/decisions/0067).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::sync::{Semaphore, watch};
use tokio_stream::StreamExt;
use weft_base::shutdown::Shutdown;
use weft_base::workload::WorkloadIdentity;
use weft_base::{grpc_tls, tls};

/// Connections at once: what an API server asks at once.
const CONNECTIONS_MAX: usize = 128;

/// Longest time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The server's side of TLS. Clients show no certificate: the API server has none of the mesh.
pub fn server_config(identity: &WorkloadIdentity) -> Result<Arc<ServerConfig>> {
    let chain = tls::certificates(identity.chain_pem.as_bytes())?;
    let key = tls::private_key(identity.key_pem.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves `router` over TLS until `shutdown` starts, then lets answers that are being made go out.
pub async fn serve(
    listen: SocketAddr,
    router: Router,
    config: watch::Receiver<Option<Arc<ServerConfig>>>,
    shutdown: &Shutdown,
) -> Result<SocketAddr> {
    let (listener, address) = weft_base::listen::open("webhooks", listen)?;
    let mut connections = grpc_tls::incoming(listener, config, shutdown);
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let owner = shutdown.clone();
    shutdown.spawn(async move {
        while let Some(connection) = connections.next().await {
            let (Ok(connection), Ok(turn)) = (connection, turns.clone().acquire_owned().await) else {
                continue;
            };
            let service = TowerToHyperService::new(router.clone());
            let stop = owner.token();
            owner.spawn(async move {
                let _turn = turn;
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(connection), service);
                let mut serving = std::pin::pin!(serving);
                let served = tokio::select! {
                    served = serving.as_mut() => served,
                    () = stop.cancelled() => {
                        serving.as_mut().graceful_shutdown();
                        serving.await
                    }
                };
                if let Err(error) = served {
                    tracing::debug!(%error, "webhook connection ended");
                }
            });
        }
    });
    Ok(address)
}
