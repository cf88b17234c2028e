//! Flags and environment of `weft-telemetry`.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use weft_base::log::LogFlags;

/// The collector of the Weft service mesh.
#[derive(Debug, Parser)]
#[command(
    name = "weft-telemetry",
    version,
    after_help = "Example:\n  weft-telemetry serve --http-listen 127.0.0.1:20001"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How it logs.
    #[command(flatten)]
    pub log: LogFlags,
}

/// Verbs of `weft-telemetry`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take access logs and spans, and serve the graph, the traces and a page of them.
    Serve(Config),
}

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Envoy's access-log service, for the proxies.
    #[arg(long, env = "WEFT_ALS_LISTEN", default_value = "127.0.0.1:15041")]
    pub als_listen: SocketAddr,
    /// OTLP over gRPC, for spans.
    #[arg(long, env = "WEFT_OTLP_GRPC_LISTEN", default_value = "127.0.0.1:4317")]
    pub otlp_grpc_listen: SocketAddr,
    /// OTLP over HTTP (protobuf), for spans.
    #[arg(long, env = "WEFT_OTLP_HTTP_LISTEN", default_value = "127.0.0.1:4318")]
    pub otlp_http_listen: SocketAddr,
    /// Zipkin's API, for spans.
    #[arg(long, env = "WEFT_ZIPKIN_LISTEN", default_value = "127.0.0.1:9411")]
    pub zipkin_listen: SocketAddr,
    /// The page, its API, /ready and /metrics.
    #[arg(long, env = "WEFT_HTTP_LISTEN", default_value = "127.0.0.1:20001")]
    pub http_listen: SocketAddr,
}
