//! Entry point of `weft-proxy`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Parser;
use weft_base::log::LogControl;
use weft_proxy::config::{Cli, Mesh, Verb};
use weft_proxy::mesh::Role;
use weft_proxy::secrets::agent;
use weft_proxy::{app, bootstrap, capture, wait};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = Cli::parse();
    let log = weft_base::log::init(&cli.log_level, cli.log_format)?;
    match cli.verb {
        Verb::Run(options) => {
            let loaded = load_apart(options.config.clone(), options.tolerate_unsupported)?;
            warn_tolerated(&loaded);
            control_runtime()?.block_on(app::run(loaded, options, log))
        }
        Verb::Sidecar(options) => in_mesh(Role::Sidecar, *options, log),
        Verb::Gateway(options) => in_mesh(Role::Gateway, *options, log),
        Verb::SdsAgent(options) => control_runtime()?.block_on(agent::run(options)),
        Verb::Wait(options) => control_runtime()?.block_on(wait::run(&options)),
        Verb::Validate(options) => {
            let loaded = bootstrap::load(&options.config, options.tolerate_unsupported)?;
            warn_tolerated(&loaded);
            tracing::info!(file = %options.config.display(), "configuration is valid");
            Ok(())
        }
        Verb::Init(options) => Ok(capture::apply::run(&options)?),
    }
}

fn in_mesh(role: Role, options: Mesh, log: LogControl) -> Result<()> {
    control_runtime()?.block_on(app::run_in_mesh(role, options, log))
}

/// What is not traffic waits nearly all the time: the main thread does it, with little memory.
fn control_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Reads the configuration on a thread of its own, whose memory goes back to the system when it ends: Envoy's descriptors take
/// several times what the proxy itself needs.
fn load_apart(path: PathBuf, tolerate: bool) -> Result<bootstrap::Loaded> {
    let reader = std::thread::Builder::new().name("configuration".to_owned());
    let reader = reader.spawn(move || {
        let loaded = bootstrap::load(&path, tolerate);
        weft_proto::descriptors::release();
        loaded
    })?;
    let loaded = reader
        .join()
        .map_err(|_| anyhow!("the configuration reader panicked"))?;
    Ok(loaded?)
}

fn warn_tolerated(loaded: &bootstrap::Loaded) {
    for field in &loaded.tolerated {
        tracing::warn!(path = %field.path, reason = %field.reason, "unsupported field is left out");
    }
}
