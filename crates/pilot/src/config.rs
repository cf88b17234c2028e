//! Flags and environment of `weft-pilot`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use weft_base::identity::TrustDomain;
use weft_base::log::LogFlags;
use weft_proto::defaults::{SYSTEM_NAMESPACE, TRUST_DOMAIN};

/// The discovery server of the Weft service mesh.
#[derive(Debug, Parser)]
#[command(
    name = "weft-pilot",
    version,
    after_help = "Examples:\n  weft-pilot serve --config ./config\n  \
                  weft-pilot serve --config ./config --config ./registry --xds-listen 127.0.0.1:15010\n  \
                  weft-pilot serve --kubernetes --xds-tls-listen 0.0.0.0:15012 --ca-address HOST:PORT --ca-root-cert FILE --token-file FILE"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How it logs.
    #[command(flatten)]
    pub log: LogFlags,
}

/// Verbs of `weft-pilot`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve the configuration of files or of a Kubernetes cluster to proxies, and follow it.
    Serve(Config),
}

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// File or folder with objects; may be given several times. Changes are picked up while it runs.
    #[arg(
        long,
        env = "WEFT_CONFIG",
        required_unless_present = "kubernetes",
        value_delimiter = ','
    )]
    pub config: Vec<PathBuf>,
    /// Read the objects of a Kubernetes cluster: that of KUBECONFIG, or the one that this process runs in.
    #[arg(long, env = "WEFT_KUBERNETES")]
    pub kubernetes: bool,
    /// Namespace of the discovery server itself.
    #[arg(long, env = "POD_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub namespace: String,
    /// Name of this replica's pod, for the election of the one that writes statuses; without it a name that no other process has.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Revision of the control plane; names its webhook configurations.
    #[arg(long, env = "WEFT_REVISION", default_value = "default")]
    pub revision: String,
    /// Admission webhooks over TLS; needs --kubernetes and --ca-address.
    #[arg(long, env = "WEFT_WEBHOOK_LISTEN", requires_all = ["kubernetes", "ca_address"])]
    pub webhook_listen: Option<SocketAddr>,
    /// Settings of the injector as YAML; otherwise those of a default installation.
    #[arg(long, env = "WEFT_INJECTOR_SETTINGS")]
    pub injector_settings: Option<PathBuf>,
    /// Plaintext discovery; anybody who reaches it may read the configuration, but no key material. With --kubernetes there is none
    /// unless this is given, otherwise it is at 127.0.0.1:15010.
    #[arg(long, env = "WEFT_XDS_LISTEN")]
    pub xds_listen: Option<SocketAddr>,
    /// Discovery over mesh TLS; needs --ca-address.
    #[arg(long, env = "WEFT_XDS_TLS_LISTEN", default_value = "127.0.0.1:15012")]
    pub xds_tls_listen: SocketAddr,
    /// Where /metrics, /ready and /debug are served.
    #[arg(long, env = "WEFT_MONITORING_LISTEN", default_value = "127.0.0.1:15014")]
    pub monitoring_listen: SocketAddr,
    /// Certificate authority, host:port. Without it there is no discovery over TLS.
    #[arg(long, env = "WEFT_CA_ADDRESS", requires_all = ["ca_root_cert", "token_file"])]
    pub ca_address: Option<String>,
    /// Root certificate of the authority.
    #[arg(long, env = "WEFT_CA_ROOT_CERT")]
    pub ca_root_cert: Option<PathBuf>,
    /// Join token of the discovery server; on Kubernetes its service-account token with audience istio-ca.
    #[arg(long, env = "WEFT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Trust domain of all identities.
    #[arg(long, env = "WEFT_TRUST_DOMAIN", default_value = TRUST_DOMAIN)]
    pub trust_domain: TrustDomain,
    /// Namespace of mesh-wide objects.
    #[arg(long, env = "WEFT_ROOT_NAMESPACE", default_value = "istio-system")]
    pub root_namespace: String,
    /// File of the proxies' access logs; empty for none.
    #[arg(long, env = "WEFT_ACCESS_LOG_FILE", default_value = "")]
    pub access_log_file: String,
    /// Access-log service of the collector, host:port; proxies report there.
    #[arg(long, env = "WEFT_TELEMETRY_ADDRESS", value_parser = parse_host_port)]
    pub telemetry_address: Option<(String, u16)>,
    /// OTLP service of the collector, host:port; proxies send their spans there. Without it they make none.
    #[arg(long, env = "WEFT_OTLP_ADDRESS", value_parser = parse_host_port)]
    pub otlp_address: Option<(String, u16)>,
    /// Percentage of the requests without a trace of their own that are traced, to four places.
    #[arg(long, env = "WEFT_TRACE_SAMPLING", default_value = "1", value_parser = parse_percentage)]
    pub trace_sampling: u32,
}

// === impl Config ===

impl Config {
    /// Where discovery is served in plaintext, if anywhere.
    pub fn plaintext(&self) -> Option<SocketAddr> {
        let of_this_machine = SocketAddr::from(([127, 0, 0, 1], 15010));
        self.xds_listen
            .or_else(|| (!self.kubernetes).then_some(of_this_machine))
    }
}

/// A percentage as parts per million.
fn parse_percentage(text: &str) -> Result<u32, String> {
    let percent: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(format!("{text:?} is not between 0 and 100"));
    }
    Ok((percent * 10_000.0).round() as u32)
}

fn parse_host_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is not of the form host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}
