//! The sample application: one program, three roles.
//!
//! `callme` answers with its name and version over HTTP/1.1, HTTP/2 and gRPC; `caller` asks `callme`, through the proxy that
//! `http_proxy` names if there is one, and returns both answers; `load` sends requests at a steady rate and counts what fails.
//! None knows that a mesh exists.

use std::future::IntoFuture;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

mod callee;
mod caller;
mod flaky;
mod grpc;
mod load;
mod proxied;
mod tally;

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
    /// Send requests at a steady rate and print one JSON object a second that says what failed.
    Load(load::Options),
}

#[derive(Args, Debug)]
struct Common {
    /// Address to listen on.
    #[arg(long, env = "LISTEN_ADDRESS", default_value_t = Ipv4Addr::LOCALHOST.into())]
    address: IpAddr,
    /// Port to listen on.
    #[arg(long, env = "PORT_HTTP")]
    port: u16,
    /// Further ports that answer the same, so that each can be named after its protocol.
    #[arg(long, env = "MORE_PORTS", value_delimiter = ',')]
    more_ports: Vec<u16>,
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
    match role {
        Role::Callme { common, fail_percent } => {
            let addresses = common.addresses();
            let callee = callee::Callee::new(common.version, common.instance, fail_percent);
            serve(&addresses, callee.router()).await
        }
        Role::Caller { common, target } => {
            let proxy = ["http_proxy", "HTTP_PROXY"]
                .iter()
                .find_map(|name| std::env::var(name).ok());
            let client = proxied::Client::new(proxy.as_deref())?;
            let addresses = common.addresses();
            let caller = caller::Caller::new(common.version, common.instance, target, client);
            serve(&addresses, caller.router()).await
        }
        Role::Load(options) => load::run(options).await,
    }
}

async fn serve(addresses: &[SocketAddr], router: Router) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut servers = JoinSet::new();
    for address in addresses {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let mut stopping = stopping.clone();
        let served = axum::serve(listener, router.clone()).with_graceful_shutdown(async move {
            // The sender lives until all servers have ended, so an error cannot come before the end anyway.
            let _ = stopping.wait_for(|stop| *stop).await;
        });
        servers.spawn(served.into_future());
    }
    tokio::select! {
        Some(ended) = servers.join_next() => return ended?.context("a server ended"),
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot watch for SIGINT")?,
    }
    stop.send_replace(true);
    // Idle keep-alive connections close at once; a request in flight has until the deadline.
    let all = async { while servers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, all).await;
    Ok(())
}

// === impl Common ===

impl Common {
    fn addresses(&self) -> Vec<SocketAddr> {
        let ports = [self.port].into_iter().chain(self.more_ports.iter().copied());
        ports.map(|port| SocketAddr::new(self.address, port)).collect()
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
