//! Entry point of `weft-proxy`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use weft_base::log::{LogControl, LogFlags};
use weft_proxy::bootstrap::{ApartError, Loaded};
use weft_proxy::config::{Cli, Mesh, Run, Verb};
use weft_proxy::mesh::Role;
use weft_proxy::{app, bootstrap, capture, hooks, sds_agent};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let log = cli.log.start()?;
    match cli.verb {
        Verb::Run(options) => {
            let Some(loaded) = load(&options, &cli.log)? else {
                return Ok(ExitCode::FAILURE);
            };
            control_runtime()?.block_on(app::run(loaded, options, log))?;
        }
        Verb::Sidecar(options) => in_mesh(Role::Sidecar, *options, log)?,
        Verb::Gateway(options) => in_mesh(Role::Gateway, *options, log)?,
        Verb::SdsAgent(options) => control_runtime()?.block_on(sds_agent::run(options))?,
        Verb::Wait(options) => control_runtime()?.block_on(hooks::wait(&options))?,
        Verb::Drain(options) => control_runtime()?.block_on(hooks::drain(&options))?,
        Verb::Validate(options) => {
            let loaded = bootstrap::load(&options.config, options.tolerate_unsupported)?;
            warn_tolerated(&loaded);
            if options.encoded {
                std::io::stdout().write_all(&loaded.source)?;
            } else {
                tracing::info!(file = %options.config.display(), "configuration is valid");
            }
        }
        Verb::Init(options) => capture::apply::run(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn in_mesh(role: Role, options: Mesh, log: LogControl) -> Result<()> {
    control_runtime()?.block_on(app::run_in_mesh(role, options, log))
}

/// What is not traffic waits nearly all the time: the main thread does it, with little memory.
fn control_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Reads the configuration in a process of its own, or, where there can be none, on a thread of its own, whose memory goes back
/// to the system when it ends: Envoy's descriptors take several times what the proxy itself needs. Nothing if the other process
/// has said what is wrong.
fn load(options: &Run, log: &LogFlags) -> Result<Option<Loaded>> {
    let tolerate = options.tolerate_unsupported;
    let log_flags = ["--log-level", &log.level, "--log-format", log.format.as_str()];
    match bootstrap::load_apart(&options.config, tolerate, &log_flags) {
        Ok(loaded) => return Ok(Some(loaded)),
        Err(ApartError::Refused) => return Ok(None),
        Err(error @ ApartError::Start(..)) => {
            tracing::warn!(%error, "the bootstrap is read by the proxy itself, which will take some mebibytes more");
        }
        Err(error) => return Err(error.into()),
    }
    let path = options.config.clone();
    let reader = std::thread::Builder::new().name("configuration".to_owned());
    let reader = reader.spawn(move || {
        let loaded = bootstrap::load(&path, tolerate);
        weft_proto::descriptors::release();
        loaded
    })?;
    let loaded = reader
        .join()
        .map_err(|_| anyhow!("the configuration reader panicked"))??;
    warn_tolerated(&loaded);
    Ok(Some(loaded))
}

fn warn_tolerated(loaded: &Loaded) {
    for field in &loaded.tolerated {
        tracing::warn!(path = %field.path, reason = %field.reason, "unsupported field is left out");
    }
}
