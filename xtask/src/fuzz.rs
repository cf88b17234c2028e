//! `cargo xtask fuzz`: runs the targets of `fuzz/targets` with libFuzzer, on the compiler that everything else is built with.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{process, workspace};

/// The passes of LLVM that tell libFuzzer which edges and comparisons an input has come by. Ordinary options of the compiler: no sanitizer
/// is asked for, as there is no unsafe code of ours that one would watch.
const INSTRUMENTED: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Resident memory at which an input counts as a finding.
const MEMORY_MIB: u32 = 2048;
/// How long one input may take.
const INPUT_SECONDS: u32 = 10;
/// Bytes of an input at most.
const INPUT_BYTES: u32 = 65_536;

const EXAMPLES: &str = "Examples:
  cargo xtask fuzz --list                 names of targets
  cargo xtask fuzz http1_request          a minute of one
  cargo xtask fuzz all --secs 160         an hour of all of them

What is found is in target/fuzz/found/TARGET. Copy it to fuzz/corpus/TARGET: the test `corpora` replays what is there.";

/// Which targets, and how long.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A target, or `all` for one after the other.
    #[arg(required_unless_present = "list")]
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    secs: u32,
    /// Print the names of targets and run none.
    #[arg(long)]
    list: bool,
}

/// Fuzzes; an error where something is found.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let targets = targets()?;
    if arguments.list {
        targets.iter().for_each(|target| println!("{target}"));
        return Ok(());
    }
    let wanted = arguments.target.as_deref().unwrap_or_default();
    let chosen: Vec<&String> = targets
        .iter()
        .filter(|target| wanted == "all" || *target == wanted)
        .collect();
    ensure!(!chosen.is_empty(), "no target {wanted:?}; --list names them");
    let program = build()?;
    let mut found = Vec::new();
    for target in chosen {
        let begun = Instant::now();
        eprintln!("fuzz: {target} for {} s", arguments.secs);
        if let Err(error) = fuzz(&program, target, arguments.secs) {
            eprintln!("fuzz: {error:#}");
            found.push(target.as_str());
        }
        // A target that ends at once has not been fuzzed.
        if begun.elapsed() < Duration::from_secs(u64::from(arguments.secs) / 2)
            && found.last() != Some(&target.as_str())
        {
            bail!(
                "{target} ended after {:.0} s of {}",
                begun.elapsed().as_secs_f64(),
                arguments.secs
            );
        }
    }
    ensure!(found.is_empty(), "found in: {}", found.join(", "));
    Ok(())
}

/// Targets by their folders of seeds; a test holds those to the targets that there are.
fn targets() -> Result<Vec<String>> {
    let corpus = workspace::root().join("fuzz/corpus");
    let entries = std::fs::read_dir(&corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Builds the fuzzer, and says where it is.
fn build() -> Result<PathBuf> {
    let version = process::output(Command::new("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not name its host")?;
    let folder = workspace::target().join("fuzz");
    // With a target, what runs at build time is not instrumented.
    let mut cargo = process::cargo(&[
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target",
        host,
        "--target-dir",
    ]);
    cargo.arg(&folder).env("RUSTFLAGS", INSTRUMENTED.join(" "));
    process::run(&mut cargo).context("libFuzzer is built by a C++ compiler (Debian: apt-get install g++)")?;
    Ok(folder.join(host).join("release/weft-fuzz"))
}

fn fuzz(program: &PathBuf, target: &str, seconds: u32) -> Result<()> {
    let folder = |name: &str| workspace::target().join("fuzz").join(name).join(target);
    let (grown, found) = (folder("grown"), folder("found"));
    std::fs::create_dir_all(&grown)?;
    std::fs::create_dir_all(&found)?;
    let mut command = Command::new(program);
    command
        .env("WEFT_FUZZ_TARGET", target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-max_len={INPUT_BYTES}"))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args([grown, workspace::root().join("fuzz/corpus").join(target)]);
    process::run(&mut command).with_context(|| format!("{target}: see {}", found.display()))
}
