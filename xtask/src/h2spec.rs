//! `cargo xtask h2spec`: the conformance tests of HTTP/2 by that name, against Envoy and against weft-proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::cluster::go_build::Go;
use crate::process::Profile;
use crate::wire::rig::{self, Rig, Side};
use crate::workspace;

/// Its module, whose versions and digests are in `xtask/go/h2spec`.
const PACKAGE: &str = "github.com/summerwind/h2spec/cmd/h2spec";
/// Fewer cases than that are no run.
const CASES_MIN: usize = 140;

/// Cases that ours fails and Envoy does not, with the reason.
const EXCUSED: &[(&str, &str)] = &[];

/// How it is built.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Test the program that is there instead of building it.
    #[arg(long)]
    no_build: bool,
    /// Seconds that a case waits for an answer.
    #[arg(long, default_value_t = 2)]
    timeout: u32,
}

/// Which cases failed, by name.
type Failures = BTreeMap<String, bool>;

/// Tests both; an error where ours fails what Envoy passes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let go = match Go::find() {
        Ok(go) => go,
        Err(error) => {
            eprintln!("h2spec: skipped: {error:#}");
            return Ok(());
        }
    };
    let program = workspace::target().join("h2spec").join(go.version()).join("h2spec");
    if !program.is_file() {
        eprintln!("h2spec: building it by {}", go.version());
        go.build_tool("h2spec", PACKAGE, &program)?;
    }
    if !arguments.no_build {
        Profile::Dev.build()?;
    }
    let dir = workspace::target().join(format!("h2spec-{}", std::process::id()));
    let result = both(&program, arguments.timeout, &dir).with_context(|| format!("reports are in {}", dir.display()));
    let (envoy, weft) = result?;
    std::fs::remove_dir_all(&dir)?;
    report(&envoy, &weft)
}

fn both(program: &Path, timeout: u32, dir: &Path) -> Result<(Failures, Failures)> {
    let config = |places: &rig::Places| {
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a"}});
        let hosts = json!([{"name": "all", "domains": ["*"], "routes": [route]}]);
        let manager = json!({"route_config": {"name": "all", "virtual_hosts": hosts}});
        let listener = rig::http_listener("h2spec", places.listeners[0], &manager);
        (vec![listener], vec![rig::cluster("a", places.upstreams[0], &json!({}))])
    };
    let rig = Rig::start(dir, 1, 1, &config)?;
    let results = std::thread::scope(|scope| {
        let envoy = scope.spawn(|| test(program, timeout, &rig.envoy));
        let weft = test(program, timeout, &rig.weft);
        (envoy.join().unwrap_or_else(|_| bail!("a tester panicked")), weft)
    });
    rig.stop();
    Ok((results.0.context("Envoy")?, results.1.context("weft-proxy")?))
}

fn test(program: &Path, timeout: u32, side: &Side) -> Result<Failures> {
    let to: SocketAddr = side.places.listeners[0];
    let file = side.places.dir.join("report.xml");
    // Its exit code says only that some case failed.
    Command::new(program)
        .args([
            "--host",
            &to.ip().to_string(),
            "--port",
            &to.port().to_string(),
            "--timeout",
            &timeout.to_string(),
            "--junit-report",
        ])
        .arg(&file)
        .stdout(Stdio::null())
        .status()?;
    let report = std::fs::read_to_string(&file).with_context(|| format!("no report {}", file.display()))?;
    let cases = read(&report);
    ensure!(cases.len() >= CASES_MIN, "only {} cases ran", cases.len());
    Ok(cases)
}

/// Cases of a JUnit report: section and title, and whether it failed.
fn read(report: &str) -> Failures {
    let mut cases = Failures::new();
    for case in report.split("<testcase ").skip(1) {
        let attribute = |name: &str| {
            let (_, rest) = case.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let name = format!(
            "{} {}",
            attribute("package").unwrap_or_default(),
            attribute("classname").unwrap_or_default()
        );
        let failed = case.contains("<failure") || case.contains("<error");
        cases.insert(name, failed);
    }
    cases
}

fn report(envoy: &Failures, weft: &Failures) -> Result<()> {
    let failed = |cases: &Failures, name: &str| cases.get(name).copied().unwrap_or(true);
    let mut alone = 0;
    for (name, _) in weft.iter().filter(|(_, failed)| **failed) {
        let excuse = EXCUSED.iter().find(|(excused, _)| excused == name);
        match (failed(envoy, name), excuse) {
            (true, _) => println!("both fail   {name}"),
            (false, Some((_, reason))) => println!("excused     {name}: {reason}"),
            (false, None) => {
                alone += 1;
                println!("ours fails  {name}");
            }
        }
    }
    for (name, _) in envoy.iter().filter(|(name, envoy)| **envoy && !failed(weft, name)) {
        println!("Envoy fails {name}");
    }
    let count = |cases: &Failures| cases.values().filter(|failed| **failed).count();
    println!(
        "{} cases: ours fails {}, Envoy {}",
        weft.len(),
        count(weft),
        count(envoy)
    );
    ensure!(alone == 0, "{alone} cases fail that Envoy passes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_case_by_case() {
        let report = r#"<testsuites><testsuite name="4.1"><testcase package="http2/4.1" classname="Sends a frame" time="0.1"></testcase>
            <testcase package="http2/4.2" classname="Sends another" time="2.0"><failure>timeout</failure></testcase></testsuite></testsuites>"#;
        let cases = read(report);
        assert_eq!(cases.get("http2/4.1 Sends a frame"), Some(&false));
        assert_eq!(cases.get("http2/4.2 Sends another"), Some(&true));
        assert!(self::report(&cases, &cases).is_ok());
        let clean = cases.keys().map(|name| (name.clone(), false)).collect();
        assert!(self::report(&clean, &cases).is_err());
    }
}
