//! Flags and environment of `weft-proxy`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use weft_base::ca_client::CaConfig;
use weft_base::flags;
use weft_base::identity::{IdentityError, SpiffeId, TrustDomain};
use weft_base::log::LogFlags;
use weft_proto::defaults::{DISCOVERY_ACCOUNT, TRUST_DOMAIN};

use crate::capture::options::Init;

/// The data plane of the Weft service mesh.
#[derive(Debug, Parser)]
#[command(
    name = "weft-proxy",
    version,
    after_help = "Examples:\n  weft-proxy run -c envoy.yaml\n  \
                  weft-proxy run -c envoy.yaml --concurrency 2 --drain-time 10s\n  weft-proxy validate -c envoy.yaml"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How it logs.
    #[command(flatten)]
    pub log: LogFlags,
}

/// Verbs of `weft-proxy`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve what an Envoy bootstrap file says.
    Run(Run),
    /// Serve beside a workload of the mesh, as discovery says.
    Sidecar(Box<Mesh>),
    /// Serve as a gateway of the mesh, as discovery says.
    Gateway(Box<Mesh>),
    /// Give a stock Envoy beside it the workload's certificate, over a Unix socket.
    SdsAgent(SdsAgent),
    /// Wait for the proxy beside it to be ready.
    Wait(Wait),
    /// Have the proxy beside it send the workload's callers away, as its pod ends.
    Drain(Drain),
    /// Check an Envoy bootstrap file and exit.
    Validate(Validate),
    /// Program capture for the pod: send its traffic through the proxy beside it.
    Init(Box<Init>),
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Envoy bootstrap, YAML or JSON.
    #[arg(short, long, env = "WEFT_CONFIG")]
    pub config: PathBuf,
    /// Leave out what is not supported, with a warning each, instead of refusing the file.
    #[arg(long, env = "WEFT_TOLERATE_UNSUPPORTED")]
    pub tolerate_unsupported: bool,
    /// Worker threads.
    #[arg(long, env = "WEFT_CONCURRENCY")]
    pub concurrency: Option<usize>,
    /// How long requests in flight may take after a SIGTERM.
    #[arg(long, env = "WEFT_DRAIN_TIME", default_value = "45s", value_parser = flags::duration)]
    pub drain_time: Duration,
    /// How long listeners stay open after a SIGTERM while clients are sent away, so that load balancers can hear of it first. A
    /// second signal ends it.
    #[arg(long, env = "WEFT_MINIMUM_DRAIN_TIME", default_value = "0s", value_parser = flags::duration)]
    pub minimum_drain_time: Duration,
}

/// Options of `sidecar` and `gateway`.
#[derive(Clone, Debug, Args)]
pub struct Mesh {
    /// Discovery server, host:port, over mesh TLS.
    #[arg(long, env = "WEFT_DISCOVERY_ADDRESS")]
    pub discovery_address: String,
    /// Service account of the discovery server, namespace/name: its certificate must be that account's.
    #[arg(long, env = "WEFT_DISCOVERY_ACCOUNT", default_value = DISCOVERY_ACCOUNT, value_parser = parse_account)]
    pub discovery_account: (String, String),
    /// Certificate authority, host:port.
    #[arg(long, env = "WEFT_CA_ADDRESS")]
    pub ca_address: String,
    /// Root certificate of the authority.
    #[arg(long, env = "WEFT_CA_ROOT_CERT")]
    pub ca_root_cert: PathBuf,
    /// Join token of the workload.
    #[arg(long, env = "WEFT_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// Name of the pod.
    #[arg(long, env = "WEFT_NAME")]
    pub name: String,
    /// Identity of the pod in Kubernetes: the proxy ends when discovery says that all other containers of this pod have ended for
    /// good, so that a Job completes. For an ordinary container only; Kubernetes itself ends native sidecars.
    #[arg(long, env = "WEFT_POD_UID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub pod_uid: Option<String>,
    /// Namespace.
    #[arg(long, env = "WEFT_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Service account.
    #[arg(long, env = "WEFT_SERVICE_ACCOUNT", default_value = "default")]
    pub service_account: String,
    /// Name shared by all replicas of the workload.
    #[arg(long, env = "WEFT_WORKLOAD_NAME", default_value = "")]
    pub workload_name: String,
    /// Labels, as key=value,key=value.
    #[arg(long, env = "WEFT_LABELS", value_delimiter = ',', value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// File with further labels, one key="value" a line, as Kubernetes writes a pod's labels to a volume.
    #[arg(long, env = "WEFT_LABELS_FILE")]
    pub labels_file: Option<PathBuf>,
    /// What discovery should know beyond that, as a JSON object of node metadata.
    #[arg(long, env = "WEFT_METADATA", default_value = "{}", value_parser = parse_metadata)]
    pub metadata: Metadata,
    /// Address of the workload.
    #[arg(long, env = "WEFT_IP", default_value = "127.0.0.1")]
    pub ip: IpAddr,
    /// Trust domain of the mesh.
    #[arg(long, env = "WEFT_TRUST_DOMAIN", default_value = TRUST_DOMAIN)]
    pub trust_domain: TrustDomain,
    /// Admin pages.
    #[arg(long, env = "WEFT_ADMIN_LISTEN", default_value = "127.0.0.1:15000")]
    pub admin_listen: SocketAddr,
    /// Readiness and metrics.
    #[arg(long, env = "WEFT_STATUS_LISTEN", default_value = "127.0.0.1:15020")]
    pub status_listen: SocketAddr,
    /// The application's probes by path on the status port, as JSON.
    #[arg(long, env = "ISTIO_KUBE_APP_PROBERS", value_name = "JSON")]
    pub app_probers: Option<String>,
    /// The application's own metrics, as JSON: {"scrape": "true", "port": "8080", "path": "/metrics"}.
    #[arg(long, env = "ISTIO_PROMETHEUS_ANNOTATIONS", value_name = "JSON")]
    pub prometheus_annotations: Option<String>,
    /// Readiness for whoever starts the workload.
    #[arg(long, env = "WEFT_READINESS_LISTEN", default_value = "127.0.0.1:15021")]
    pub readiness_listen: SocketAddr,
    /// Answer DNS queries there, for names of the mesh from what discovery says, for others from the servers of
    /// /etc/resolv.conf; capture with --redirect-dns sends them to 127.0.0.1:15053,[::1]:15053.
    #[arg(long, env = "WEFT_DNS_LISTEN", value_delimiter = ',')]
    pub dns_listen: Vec<SocketAddr>,
    /// Leave out what is not supported, with a warning each, instead of refusing the resource.
    #[arg(long, env = "WEFT_TOLERATE_UNSUPPORTED")]
    pub tolerate_unsupported: bool,
    /// Worker threads; one per processor, at most two.
    #[arg(long, env = "WEFT_CONCURRENCY")]
    pub concurrency: Option<usize>,
    /// How long requests in flight may take after a SIGTERM.
    #[arg(long, env = "WEFT_DRAIN_TIME", default_value = "45s", value_parser = flags::duration)]
    pub drain_time: Duration,
    /// How long listeners stay open at the end while clients are sent away, so that everybody can hear of it first: from a SIGTERM, or
    /// from `weft-proxy drain` before it. A second signal ends it. A sidecar whose workload no service names and nobody has called does
    /// without.
    #[arg(long, env = "WEFT_MINIMUM_DRAIN_TIME", default_value = "5s", value_parser = flags::duration)]
    pub minimum_drain_time: Duration,
}

/// Options of `sds-agent`.
#[derive(Clone, Debug, Args)]
pub struct SdsAgent {
    /// Unix socket to serve on; made by the agent, open to this user alone.
    #[arg(long, env = "WEFT_SOCKET")]
    pub socket: PathBuf,
    /// Certificate authority, host:port.
    #[arg(long, env = "WEFT_CA_ADDRESS")]
    pub ca_address: String,
    /// Root certificate of the authority.
    #[arg(long, env = "WEFT_CA_ROOT_CERT")]
    pub ca_root_cert: PathBuf,
    /// Join token of the workload.
    #[arg(long, env = "WEFT_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// Namespace.
    #[arg(long, env = "WEFT_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Service account.
    #[arg(long, env = "WEFT_SERVICE_ACCOUNT", default_value = "default")]
    pub service_account: String,
    /// Trust domain of the mesh.
    #[arg(long, env = "WEFT_TRUST_DOMAIN", default_value = TRUST_DOMAIN)]
    pub trust_domain: TrustDomain,
}

/// Options of `wait`.
#[derive(Clone, Debug, Args)]
pub struct Wait {
    /// Longest time to wait.
    #[arg(long, default_value = "60s", value_parser = flags::duration)]
    pub timeout: Duration,
    /// Where the proxy answers /healthz/ready.
    #[arg(long, default_value = "127.0.0.1:15021")]
    pub address: SocketAddr,
}

/// Options of `drain`.
#[derive(Clone, Debug, Args)]
pub struct Drain {
    /// Then wait until no process of another user has a socket in this pod.
    #[arg(long)]
    pub until_idle: bool,
    /// Shortest time to wait for that: an application that has no socket now may open one before it ends.
    #[arg(long, default_value = "0s", value_parser = flags::duration, requires = "until_idle")]
    pub at_least: Duration,
    /// Longest time to wait for that.
    #[arg(long, default_value = "60s", value_parser = flags::duration, requires = "until_idle")]
    pub timeout: Duration,
    /// The status port of the proxy.
    #[arg(long, default_value = "127.0.0.1:15020")]
    pub address: SocketAddr,
}

/// Node metadata, by key.
pub type Metadata = std::collections::BTreeMap<String, serde_json::Value>;

/// Options of `validate`.
#[derive(Clone, Debug, Args)]
pub struct Validate {
    /// Envoy bootstrap, YAML or JSON.
    #[arg(short, long, env = "WEFT_CONFIG")]
    pub config: PathBuf,
    /// List what is not supported as warnings.
    #[arg(long, env = "WEFT_TOLERATE_UNSUPPORTED")]
    pub tolerate_unsupported: bool,
    /// Write the bootstrap to standard output as protobuf bytes: how a proxy has its file read by another process.
    #[arg(long, hide = true)]
    pub encoded: bool,
}

// === impl Run ===

impl Run {
    /// Worker threads to start: as asked, else one per processor.
    pub fn workers(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.concurrency.unwrap_or(processors).clamp(1, 512)
    }
}

// === impl Mesh ===

impl Mesh {
    /// The part that is common with `run`.
    pub fn as_run(&self) -> Run {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Run {
            config: PathBuf::new(),
            tolerate_unsupported: self.tolerate_unsupported,
            concurrency: Some(self.concurrency.unwrap_or_else(|| processors.min(2))),
            drain_time: self.drain_time,
            minimum_drain_time: self.minimum_drain_time,
        }
    }
}

// === impl SdsAgent ===

impl SdsAgent {
    /// Where the workload gets its certificate.
    pub fn ca_config(&self) -> Result<CaConfig, IdentityError> {
        Ok(CaConfig {
            address: self.ca_address.clone(),
            root_cert: self.ca_root_cert.clone(),
            token_file: self.token_file.clone(),
            id: SpiffeId::new(self.trust_domain.clone(), &self.namespace, &self.service_account)?,
        })
    }
}

fn parse_metadata(text: &str) -> Result<Metadata, String> {
    serde_json::from_str(text).map_err(|error| format!("{text:?} is not a JSON object: {error}"))
}

/// Labels as Kubernetes writes them to a volume: `key="value"`, the value escaped as Go does.
pub fn parse_labels_file(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let wrong = || format!("{line:?} is not of the form key=\"value\"");
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            // Values of labels have only letters, digits and `-_.`, so that Go's escapes are JSON's here.
            let value = serde_json::from_str(value).map_err(|_| wrong())?;
            Ok((key.to_owned(), value))
        })
        .collect()
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not of the form key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A service account as `namespace/name`.
fn parse_account(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(format!("{text:?} is not of the form namespace/name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_volume() {
        let text = "app=\"callme\"\nexample.com/a=\"\"\n";
        let labels = parse_labels_file(text).unwrap();
        assert_eq!(labels[0], ("app".to_owned(), "callme".to_owned()));
        assert_eq!(labels[1], ("example.com/a".to_owned(), String::new()));
        assert!(parse_labels_file("app").is_err() && parse_labels_file("app=callme").is_err());
    }
}
