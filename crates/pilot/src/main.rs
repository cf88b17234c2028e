//! Entry point of `weft-pilot`.

use anyhow::Result;
use clap::Parser;
use weft_base::process;
use weft_base::shutdown::Shutdown;
use weft_pilot::app::Pilot;
use weft_pilot::config::{Cli, Verb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = Cli::parse();
    let log = cli.log.start()?;
    match cli.verb {
        Verb::Serve(config) => process::serve(2, async |shutdown: &Shutdown| {
            Pilot::start(&config, Some(log), shutdown).await
        }),
    }
}
