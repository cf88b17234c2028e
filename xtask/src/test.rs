//! `cargo xtask test`: everything that runs without a cluster.

use std::time::Instant;

use anyhow::Result;

use crate::{check, process, venv};

/// The checks, then every test of the workspace; the closing line is the test runner's.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    check::static_checks()?;
    check::step("Python packages");
    let interop = venv::ensure();
    // Tests start the binaries of this build; all targets at once give everything the same features, so nothing is built twice.
    check::step("build");
    process::run(&mut process::cargo(&["build", "--workspace", "--all-targets"]))?;
    check::step("tests");
    eprintln!(
        "xtask: static checks and build took {:.0} s",
        start.elapsed().as_secs_f64()
    );
    eprintln!("xtask: skipped: tests on Kubernetes, which need a cluster");
    match interop {
        Ok(_) => check::tests(&["--workspace"]),
        Err(error) => {
            eprintln!("xtask: skipped: tests against Envoy and gRPC (package weft-tests): {error:#}");
            check::tests(&["--workspace", "--exclude", "weft-tests"])
        }
    }
}
