//! `cargo xtask golden`: writes expected texts anew from what the code gives; the difference is reviewed in the commit.

use anyhow::Result;

use crate::{check, process, targets, venv};

/// Runs unit and golden tests so that they take what they see for right (expect-test's `UPDATE_EXPECT`).
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    let mut command = process::cargo(&["test", "--quiet"]);
    command
        .args(targets::quick(venv::python().is_ok())?)
        .args(filter)
        .env("UPDATE_EXPECT", "1");
    process::run(&mut command)?;
    check::step("changed files");
    process::run(
        std::process::Command::new("git")
            .args(["diff", "--stat"])
            .current_dir(crate::workspace::root()),
    )
}
