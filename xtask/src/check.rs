//! `cargo xtask check`: what to run before every commit.

use std::time::Instant;

use anyhow::Result;

use crate::{gen_code, process, tidy, workspace};

/// Format, house rules, generated files, lints, then unit and golden tests.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    static_checks()?;
    step("unit and golden tests");
    tests(&["--workspace", "--lib", "--bins"])?;
    eprintln!("check: all green after {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Everything that needs no test to run.
pub(crate) fn static_checks() -> Result<()> {
    step("format");
    process::run(&mut process::cargo(&["fmt", "--all", "--check"]))?;
    step("tidy");
    tidy::run()?;
    step("generated files");
    gen_code::run(true)?;
    step("clippy");
    let clippy = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    process::run(&mut process::cargo(&clippy))
}

/// Runs tests with `cargo nextest` where it is installed, else with `cargo test`.
pub(crate) fn tests(selection: &[&str]) -> Result<()> {
    let runner: &[&str] = if workspace::on_path("cargo-nextest").is_some() {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    process::run(&mut process::cargo(&[runner, selection].concat()))
}

/// Says on stderr what comes next.
pub(crate) fn step(name: &str) {
    eprintln!("xtask: {name}");
}
