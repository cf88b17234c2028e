//! `meshctl up`: a whole mesh on this machine from one file, as ordinary processes without root or containers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use time::OffsetDateTime;
use weft_api::local_mesh::DataPlane;

use crate::down;
use crate::exit::{Exit, Failure};
use crate::flags::{OutputArguments, StateArguments, duration};
use crate::mesh::StateDir;
use crate::output;

pub(crate) mod build;
pub(crate) mod commands;
pub(crate) mod envoy;
pub(crate) mod lifeline;
pub(crate) mod logs;
pub(crate) mod plan;
pub(crate) mod ports;
pub(crate) mod probe;
pub(crate) mod progress;
pub(crate) mod registry;
pub(crate) mod spec;
pub(crate) mod substitute;
pub(crate) mod supervise;
pub(crate) mod tools;
pub(crate) mod watch;

mod detach;
mod example;
mod findings;
mod load;
mod order;
pub(crate) mod outline;
mod report;
mod session;
mod settle;
mod tokens;

use build::{MeshFile, Problem};
use commands::Commands;
use findings::Known;
use plan::Plan;
use ports::Ports;
use session::Session;
use supervise::Policy;
use tools::{Binaries, Tools};

/// How long a process may take to end when asked to, before it is killed. Above the proxies' drain time.
const GRACE: Duration = Duration::from_secs(8);

/// Whose output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// Of all processes.
    All,
    /// Of the workloads' programs.
    Apps,
    /// Of none.
    None,
}

/// How to start a mesh.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpArguments {
    /// The mesh file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Return when the mesh is ready and leave it running in the background.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// The stock Envoy for workloads with `dataPlane: envoy`; otherwise `envoy` on PATH.
    #[arg(long, value_name = "PATH", env = "WEFT_ENVOY")]
    pub(crate) envoy: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) state: StateArguments,
    /// Where weft-pilot, weft-citadel, weft-telemetry and weft-proxy lie; otherwise beside meshctl, then on PATH.
    #[arg(long, value_name = "DIR", env = "WEFT_BIN_DIR")]
    pub(crate) bin_dir: Option<PathBuf>,
    /// How long everything may take to get ready.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Leave a process that ends down instead of starting it again.
    #[arg(long)]
    pub(crate) no_restart: bool,
    /// Whose output is shown. Everything is in the log files of the state directory as well.
    #[arg(long, default_value = "all")]
    pub(crate) logs: Shown,
    /// Log level of the mesh's own processes, in RUST_LOG syntax.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "WEFT_LOG_LEVEL")]
    pub(crate) log_level: String,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    /// This is the process that `--detach` leaves in the background.
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

/// Starts a mesh and keeps it running until it is asked to end; with `--detach` until it is ready.
pub(crate) async fn run(arguments: UpArguments) -> anyhow::Result<Exit> {
    let loaded = load::mesh_file(&arguments.file)?;
    let state = StateDir::of_mesh(&loaded.name, arguments.state.state_dir.as_deref())?;
    if arguments.detach {
        return detach::run(&arguments, &state).await;
    }
    if arguments.background {
        // A session of its own: the end of the terminal is none of its business.
        rustix::process::setsid().context("cannot leave the terminal")?;
    }
    let _lock = state.acquire()?;
    if let Some(stale) = state.record()? {
        output::say(&format!(
            "mesh {} was not ended in order; removing what it left",
            stale.name
        ));
        down::clear(&state, &stale).await?;
    }
    state.clean()?;
    let tools = Tools::of_user(arguments.bin_dir.as_deref())?;
    let mut ports = Ports::of_system(u64::from(std::process::id()));
    let file = MeshFile {
        name: &loaded.name,
        path: &loaded.path,
        shown: &loaded.shown,
        mesh: &loaded.mesh,
    };
    let plan = build::build(file, &mut ports, &tools).map_err(|problems| bad_file(&problems))?;
    let binaries = binaries(&tools, &plan, arguments.envoy.as_deref())?;
    let examined = load::examine(&plan.config, &plan.members);
    for line in &examined.unreadable {
        output::say(line);
    }
    for finding in &examined.findings {
        output::say(&finding.to_string());
    }
    state.prepare()?;
    if let Err(error) = state.announce() {
        let root = state.root().display();
        output::say(&format!(
            "other verbs find this mesh only with --state-dir {root}: {}",
            output::causes(&error)
        ));
    }
    let commands = Commands {
        plan: &plan,
        state: &state,
        binaries: &binaries,
        log_level: &arguments.log_level,
    };
    let result = keep(commands, examined, &arguments).await;
    state.clean()?;
    result
}

/// The life of a mesh, from the first process to the last.
async fn keep(commands: Commands<'_>, examined: load::Examined, arguments: &UpArguments) -> anyhow::Result<Exit> {
    let policy = Policy {
        restart: !arguments.no_restart,
        grace: GRACE,
        lifeline: true,
    };
    let shown = if arguments.background {
        Shown::None
    } else {
        arguments.logs
    };
    let mut record = outline::record(commands.plan, commands.state, OffsetDateTime::now_utc());
    record.example = examined.example;
    let mut session = Session::new(commands, policy, shown, record)?;
    let started = tokio::select! {
        started = session.start(arguments.timeout, &examined.endpoints) => started.map(|()| None),
        signal = weft_base::shutdown::termination() => signal.context("cannot watch for signals").map(Some),
    };
    let ended = match started {
        Ok(None) => {
            if !arguments.background {
                let end = "Ctrl-C";
                output::print(arguments.output.output, session.record(), |record| {
                    outline::summary(record, end)
                })?;
            }
            session.run(Known::new(examined.findings)).await
        }
        Ok(Some(signal)) => Ok(signal),
        Err(error) => Err(error),
    };
    if let Ok(signal) = &ended {
        output::say(&format!("{signal}: ending mesh {}", commands.plan.name));
    }
    session.stop().await;
    ended.map(|_| Exit::Ok)
}

fn binaries(tools: &Tools, plan: &Plan, envoy: Option<&Path>) -> anyhow::Result<Binaries> {
    let wanted = plan.members.iter().any(|member| member.data_plane == DataPlane::Envoy);
    let found = tools.binaries(wanted.then_some(envoy))?;
    Ok(found)
}

fn bad_file(problems: &[Problem]) -> Failure {
    let lines: Vec<&str> = problems.iter().map(|Problem(text)| text.as_str()).collect();
    Failure::bad_data(format!("the mesh cannot start:\n{}", lines.join("\n")))
}
