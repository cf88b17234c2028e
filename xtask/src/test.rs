//! `cargo xtask test`: everything that runs without a cluster.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::process::Profile;
use crate::{check, prerequisites, process, venv};

/// The checks, then every test of the workspace; the closing line is the test runner's.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    prerequisites::check()?;
    let mut skipped = check::static_checks()?;
    check::step("Python packages");
    let python = venv::python();
    let interop = venv::ensure();
    // Tests start the binaries of this build; all targets at once give everything the same features, so nothing is built twice.
    check::step("build");
    process::run(&mut process::cargo(&["build", "--workspace", "--all-targets"]))?;
    shared(&Profile::Dev.arguments(), "cargo xtask demo")?;
    shared(&["build", "--package", "xtask"], "cargo xtask")?;
    check::step("tests");
    eprintln!(
        "xtask: static checks and build took {:.0} s",
        start.elapsed().as_secs_f64()
    );
    let mut selection = vec!["--workspace"];
    skipped.push("tests on Kubernetes, which need a cluster (cargo xtask e2e)".to_owned());
    if let Err(error) = interop {
        skipped.push(format!("tests against Envoy and gRPC (package weft-tests): {error:#}"));
        selection.extend(["--exclude", "weft-tests"]);
    }
    if let Err(error) = python {
        skipped.push(format!(
            "tests of meshctl, in which Python stands in for programs: {error:#}"
        ));
        selection.extend(["--exclude", "meshctl"]);
    }
    for what in skipped {
        eprintln!("xtask: skipped: {what}");
    }
    check::tests(&selection)
}

/// Fails if another verb would build a part of what has just been built once more: who changes verbs waits for minutes then.
fn shared(build: &[&str], verb: &str) -> Result<()> {
    let format = ["--message-format", "json-render-diagnostics"];
    let messages = process::output(&mut process::cargo(&[build, &format].concat()))?;
    let again = rebuilt(&messages);
    ensure!(
        again.is_empty(),
        "`{verb}` builds what the tests have already, with other features: {}; ask for the same ones in [workspace.dependencies] \
         of Cargo.toml, or in the list at the end of xtask/Cargo.toml",
        again.join(", ")
    );
    Ok(())
}

/// What cargo's messages say was not there.
fn rebuilt(messages: &str) -> Vec<String> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let stale = messages.filter(|message| message["reason"] == "compiler-artifact" && message["fresh"] == false);
    stale
        .filter_map(|message| message["target"]["name"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_had_to_build_is_told_from_what_was_there() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"serde"},"fresh":true}
{"reason":"compiler-artifact","target":{"name":"memchr"},"fresh":false}
{"reason":"build-finished","success":true}
not from cargo"#;
        assert_eq!(rebuilt(messages), ["memchr"]);
    }
}
