//! Developer verbs: `cargo xtask --help`. One file a verb; continuous integration runs the same verbs.

mod gen_code;

use clap::{Parser, Subcommand};

/// Developer verbs of the Weft workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write generated files anew: service code from .proto files, protobuf descriptors.
    Gen {
        /// Compare with what is committed instead of writing; fails on a difference.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::Gen { check } => gen_code::run(check),
    }
}
