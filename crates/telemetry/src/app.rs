//! The only place that wires the collector together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use weft_base::admin::Admin;
use weft_base::log::LogControl;
use weft_base::readiness::Readiness;
use weft_base::shutdown::Shutdown;
use weft_proto::xds::envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer;

use crate::api;
pub use crate::config::Config;
use crate::graph::Graph;
use crate::receive::Receiver;

/// Largest message of a proxy in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Streams of one connection.
const STREAMS_MAX: u32 = 64;

/// A running collector.
#[derive(Clone, Copy, Debug)]
pub struct Telemetry {
    /// The page and its API.
    pub http: SocketAddr,
    /// The access-log service.
    pub als: SocketAddr,
}

// === impl Telemetry ===

impl Telemetry {
    /// Serves until `shutdown` starts.
    pub async fn start(config: &Config, log: Option<LogControl>, shutdown: &Shutdown) -> Result<Self> {
        let admin = Admin {
            version: concat!("weft-telemetry ", env!("CARGO_PKG_VERSION")),
            readiness: Readiness::new(),
            metrics: Arc::new(Mutex::new(Registry::default())),
            log,
        };
        let graph = Arc::new(Mutex::new(Graph::new(Instant::now())));
        let als = serve_logs(config.als_listen, Receiver { graph: graph.clone() }, shutdown).await?;
        let router = admin.router().merge(api::router(graph));
        let http = weft_base::admin::serve("http", config.http_listen, router, shutdown).await?;
        Ok(Self { http, als })
    }
}

async fn serve_logs(listen: SocketAddr, receiver: Receiver, shutdown: &Shutdown) -> Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {listen}; is another process using the port?"))?;
    let addr = listener.local_addr()?;
    tracing::info!(name = "access-logs", %addr, "listening");
    let service = AccessLogServiceServer::new(receiver).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        let served = Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .add_service(service);
        if let Err(error) = served
            .serve_with_incoming_shutdown(incoming, async move { stop.started().await })
            .await
        {
            tracing::error!(%error, "access-log service ended");
        }
    });
    Ok(addr)
}

/// Runs the collector until it is asked to end.
pub async fn run(config: Config, log: LogControl) -> Result<()> {
    let shutdown = Shutdown::new();
    Telemetry::start(&config, Some(log), &shutdown).await?;
    let signal = weft_base::shutdown::termination().await?;
    tracing::info!(signal, "stopping");
    shutdown.drain(Duration::from_secs(5)).await;
    Ok(())
}
