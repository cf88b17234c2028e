//! Entry point of `weft-proxy`.

use anyhow::Result;
use clap::Parser;
use weft_proxy::config::{Cli, Mesh, Verb};
use weft_proxy::mesh::Role;
use weft_proxy::{app, bootstrap};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = Cli::parse();
    weft_base::log::init(&cli.log_level, cli.log_format)?;
    match cli.verb {
        Verb::Run(options) => {
            let loaded = bootstrap::load(&options.config, options.tolerate_unsupported)?;
            warn_tolerated(&loaded);
            let control = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            control.block_on(app::run(loaded, options))
        }
        Verb::Sidecar(options) => in_mesh(Role::Sidecar, *options),
        Verb::Gateway(options) => in_mesh(Role::Gateway, *options),
        Verb::Validate(options) => {
            let loaded = bootstrap::load(&options.config, options.tolerate_unsupported)?;
            warn_tolerated(&loaded);
            tracing::info!(file = %options.config.display(), "configuration is valid");
            Ok(())
        }
    }
}

fn in_mesh(role: Role, options: Mesh) -> Result<()> {
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    control.block_on(app::run_in_mesh(role, options))
}

fn warn_tolerated(loaded: &bootstrap::Loaded) {
    for field in &loaded.tolerated {
        tracing::warn!(path = %field.path, reason = %field.reason, "unsupported field is left out");
    }
}
