//! `meshctl logs`: what the control plane, proxies and programs wrote.

mod cluster;
mod machine;

use crate::cli::LogsArguments;
use crate::exit::Exit;
use crate::output;
use crate::target::Target;

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
