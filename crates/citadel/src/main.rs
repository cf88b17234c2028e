//! Entry point of `weft-citadel`.

use std::io::Write;

use anyhow::Result;
use clap::Parser;
use weft_base::identity::SpiffeId;
use weft_base::process;
use weft_base::shutdown::Shutdown;
use weft_citadel::app::{self, Citadel};
use weft_citadel::config::{Cli, Verb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = Cli::parse();
    let log = cli.log.start()?;
    match cli.verb {
        Verb::Serve(config) => process::serve(1, async |shutdown: &Shutdown| {
            Citadel::start(&config, Some(log), shutdown).await
        }),
        Verb::Token(options) => {
            let id = SpiffeId::new(options.trust_domain, &options.namespace, &options.service_account)?;
            let token = app::token(&options.state_dir, &id, options.ttl)?;
            Ok(writeln!(std::io::stdout(), "{token}")?)
        }
    }
}
