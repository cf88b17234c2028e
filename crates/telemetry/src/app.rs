//! The only place that wires the collector together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use weft_base::admin::Admin;
use weft_base::log::LogControl;
use weft_base::readiness::Readiness;
use weft_base::shutdown::Shutdown;

pub use crate::config::Config;

/// A running collector.
#[derive(Clone, Copy, Debug)]
pub struct Telemetry {
    /// Readiness and metrics.
    pub http: SocketAddr,
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
        let http = weft_base::admin::serve("http", config.http_listen, admin.router(), shutdown).await?;
        Ok(Self { http })
    }
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
