//! Flags of the verbs that install, change and remove.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cluster::ClusterArguments;
use crate::flags::duration;

/// What is different from the profile.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ValueArguments {
    /// One value, by its path; `profile=default|demo|minimal` chooses where all others start. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// File with values as YAML. May be given several times; `--set` is stronger.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Revision of the control plane; another one than the installed runs beside it.
    #[arg(long, value_name = "NAME")]
    pub(crate) revision: Option<String>,
}

/// How to install.
#[derive(Args, Clone, Debug)]
pub(crate) struct InstallArguments {
    #[command(flatten)]
    pub(crate) values: ValueArguments,
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    /// How long everything may take to get ready.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Return when the objects are stored, before anything runs.
    #[arg(long)]
    pub(crate) skip_wait: bool,
}

/// How to upgrade.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpgradeArguments {
    #[command(flatten)]
    pub(crate) install: InstallArguments,
    /// Leave out the values that the installation was given.
    #[arg(long)]
    pub(crate) reset_values: bool,
}

/// What to take away.
#[derive(Args, Clone, Debug)]
pub(crate) struct UninstallArguments {
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    /// Only the control plane of this revision.
    #[arg(long, value_name = "NAME", conflicts_with = "purge")]
    pub(crate) revision: Option<String>,
    /// Also the definitions with all their objects, the namespace and the root certificate.
    #[arg(long)]
    pub(crate) purge: bool,
}

/// What to print.
#[derive(Debug, Subcommand)]
pub(crate) enum ManifestVerb {
    /// All objects of an installation.
    #[command(before_help = "Examples:\n  meshctl manifest generate --set profile=demo")]
    Generate(ValueArguments),
    /// The definitions of Istio's kinds alone.
    #[command(before_help = "Examples:\n  meshctl manifest crds")]
    Crds,
}
