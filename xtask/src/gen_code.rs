//! `cargo xtask gen`: files that are made from others and committed. A program of its own makes them (`proto/codegen`), so that
//! what it needs is built only where it runs.

use std::process::Command;

use anyhow::Result;

use crate::process::{self, Profile};

/// The program, and its package.
const PROGRAM: &str = "weft-codegen";

/// Writes every generated file, or with `check` compares them with what is committed.
pub(crate) fn run(check: bool) -> Result<()> {
    // With the features of the whole workspace, as tests have it.
    process::run(&mut process::cargo(&[
        "build",
        "--quiet",
        "--workspace",
        "--bin",
        PROGRAM,
    ]))?;
    let mut program = Command::new(Profile::Dev.folder().join(PROGRAM));
    process::run(program.args(check.then_some("--check")))
}
