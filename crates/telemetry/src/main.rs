//! Entry point of `weft-telemetry`.

use anyhow::Result;
use clap::Parser;
use weft_base::process;
use weft_base::shutdown::Shutdown;
use weft_telemetry::app::Telemetry;
use weft_telemetry::config::{Cli, Verb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = Cli::parse();
    let log = cli.log.start()?;
    match cli.verb {
        Verb::Serve(config) => process::serve(1, async |shutdown: &Shutdown| {
            Telemetry::start(&config, Some(log), shutdown).await
        }),
    }
}
