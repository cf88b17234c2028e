//! The only place that wires the collector together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tonic::transport::Server;
use weft_base::accept;
use weft_base::admin::Admin;
use weft_base::log::LogControl;
use weft_base::operators;
use weft_base::readiness::Readiness;
use weft_base::shutdown::Shutdown;
use weft_proto::otlp::trace_service_server::TraceServiceServer;
use weft_proto::xds::envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer;

use crate::api::{self, Sources};
pub use crate::config::Config;
use crate::graph::Graph;
use crate::metrics::Metrics;
use crate::receive::access_log::Receiver;
use crate::receive::otlp::Otlp;
use crate::receive::{otlp_http, zipkin};
use crate::traces::{Limits, Traces};

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
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    pub zipkin: SocketAddr,
}

// === impl Telemetry ===

impl Telemetry {
    /// Serves until `shutdown` starts.
    #[expect(
        clippy::unused_async,
        reason = "processes start alike, and others wait for something"
    )]
    pub async fn start(config: &Config, log: Option<LogControl>, shutdown: &Shutdown) -> Result<Self> {
        let admin = Admin {
            version: concat!("weft-telemetry ", env!("CARGO_PKG_VERSION")),
            readiness: Readiness::new(),
            metrics: Arc::new(Mutex::new(Registry::default())),
            log,
        };
        let graph = Arc::new(Mutex::new(Graph::new(Instant::now())));
        let traces = Arc::new(Mutex::new(Traces::new(Limits::default())));
        let metrics = Metrics {
            graph: graph.clone(),
            traces: traces.clone(),
        };
        metrics.register(&mut admin.metrics.lock());
        let receiver = Receiver { graph: graph.clone() };
        let service = AccessLogServiceServer::new(receiver).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let logs = grpc().add_service(service);
        let als = serve_grpc("access-logs", config.als_listen, logs, shutdown)?;
        let otlp = Otlp { traces: traces.clone() };
        let service = TraceServiceServer::new(otlp.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let spans = grpc().add_service(service);
        let otlp_grpc = serve_grpc("otlp-grpc", config.otlp_grpc_listen, spans, shutdown)?;
        let serve = weft_base::serve::http;
        let router = operators::protect_at(config.otlp_http_listen, otlp_http::router(otlp));
        let otlp_http = serve("otlp-http", config.otlp_http_listen, router, shutdown)?;
        let router = operators::protect_at(config.zipkin_listen, zipkin::router(traces.clone()));
        let zipkin = serve("zipkin", config.zipkin_listen, router, shutdown)?;
        let router = operators::protect(admin.router().merge(api::router(Sources { graph, traces })));
        let http = serve("http", config.http_listen, router, shutdown)?;
        Ok(Self {
            http,
            als,
            otlp_grpc,
            otlp_http,
            zipkin,
        })
    }
}

fn grpc() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
}

fn serve_grpc(
    name: &'static str,
    listen: SocketAddr,
    router: tonic::transport::server::Router,
    shutdown: &Shutdown,
) -> Result<SocketAddr> {
    let (listener, addr) = weft_base::listen::open(name, listen)?;
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        let incoming = accept::incoming(listener, &stop);
        let served = router.serve_with_incoming_shutdown(incoming, async move { stop.started().await });
        if let Err(error) = served.await {
            tracing::error!(name, %error, "grpc server ended");
        }
    });
    Ok(addr)
}
