//! Flags of the verbs that look into a mesh, of this machine or of a cluster.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::OutputArguments;
use crate::target::TargetArguments;

/// Which proxy's configuration to show, and which part.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProxyConfigArguments {
    /// Which part.
    pub(crate) part: Part,
    /// A workload, one of its replicas or pods, or a gateway; a namespace can follow after a dot.
    #[arg(required_unless_present_any = ["admin", "file"])]
    pub(crate) workload: Option<String>,
    /// Admin address of a proxy, instead of a workload of a mesh.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["workload", "file"])]
    pub(crate) admin: Option<String>,
    /// A saved /config_dump (or /clusters?format=json for endpoints), instead of a running proxy.
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    pub(crate) file: Option<PathBuf>,
    /// Namespace of the workload, instead of one after a dot.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// Which page to open.
#[derive(Args, Clone, Debug)]
pub(crate) struct DashboardArguments {
    /// A workload or pod whose proxy's admin pages to open; otherwise the page of telemetry.
    pub(crate) workload: Option<String>,
    /// Namespace of the workload, instead of one after a dot.
    #[arg(short, long, value_name = "NAME", requires = "workload")]
    pub(crate) namespace: Option<String>,
    /// Port on this machine that leads into a cluster; 0 takes a free one.
    #[arg(short, long, value_name = "PORT", default_value = "20001")]
    pub(crate) port: u16,
    /// Only print the address.
    #[arg(long)]
    pub(crate) no_browser: bool,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

/// Whose logs to print.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogsArguments {
    /// pilot, citadel, telemetry, or workloads, pods, processes; otherwise the control plane.
    pub(crate) names: Vec<String>,
    /// Namespace of the workloads, instead of one after a dot.
    #[arg(short, long, value_name = "NAME", requires = "names")]
    pub(crate) namespace: Option<String>,
    /// Container of the pods; otherwise the proxy, or the first where there is none.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last lines of each.
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u32>,
    /// What the container wrote before it was restarted.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) previous: bool,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

/// A part of a proxy's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Where it listens.
    #[value(aliases = ["listeners", "l"])]
    Listener,
    /// Its routes.
    #[value(aliases = ["routes", "r"])]
    Route,
    /// What it can call.
    #[value(aliases = ["clusters", "c"])]
    Cluster,
    /// Addresses behind its clusters.
    #[value(aliases = ["endpoints", "ep"])]
    Endpoint,
    /// Its certificates.
    #[value(aliases = ["secrets", "s"])]
    Secret,
    /// Everything.
    All,
}
