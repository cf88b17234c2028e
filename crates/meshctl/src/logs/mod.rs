//! `meshctl logs`: what the control plane, proxies and programs wrote.

mod cluster;
mod machine;

use clap::Args;

use crate::exit::Exit;
use crate::mesh_target::{Target, TargetArguments};
use crate::output;

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

/// Prints logs; with `--follow` until Ctrl-C or until there is nothing left to follow.
pub(crate) async fn run(arguments: &LogsArguments) -> anyhow::Result<Exit> {
    match arguments.target.find().await? {
        Target::Machine(record) => machine::run(&record, arguments).await?,
        Target::Cluster(plane) => cluster::run(&plane, arguments).await?,
    }
    Ok(Exit::Ok)
}

/// Prints a line, with its source where there are several.
fn print(source: Option<&str>, line: &str) -> anyhow::Result<()> {
    match source {
        Some(source) => output::write(&format!("{source} | {line}\n")),
        None => output::write(&format!("{line}\n")),
    }
}
