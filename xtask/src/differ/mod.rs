//! `cargo xtask differ`: generated configurations, requests and answers go through Envoy and through weft-proxy, and must come out alike.

mod case;
mod known;
mod outcome;
mod run;
mod shrink;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use self::case::Case;
use self::run::Ran;
use crate::process::Profile;
use crate::wire::locked;
use crate::workspace;

/// Configurations that are tried at the same time.
const LANES: usize = 12;
/// Cases of each before others take their place.
const CASES: usize = 60;
const EXAMPLES: &str = "Examples:
  cargo xtask differ                              a minute, with a seed of its own
  cargo xtask differ --seed 7 --seconds 1800      half an hour of the cases that seed 7 makes

A difference is shown as a row that fits into tests/tests/it/oracle/rows, with the lines that Envoy (-) and ours (+) have alone.
Those with a reason are in docs/envoy-differences.md.";

/// How long, and which cases.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What cases are made from: the same number makes the same cases in the same order.
    #[arg(long)]
    seed: Option<u64>,
    /// How long cases are tried; making differences small comes on top.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What clients speak.
    #[arg(long, value_enum, default_value_t = Downstream::Any)]
    downstream: Downstream,
    /// How many kinds of differences are made small and shown; all are counted.
    #[arg(long, default_value_t = 12)]
    show: usize,
    /// Try the program that is there instead of building it.
    #[arg(long)]
    no_build: bool,
}

/// What the clients of a run speak.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Downstream {
    Any,
    Http1,
    Http2,
}

// === impl Downstream ===

impl Downstream {
    /// Whether it is HTTP/2, where that is not drawn.
    fn http2(self) -> Option<bool> {
        match self {
            Self::Any => None,
            Self::Http1 => Some(false),
            Self::Http2 => Some(true),
        }
    }
}

/// Tries, and fails on a difference that has no reason.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_build {
        Profile::Dev.build()?;
    }
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    eprintln!("differ: seed {seed}, {} s", arguments.seconds);
    let dir = workspace::target().join(format!("differ-{}", std::process::id()));
    let found = search(seed, arguments, &dir);
    let unexplained = found.with_context(|| format!("configs and logs are in {}", dir.display()))?;
    let _ = std::fs::remove_dir_all(&dir);
    if unexplained > 0 {
        bail!("{unexplained} kinds of differences without a reason (seed {seed})");
    }
    Ok(())
}

/// How many kinds of differences there are that nobody has explained.
fn search(seed: u64, arguments: &Arguments, dir: &Path) -> Result<usize> {
    let begun = Instant::now();
    let limit = Duration::from_secs(arguments.seconds);
    let mut count = 0;
    let mut explained: Vec<&str> = Vec::new();
    let mut kinds: BTreeMap<String, (usize, Case)> = BTreeMap::new();
    let mut worlds = 0_u64;
    while begun.elapsed() < limit {
        for ran in world(seed, worlds, &dir.join("world"), begun + limit, arguments.downstream)? {
            count += 1;
            let (names, unexplained) = known::explains(&ran);
            explained.extend(names);
            if !unexplained.is_empty() {
                kinds.entry(unexplained.kind()).or_insert_with(|| (0, ran.case)).0 += 1;
            }
        }
        worlds += 1;
        let spent = begun.elapsed().as_secs_f64();
        eprintln!(
            "differ: {count} cases after {spent:.0} s, {} lines differ for known reasons, {} other kinds",
            explained.len(),
            kinds.len()
        );
    }
    explained.sort_unstable();
    for same in explained.chunk_by(|a, b| a == b) {
        println!("# known, {} lines: {}", same.len(), same[0]);
    }
    let mut frequent: Vec<(usize, Case)> = kinds.into_values().collect();
    frequent.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let mut shown = BTreeSet::new();
    for (times, case) in frequent {
        if shown.len() == arguments.show {
            println!("more kinds are not shown; mend these, and try the seed again");
            break;
        }
        // What came only once may have been a matter of time.
        let Some(ran) = shrink::confirmed(&dir.join("confirm"), &case)? else {
            continue;
        };
        let small = shrink::shrunk(&dir.join("shrink"), ran)?;
        show(seed, times, &small, &mut shown);
    }
    Ok(shown.len())
}

/// The cases of one pair of processes.
fn world(seed: u64, number: u64, dir: &Path, end: Instant, downstream: Downstream) -> Result<Vec<Ran>> {
    let of_lane = |lane: usize| Rng::with_seed(seed ^ (number << 32) ^ ((lane as u64 + 1) << 48));
    let lanes = (0..LANES).map(of_lane).map(|mut rng| {
        let config = Case::config(&mut rng);
        (rng, config, 0)
    });
    let lanes: Vec<(Rng, Case, usize)> = lanes.collect();
    let configs: Vec<Case> = lanes.iter().map(|(_, config, _)| config.clone()).collect();
    let lanes: Vec<Mutex<(Rng, Case, usize)>> = lanes.into_iter().map(Mutex::new).collect();
    let next = |lane: usize| {
        let (rng, config, count) = &mut *locked(&lanes[lane]);
        *count += 1;
        (*count <= CASES && Instant::now() < end).then(|| config.fill(rng, downstream.http2()))
    };
    run::world(dir, &configs, &next)
}

/// Prints a difference, unless another one has come to the same.
fn show(seed: u64, times: usize, ran: &Ran, shown: &mut BTreeSet<String>) {
    let (_, difference) = known::explains(ran);
    let kind = difference.kind();
    if !shown.insert(kind.clone()) {
        return;
    }
    println!("\n# {times} times");
    print!("{}", shrink::row(&format!("differs with seed {seed}: {kind:?}"), ran));
    for line in &difference.envoy {
        println!("    # - {line}");
    }
    for line in &difference.weft {
        println!("    # + {line}");
    }
}
