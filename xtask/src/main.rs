//! Developer verbs: `cargo xtask --help`. One file a verb; continuous integration runs the same verbs.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard streams"
)]
#![allow(
    clippy::disallowed_types,
    reason = "the tool measures real time and has no async runtime"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the tool waits on real time and has no async runtime"
)]

mod bench;
mod gen_code;
mod process;
mod venv;
mod workspace;

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
    /// Measure Weft beside Envoy, nginx and HAProxy.
    Bench(bench::Arguments),
    /// Write generated files anew: service code from .proto files, protobuf descriptors.
    Gen {
        /// Compare with what is committed instead of writing; fails on a difference.
        #[arg(long)]
        check: bool,
    },
    /// Install the Python packages that tests and benchmarks use (Envoy, grpcio) below target/venv.
    Venv,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Gen { check } => gen_code::run(check),
        Verb::Venv => venv::ensure().map(drop),
    }
}
