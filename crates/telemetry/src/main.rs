//! Entry point of `weft-telemetry`.

use anyhow::Result;
use clap::Parser;
use weft_telemetry::app;
use weft_telemetry::config::{Cli, Verb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = Cli::parse();
    let log = cli.log.start()?;
    match cli.verb {
        Verb::Serve(config) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(app::run(config, log))
        }
    }
}
