//! `cargo xtask bench`: Weft beside Envoy, nginx and HAProxy in one run, in interleaved rounds.

mod backend;
mod bulk;
mod case;
mod certificates;
mod envoy_config;
mod load;
mod paced;
mod paced_h2;
mod peer_config;
mod report;
mod silent;
mod subject;
pub(crate) mod usage;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use self::case::Case;
use self::report::{Report, Round};
use self::subject::{Kind, Subject};
use crate::process::Profile;
use crate::workspace;

/// The case that is of a mesh and has no other subject.
const SILENT: &str = "silent";

/// How the report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One object.
    Json,
}

/// What to measure and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Short rounds, under two minutes in all: shows direction, not numbers to quote.
    #[arg(long)]
    quick: bool,
    /// Form of the report on stdout.
    #[arg(short, long, default_value = "table")]
    output: Format,
    /// Measure the release binary that is there instead of building it.
    #[arg(long)]
    no_build: bool,
    /// Only these cases: http1, http2, mtls-pair, tcp; or silent, newcomers beside silent connections, which runs when it is named.
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Only these subjects: weft, envoy, nginx, haproxy.
    #[arg(long = "subject", value_name = "NAME")]
    subjects: Vec<String>,
}

/// Durations of a run.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    saturated_s: u64,
    paced: Duration,
    bulk: Duration,
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.cases.iter().any(|case| case == SILENT) {
        silent::run(arguments.output == Format::Json, arguments.no_build)?;
        if arguments.cases.iter().all(|case| case == SILENT) {
            return Ok(());
        }
    }
    let plan = if arguments.quick {
        Plan {
            rounds: 3,
            saturated_s: 1,
            paced: Duration::from_millis(500),
            bulk: Duration::from_millis(200),
        }
    } else {
        Plan {
            rounds: 7,
            saturated_s: 4,
            paced: Duration::from_secs(3),
            bulk: Duration::from_secs(1),
        }
    };
    let dir = workspace::target().join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let result = measure_all(arguments, plan, &dir);
    // Only files of this run are below; a failed run keeps them for a look.
    let report = result.with_context(|| format!("configs and logs are in {}", dir.display()))?;
    std::fs::remove_dir_all(&dir)?;
    match arguments.output {
        Format::Table => print!("{}", report.table()),
        Format::Json => println!("{}", report.json()),
    }
    Ok(())
}

fn measure_all(arguments: &Arguments, plan: Plan, dir: &Path) -> Result<Report> {
    let chosen = |list: &[String], name: &str| list.is_empty() || list.iter().any(|item| item == name);
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| chosen(&arguments.subjects, kind.name()))
        .collect();
    if kinds.contains(&Kind::Weft) && !arguments.no_build {
        Profile::Release.build()?;
    }
    let backend = backend::start()?;
    let mut report = Report::default();
    for case in Case::ALL
        .into_iter()
        .filter(|case| chosen(&arguments.cases, case.name()))
    {
        let missing = |tool: &&str| workspace::on_path(tool).is_none();
        let tls_tool = (case == Case::MtlsPair).then_some("openssl");
        if let Some(tool) = [Some(load::tool(case)), tls_tool].into_iter().flatten().find(missing) {
            report.skip(
                case,
                "all",
                format!("{tool} is not installed (Debian: wrk, nghttp2-client, openssl)"),
            );
            continue;
        }
        let mut subjects = Vec::new();
        for kind in &kinds {
            match kind.program(case) {
                Ok(program) => subjects.push(Subject::start(*kind, &program, case, backend, dir)?),
                Err(reason) => report.skip(case, kind.name(), reason),
            }
        }
        report.add(case, measure_case(case, &subjects, plan)?);
    }
    Ok(report)
}

/// Rounds go over the subjects in turn, so that what the machine does meanwhile hits all alike.
fn measure_case(case: Case, subjects: &[Subject], plan: Plan) -> Result<Vec<(Kind, Vec<Round>)>> {
    let mut found: Vec<(Kind, Vec<Round>)> = subjects.iter().map(|subject| (subject.kind, Vec::new())).collect();
    for subject in subjects {
        paced::measure(case, subject.target, Duration::from_millis(200)).with_context(|| broken(case, subject))?;
    }
    for number in 1..=plan.rounds {
        eprintln!("bench: {} round {number} of {}", case.name(), plan.rounds);
        for (subject, (_, rounds)) in subjects.iter().zip(&mut found) {
            rounds.push(measure_round(case, subject, plan).with_context(|| broken(case, subject))?);
        }
    }
    Ok(found)
}

fn broken(case: Case, subject: &Subject) -> String {
    format!(
        "case {}, subject {}:\n{}",
        case.name(),
        subject.kind.name(),
        subject.last_lines()
    )
}

fn measure_round(case: Case, subject: &Subject, plan: Plan) -> Result<Round> {
    let before = subject.cpu_time()?;
    let load = load::saturate(case, subject.target, plan.saturated_s)?;
    let spent = subject.cpu_time()?.saturating_sub(before);
    let rss_mib = subject.rss_mib()?;
    let latency = paced::measure(case, subject.target, plan.paced)?;
    let mut round = Round::from([
        ("cpu_us_per_request", per(spent, load.requests) * 1e6),
        ("rps", load.rps),
        ("p50_ms", latency.p50_ms),
        ("p99_ms", latency.p99_ms),
        ("rss_mib", rss_mib),
    ]);
    if case == Case::Tcp {
        round.extend(measure_bytes(subject, subject.target, plan.bulk)?);
    }
    Ok(round)
}

fn measure_bytes(subject: &Subject, target: SocketAddr, time: Duration) -> Result<Round> {
    let start = subject.cpu_time()?;
    let bytes = bulk::transfer(target, time)?;
    let middle = subject.cpu_time()?;
    let connections = bulk::connections(target, time)?;
    let end = subject.cpu_time()?;
    Ok(Round::from([
        (
            "mib_per_s",
            bytes.count as f64 / f64::from(1 << 20) / bytes.time.as_secs_f64(),
        ),
        (
            "cpu_ms_per_gib",
            per(middle.saturating_sub(start), bytes.count) * 1e3 * f64::from(1 << 30),
        ),
        (
            "cpu_us_per_connection",
            per(end.saturating_sub(middle), connections.count) * 1e6,
        ),
    ]))
}

/// Seconds for each of `count` things.
fn per(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() / count.max(1) as f64
}
