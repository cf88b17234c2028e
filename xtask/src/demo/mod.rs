//! `cargo xtask demo`: a whole mesh on this machine under steady traffic, to look at or to check its promises.

mod graph;
pub(crate) mod mesh;
mod table;
mod tally;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::graph::{Graph, PLANTED};
use self::mesh::Mesh;
use self::table::Table;
use self::tally::{Findings, Tally};
use self::traffic::Traffic;
use crate::process::Profile;
use crate::{prerequisites, workspace};

/// How long the collector may take to have counted the last requests.
const GRAPH_LIMIT: Duration = Duration::from_secs(10);
/// Seconds that rates and latencies of edges are of, while the table lives and at the end.
const LIVE_WINDOW: u64 = 10;
const WHOLE_WINDOW: u64 = 60;

/// How the findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The live table alone.
    Table,
    /// One object on stdout at the end.
    Json,
}

/// What to run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask demo                             # until Ctrl-C
  cargo xtask demo --once --seconds 20 -o json # checks what the demo promises
  /usr/bin/time -v cargo xtask demo --no-run   # what the build costs")]
pub(crate) struct Arguments {
    /// End after some seconds and fail if a promise is broken, instead of running until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// How long traffic is sent with --once.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Only build what the demo runs.
    #[arg(long, conflicts_with = "once")]
    no_run: bool,
    /// Form of the findings on stdout.
    #[arg(short, long, default_value = "table")]
    output: Format,
}

/// Builds, runs and always ends the mesh.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_run {
        mesh::check_port()?;
    }
    prerequisites::check()?;
    eprintln!("demo: building; from nothing that takes some minutes, and tests and scenarios use the same build");
    Profile::Dev.build()?;
    if arguments.no_run {
        return Ok(());
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let is_interrupted = || interrupted.load(Ordering::Relaxed);
    eprintln!("demo: starting the mesh");
    let mut mesh = Mesh::start(&is_interrupted)?;
    let ready_seconds = mesh.ready_seconds()?;
    eprintln!(
        "demo: ready after {ready_seconds:.1} s; http://{}/ is the way in, {} shows the graph",
        mesh.gateway()?,
        mesh.page()?
    );
    eprintln!("{PLANTED}");
    eprintln!("{}", next_steps());
    let length = arguments.once.then(|| Duration::from_secs(arguments.seconds));
    let tally = send_traffic(&mut mesh, length, &is_interrupted)?;
    if !arguments.once {
        return Ok(());
    }
    if is_interrupted() {
        bail!("interrupted");
    }
    let graph = settled(&mesh, &tally)?;
    Table::new().finish(&graph);
    let findings = Findings {
        graph,
        tally,
        seconds: arguments.seconds,
        ready_seconds,
    };
    drop(mesh);
    if arguments.output == Format::Json {
        println!("{}", findings.json());
    }
    let broken = findings.broken();
    if !broken.is_empty() {
        bail!("broken promises: {}", broken.join("; "));
    }
    eprintln!("demo: every promise holds");
    Ok(())
}

/// Shows the table once a second until the time is over or Ctrl-C comes.
fn send_traffic(mesh: &mut Mesh, length: Option<Duration>, is_interrupted: &dyn Fn() -> bool) -> Result<Tally> {
    let start = Instant::now();
    let traffic = Traffic::start(mesh.gateway()?);
    let (mut total, mut table, mut seconds) = (Tally::default(), Table::new(), 0);
    while !is_interrupted() && length.is_none_or(|length| start.elapsed() < length) {
        std::thread::sleep(Duration::from_millis(50));
        if start.elapsed().as_secs() == seconds {
            continue;
        }
        seconds = start.elapsed().as_secs();
        mesh.check_running()?;
        let recent = traffic.collect();
        total.add(recent.clone());
        if length.is_none() {
            // Without an end, latencies would fill the memory; the table shows the last second's.
            total.micros.clear();
        }
        table.draw(&total, &recent, &mesh.graph(LIVE_WINDOW).unwrap_or_default());
    }
    total.add(traffic.finish()?);
    Ok(total)
}

/// Access logs reach the collector a little later than answers reach the client.
fn settled(mesh: &Mesh, tally: &Tally) -> Result<Graph> {
    let deadline = Instant::now() + GRAPH_LIMIT;
    loop {
        let graph = mesh.graph(WHOLE_WINDOW).context("the collector's graph")?;
        if graph.has_all(tally.requests + tally.canary, tally.retries) || Instant::now() > deadline {
            return Ok(graph);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What to look at while traffic flows.
fn next_steps() -> String {
    let meshctl = mesh::meshctl();
    // The workspace is where most are; from elsewhere only the whole path leads there.
    let here = std::env::current_dir().is_ok_and(|dir| dir == workspace::root());
    let meshctl = here
        .then(|| meshctl.strip_prefix(workspace::root()).ok())
        .flatten()
        .unwrap_or(&meshctl);
    let steps = [
        ("status", "processes and workloads"),
        ("proxy-status", "what each proxy has been told"),
        ("graph", "who calls whom, with the errors of callme-v2"),
        ("logs callme-v2", "what that workload and its sidecar say"),
        ("dashboard", "the same graph as a page, and traces"),
    ];
    let steps = steps.map(|(verb, what)| format!("\ndemo:   {} {verb:<16}{what}", meshctl.display()));
    format!("demo: next, in another terminal while this runs:{}", steps.concat())
}
