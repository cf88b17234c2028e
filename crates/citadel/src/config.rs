//! Flags and environment of `weft-citadel`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use weft_base::flags;
use weft_base::identity::TrustDomain;
use weft_base::log::LogFlags;
use weft_proto::defaults::{SYSTEM_NAMESPACE, TRUST_DOMAIN};

/// The certificate authority of the Weft service mesh.
#[derive(Debug, Parser)]
#[command(
    name = "weft-citadel",
    version,
    after_help = "Examples:\n  weft-citadel serve --state-dir ./ca\n  \
                  weft-citadel serve --kubernetes --listen 0.0.0.0:15012\n  \
                  weft-citadel token --state-dir ./ca --namespace default --service-account callme"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How it logs.
    #[command(flatten)]
    pub log: LogFlags,
}

/// Verbs of `weft-citadel`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Sign certificates for workloads that prove who they are.
    Serve(Config),
    /// Print a join token for a local workload.
    Token(Token),
}

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Folder of the root certificate and its key; made where it does not exist.
    #[arg(
        long,
        env = "WEFT_STATE_DIR",
        required_unless_present = "kubernetes",
        conflicts_with = "kubernetes"
    )]
    pub state_dir: Option<PathBuf>,
    /// Keep the root in a Secret of a Kubernetes cluster (cacerts or istio-ca-secret), check service-account tokens, and put
    /// the root's certificate into every namespace.
    #[arg(long, env = "WEFT_KUBERNETES")]
    pub kubernetes: bool,
    /// Namespace of the authority itself.
    #[arg(long, env = "POD_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub namespace: String,
    /// Name of this replica's pod, for the election of the one that writes; without it a name that no other process has.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Where workloads ask for certificates.
    #[arg(long, env = "WEFT_LISTEN", default_value = "127.0.0.1:15012")]
    pub listen: SocketAddr,
    /// Where /metrics and /ready are served.
    #[arg(long, env = "WEFT_MONITORING_LISTEN", default_value = "127.0.0.1:15014")]
    pub monitoring_listen: SocketAddr,
    /// Trust domain of the identities that are signed.
    #[arg(long, env = "WEFT_TRUST_DOMAIN", default_value = TRUST_DOMAIN)]
    pub trust_domain: TrustDomain,
}

/// Options of `token`.
#[derive(Clone, Debug, Args)]
pub struct Token {
    /// Folder of the authority.
    #[arg(long, env = "WEFT_STATE_DIR")]
    pub state_dir: PathBuf,
    /// Namespace of the workload.
    #[arg(long)]
    pub namespace: String,
    /// Service account of the workload.
    #[arg(long)]
    pub service_account: String,
    /// Trust domain.
    #[arg(long, env = "WEFT_TRUST_DOMAIN", default_value = TRUST_DOMAIN)]
    pub trust_domain: TrustDomain,
    /// How long the token is good, such as 24h or 10m.
    #[arg(long, default_value = "24h", value_parser = flags::duration)]
    pub ttl: Duration,
}
