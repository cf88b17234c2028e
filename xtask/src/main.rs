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

mod apt;
mod attack;
mod bench;
mod check;
mod cluster;
mod demo;
mod differ;
mod e2e;
mod fuzz;
mod gen_code;
mod golden;
mod h2spec;
mod http;
mod images;
mod prerequisites;
mod process;
mod targets;
mod test;
mod testssl;
mod tidy;
mod venv;
mod websocket;
mod wire;
mod workspace;

use std::process::ExitCode;

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
    /// Send a table of attacks through Envoy and through weft-proxy, and look at what reaches the upstream.
    Attack(attack::Arguments),
    /// Measure Weft beside Envoy, nginx and HAProxy.
    Bench(bench::Arguments),
    /// What to run before every commit: format, tidy, generated files, clippy, unit and golden tests.
    Check,
    /// A real Kubernetes on this machine, for development and tests.
    Cluster(cluster::Arguments),
    /// The first process of a node of the local cluster; `cluster up` starts it.
    #[command(hide = true)]
    ClusterNode(cluster::node_init::Arguments),
    /// The way from this machine into the local cluster; `cluster up` starts it.
    #[command(hide = true)]
    ClusterForward(cluster::forward::Arguments),
    /// A whole mesh on this machine under steady traffic, with a live table and a page.
    Demo(demo::Arguments),
    /// Send generated requests through Envoy and through weft-proxy, and look for what differs.
    Differ(differ::Arguments),
    /// Whole scenarios on a real Kubernetes, with real pods.
    E2e(e2e::Arguments),
    /// Fuzz what reads bytes of others, with libFuzzer.
    Fuzz(fuzz::Arguments),
    /// Write generated files anew: service code from .proto files, protobuf descriptors.
    Gen {
        /// Compare with what is committed instead of writing; fails on a difference.
        #[arg(long)]
        check: bool,
    },
    /// Take what the code gives as the expected texts of golden tests.
    Golden {
        /// Only tests whose name contains this.
        filter: Option<String>,
    },
    /// The conformance tests of HTTP/2, against Envoy and against weft-proxy.
    H2spec(h2spec::Arguments),
    /// Container images of every program, without a container engine.
    Images(images::Arguments),
    /// Everything that runs without a cluster: the checks, unit tests, Envoy and gRPC interop, whole meshes.
    Test,
    /// What the scanner of that name finds on a TLS listener of weft-proxy.
    Testssl(testssl::Arguments),
    /// Rules of the house that no compiler checks.
    Tidy,
    /// Install the Python packages that tests and benchmarks use (Envoy, grpcio) below target/venv.
    Venv,
    /// Autobahn's cases of WebSocket through weft-proxy, none of which may end worse than without it.
    Websocket(websocket::Arguments),
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Attack(arguments) => attack::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Check => check::run(),
        Verb::Cluster(arguments) => cluster::run(&arguments),
        Verb::ClusterNode(arguments) => cluster::node_init::run(&arguments),
        Verb::ClusterForward(arguments) => cluster::forward::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Differ(arguments) => differ::run(&arguments),
        Verb::E2e(arguments) => e2e::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Gen { check } => gen_code::run(check),
        Verb::Golden { filter } => golden::run(filter.as_deref()),
        Verb::H2spec(arguments) => h2spec::run(&arguments),
        Verb::Images(arguments) => images::run(&arguments),
        Verb::Test => test::run(),
        Verb::Testssl(arguments) => testssl::run(&arguments),
        Verb::Tidy => tidy::run(),
        Verb::Venv => venv::ensure().map(drop),
        Verb::Websocket(arguments) => websocket::run(&arguments),
    }
}
