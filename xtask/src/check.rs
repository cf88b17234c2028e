//! `cargo xtask check`: what to run before every commit.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{gen_code, process, targets, tidy, venv, workspace};

/// Format, house rules, generated files, lints, then unit and golden tests.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let mut skipped = static_checks()?;
    step("unit and golden tests");
    let python = venv::python();
    let selection = targets::quick(python.is_ok())?;
    let selection: Vec<&str> = selection.iter().map(String::as_str).collect();
    tests(&selection)?;
    if let Err(error) = python {
        skipped.push(format!(
            "tests of meshctl, in which Python stands in for programs: {error:#}"
        ));
    }
    if !skipped.is_empty() {
        bail!("not checked: {}", skipped.join("; "));
    }
    eprintln!("check: all green after {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Everything that needs no test to run. What a small installation of Rust has no program for is left out and named.
pub(crate) fn static_checks() -> Result<Vec<String>> {
    let mut skipped = Vec::new();
    let mut has = |program: &str, component: &str, what: &str| {
        let there = process::output(&mut process::cargo(&[program, "--version"])).is_ok();
        if !there {
            skipped.push(format!(
                "{what}, for which `rustup component add {component}` is needed"
            ));
        }
        there
    };
    if has("fmt", "rustfmt", "format") {
        step("format");
        process::run(&mut process::cargo(&["fmt", "--all", "--check"]))?;
    }
    let clippy = has("clippy", "clippy", "clippy");
    step("tidy");
    tidy::run()?;
    step("generated files");
    gen_code::run(true)?;
    if clippy {
        lint()?;
    }
    Ok(skipped)
}

fn lint() -> Result<()> {
    step("clippy");
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
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
