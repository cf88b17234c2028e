//! `cargo xtask demo`: a whole mesh on this machine under steady traffic, to look at or to check its promises.

mod mesh;
mod table;
mod tally;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::mesh::Mesh;
use self::table::Table;
use self::tally::{Findings, Tally};
use self::traffic::Traffic;
use crate::process;

/// How long the collector may take to have counted the last requests.
const GRAPH_LIMIT: Duration = Duration::from_secs(10);

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
pub(crate) struct Arguments {
    /// End after some seconds and fail if a promise is broken, instead of running until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// How long traffic is sent with --once.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Form of the findings on stdout.
    #[arg(short, long, default_value = "table")]
    output: Format,
}

/// Builds, runs and always ends the mesh.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    eprintln!("demo: building");
    process::build_release()?;
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
    let length = arguments.once.then(|| Duration::from_secs(arguments.seconds));
    let tally = send_traffic(&mut mesh, length, &is_interrupted)?;
    if !arguments.once {
        return Ok(());
    }
    if is_interrupted() {
        bail!("interrupted");
    }
    let findings = Findings {
        mtls_share: settled_share(&mesh)?,
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
        table.draw(&total, &recent, mesh.mtls_share().ok().flatten());
    }
    total.add(traffic.finish()?);
    Ok(total)
}

/// Access logs reach the collector a little later than answers reach the client.
fn settled_share(mesh: &Mesh) -> Result<Option<f64>> {
    let deadline = Instant::now() + GRAPH_LIMIT;
    loop {
        let share = mesh.mtls_share().context("the collector's graph")?;
        if share.is_some() || Instant::now() > deadline {
            return Ok(share);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
