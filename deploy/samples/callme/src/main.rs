//! The sample application of the demo: one program, two roles.
//!
//! `callme` answers with its name and version; `caller` asks `callme` through the proxy that `http_proxy` names and returns
//! both answers. Neither knows that a mesh exists.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

mod callee;
mod caller;
mod flaky;
mod proxied;

/// How long open connections may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);

/// The sample application of the Weft demo.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Answer with name and version; optionally fail a share of the requests under /flaky.
    Callme {
        #[command(flatten)]
        common: Common,
        /// Share of the requests under /flaky, in percent, that fail the first time this process sees them.
        #[arg(long, env = "FAIL_PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
        fail_percent: u8,
    },
    /// Call another service for every request and answer with what it said.
    Caller {
        #[command(flatten)]
        common: Common,
        /// Base URL of the service to call.
        #[arg(long, env = "TARGET", default_value = "http://callme")]
        target: http::Uri,
    },
}

#[derive(Args, Debug)]
struct Common {
    /// Port to listen on, on 127.0.0.1.
    #[arg(long, env = "PORT_HTTP")]
    port: u16,
    /// Version that the answers carry.
    #[arg(long = "app-version", env = "VERSION", default_value = "v1")]
    version: String,
    /// Name of this instance that the answers carry.
    #[arg(long, env = "WEFT_WORKLOAD", default_value = "unknown")]
    instance: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run(arguments.role))
}

async fn run(role: Role) -> anyhow::Result<()> {
    let (port, router) = match role {
        Role::Callme { common, fail_percent } => {
            let callee = callee::Callee::new(common.version, common.instance, fail_percent);
            (common.port, callee.router())
        }
        Role::Caller { common, target } => {
            let proxy = ["http_proxy", "HTTP_PROXY"]
                .iter()
                .find_map(|name| std::env::var(name).ok());
            let client = proxied::Client::new(proxy.as_deref())?;
            let caller = caller::Caller::new(common.version, common.instance, target, client);
            (common.port, caller.router())
        }
    };
    serve(port, router).await
}

async fn serve(port: u16, router: Router) -> anyhow::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let (stop, mut stopping) = tokio::sync::watch::channel(false);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        // The sender lives until `serve` returns, so an error cannot come before the end anyway.
        let _ = stopping.wait_for(|stop| *stop).await;
    });
    let mut served = std::pin::pin!(served.into_future());
    tokio::select! {
        ended = &mut served => return ended.context("the server ended"),
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot watch for SIGINT")?,
    }
    stop.send_replace(true);
    // Idle keep-alive connections close at once; a request in flight has until the deadline.
    match tokio::time::timeout(DRAIN, served).await {
        Ok(ended) => ended.context("the server ended"),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
