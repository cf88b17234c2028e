//! Runs one verb and turns its end into an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use owo_colors::OwoColorize;

use crate::cli::{Arguments, Verb};
use crate::exit::Exit;
use crate::install::ManifestVerb;
use crate::{
    check, completion, dashboard, down, graph, inject, install, logs, output, proxy_config, proxy_status, status, up,
    version,
};

/// Runs meshctl with a command line, whose first word is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout and mistakes to stderr; neither can be reported if that fails.
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked { Exit::Ok } else { Exit::Usage }.into();
        }
    };
    match run_verb(arguments.verb) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::say(&format!("{} {}", "error:".red().bold(), output::causes(&error)));
            Exit::of(&error).into()
        }
    }
}

fn run_verb(verb: Verb) -> anyhow::Result<Exit> {
    // One thread: children die with the thread that started them (see `up::lifeline`), and this one lives longest.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        match verb {
            Verb::Up(arguments) => up::run(arguments).await,
            Verb::Down { name, mesh } => down::run(name.as_deref(), &mesh).await,
            Verb::Status { name, target, output } => status::run(name, target, output.output).await,
            Verb::ProxyStatus { target, pilot, output } => proxy_status::run(&target, pilot, output.output).await,
            Verb::ProxyConfig(arguments) => proxy_config::run(&arguments).await,
            Verb::Graph {
                target,
                telemetry,
                output,
            } => graph::run(&target, telemetry, output.output).await,
            Verb::Dashboard(arguments) => dashboard::run(&arguments).await,
            Verb::Logs(arguments) => logs::run(&arguments).await,
            Verb::Install(arguments) => install::run(&arguments).await,
            Verb::Upgrade(arguments) => install::upgrade(&arguments).await,
            Verb::Uninstall(arguments) => install::uninstall(&arguments).await,
            Verb::Manifest {
                verb: ManifestVerb::Generate(arguments),
            } => install::generate(&arguments),
            Verb::Manifest {
                verb: ManifestVerb::Crds,
            } => install::generate_crds(),
            Verb::Check(arguments) => check::run(&arguments).await,
            Verb::Inject(arguments) => inject::run(&arguments),
            Verb::Version { target, client, output } => version::run(&target, client, output.output).await,
            Verb::Completion { shell } => completion::run(shell),
            Verb::InternalExec { parent, command } => up::lifeline::become_program(parent, &command),
        }
    })
}
