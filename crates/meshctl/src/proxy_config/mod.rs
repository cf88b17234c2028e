//! `meshctl proxy-config`: what a proxy has, read from the admin pages that every Envoy has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;
use time::OffsetDateTime;

use crate::exit::{Exit, Failure};
use crate::fetch::Server;
use crate::flags::OutputArguments;
use crate::input;
use crate::mesh::Record;
use crate::mesh_target::{Target, TargetArguments};
use crate::output::{self, Format};

mod cluster;
mod dump;
mod endpoint;
mod listener;
mod route;
mod secret;

use dump::Dump;

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

/// Limit of one admin page.
const DEADLINE: Duration = Duration::from_secs(30);

/// Everything but endpoints, which have a page of their own with their state.
const DUMP_PAGE: &str = "/config_dump";

const ENDPOINT_PAGE: &str = "/clusters?format=json";

/// Where the configuration is read.
enum Source<'a> {
    Proxy(Server),
    File(&'a Path),
}

/// Shows a part of a proxy's configuration.
pub(crate) async fn run(arguments: &ProxyConfigArguments) -> anyhow::Result<Exit> {
    let source = match (&arguments.file, &arguments.admin, &arguments.workload) {
        (Some(file), ..) => Source::File(file),
        (None, Some(admin), _) => Source::Proxy(Server::Address(admin.clone())),
        (None, None, Some(workload)) => Source::Proxy(admin_of(arguments, workload).await?),
        (None, None, None) => bail!(Failure::usage("name a workload, --admin or --file")),
    };
    let now = OffsetDateTime::now_utc();
    let format = arguments.output.output;
    match arguments.part {
        Part::Endpoint => {
            let page = source.read(ENDPOINT_PAGE).await?;
            let statuses = endpoint::statuses(&page)?;
            output::print(format, &statuses, |statuses| endpoint::table(statuses))?;
        }
        Part::All if matches!(format, Format::Table | Format::Short) => {
            let dump = Dump::new(source.read(DUMP_PAGE).await?)?;
            let mut text = format!(
                "{}\n{}\n",
                cluster::table(&dump.clusters()),
                listener::table(&dump.listeners())
            );
            text.push_str(&format!(
                "{}\n{}",
                route::table(&dump.routes()),
                secret::table(&dump.secrets(), now)
            ));
            if let Source::Proxy(_) = source {
                let page = source.read(ENDPOINT_PAGE).await?;
                let statuses = endpoint::statuses(&page)?;
                text.push_str(&format!("\n{}", endpoint::table(&statuses)));
            }
            output::write(&text)?;
        }
        Part::All => output::print(format, &source.read(DUMP_PAGE).await?, |_| String::new())?,
        part @ (Part::Cluster | Part::Listener | Part::Route | Part::Secret) => {
            let dump = Dump::new(source.read(DUMP_PAGE).await?)?;
            match part {
                Part::Cluster => output::print(format, &dump.clusters(), |found| cluster::table(found))?,
                Part::Listener => output::print(format, &dump.listeners(), |found| listener::table(found))?,
                Part::Route => output::print(format, &dump.routes(), |found| route::table(found))?,
                Part::Secret | Part::Endpoint | Part::All => {
                    let secrets = dump.secrets();
                    output::print(format, &dump.secret_values(), |_| secret::table(&secrets, now))?;
                }
            }
        }
    }
    Ok(Exit::Ok)
}

async fn admin_of(arguments: &ProxyConfigArguments, workload: &str) -> anyhow::Result<Server> {
    let namespace = arguments.namespace.as_deref();
    match arguments.target.find().await? {
        Target::Machine(record) => Ok(Server::Address(admin_of_replica(&record, workload, namespace)?)),
        Target::Cluster(plane) => Ok(Server::Pod(plane.admin(workload, namespace).await?)),
    }
}

/// Admin address of the first replica of a workload of this machine.
pub(crate) fn admin_of_replica(record: &Record, name: &str, namespace: Option<&str>) -> anyhow::Result<String> {
    let full = namespace.map(|namespace| format!("{name}.{namespace}"));
    let workload = full.as_deref().unwrap_or(name);
    let found = record.workloads_named(workload);
    if let Some(replica) = found.first() {
        if found.len() > 1 {
            let names: Vec<&str> = found.iter().map(|replica| replica.name.as_str()).collect();
            output::say(&format!(
                "{workload} has several replicas ({}); showing {}",
                names.join(", "),
                replica.name
            ));
        }
        return Ok(replica.admin.clone());
    }
    let names: Vec<&str> = record.workloads.iter().map(|replica| replica.name.as_str()).collect();
    bail!(
        "mesh {} has no workload {workload}; it has {}",
        record.name,
        names.join(", ")
    )
}

// === impl Source ===

impl Source<'_> {
    async fn read(&self, page: &str) -> anyhow::Result<Value> {
        match self {
            Self::Proxy(server) => server
                .get_json(page, DEADLINE)
                .await
                .context("cannot read the proxy's admin page"),
            Self::File(path) => {
                let text = input::read(path)?;
                serde_json::from_str(&text)
                    .map_err(|error| Failure::bad_data(format!("{}: not JSON: {error}", path.display())).into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
