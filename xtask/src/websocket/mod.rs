//! `cargo xtask websocket`: Autobahn's cases of WebSocket through weft-proxy, none of which may end worse than without it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{self, Profile};
use crate::wire::rig::{self, Places, Rig};
use crate::{venv, workspace};

/// The cases (`kosoku` has Autobahn's) and the server that they are for.
const PACKAGES: &[&str] = &["kosoku==0.1.0", "websockets==17.4"];
/// Fewer cases than that are no run.
const CASES_MIN: usize = 200;
/// The server, a Python program.
const ECHO: &str = include_str!("echo.py");

/// How it is built, and what is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Test the program that is there instead of building it.
    #[arg(long)]
    no_build: bool,
    /// Only these cases, by number or pattern, such as 1.1.1 or 9.*.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<String>,
}

/// How each case ended, by its number: the behaviour, and that of the closing handshake.
type Behaviours = BTreeMap<String, (String, String)>;

/// Runs the cases without a proxy, through one, and through two with HTTP/2 between them.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_build {
        Profile::Dev.build()?;
    }
    let environment = venv::ensure_with("venv-websocket", PACKAGES)?;
    let dir = workspace::target().join(format!("websocket-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let result = compare(&environment, &arguments.cases, &dir);
    let worse = result.with_context(|| format!("reports are in {}", dir.display()))?;
    ensure!(
        worse == 0,
        "{worse} cases end worse than without the proxy; reports are in {}",
        dir.display()
    );
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn compare(environment: &Path, cases: &[String], dir: &Path) -> Result<usize> {
    let server = Server::start(environment)?;
    let rig = Rig::start(dir, 3, 0, &|places| config(places, server.address))?;
    let listeners = &rig.weft.places.listeners;
    let test = |name: &str, to| test(environment, cases, &dir.join(name), to).context(name.to_owned());
    let result = test("direct", server.address).and_then(|direct| {
        ensure!(
            !cases.is_empty() || direct.len() >= CASES_MIN,
            "only {} cases ran",
            direct.len()
        );
        let one = test("http1", listeners[0])?;
        let two = test("http2", listeners[1])?;
        Ok(report(&direct, &one, &two))
    });
    rig.stop();
    result
}

/// The first listener leads to the server; the second to the third over HTTP/2, and from there to the server.
fn config(places: &Places, server: SocketAddr) -> (Vec<Value>, Vec<Value>) {
    let listener = |at: usize, cluster: &str| {
        let manager = json!({
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http2_protocol_options": {"allow_connect": true},
            "route_config": {"name": cluster, "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
            }]},
        });
        rig::http_listener(&format!("listener-{at}"), places.listeners[at], &manager)
    };
    let http2 = json!({"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"allow_connect": true}},
    }}});
    let clusters = vec![
        rig::cluster("server", server, &json!({})),
        rig::cluster("next", places.listeners[2], &http2),
    ];
    (
        vec![listener(0, "server"), listener(1, "next"), listener(2, "server")],
        clusters,
    )
}

/// The echo server; ended when this value goes.
#[derive(Debug)]
struct Server {
    child: Child,
    address: SocketAddr,
}

// === impl Server ===

impl Server {
    fn start(environment: &Path) -> Result<Self> {
        let mut child = Command::new(environment.join("bin/python"))
            .args(["-c", ECHO])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take();
        let read = output.map(|output| BufReader::new(output).read_line(&mut line));
        let port = line.trim().parse().ok().filter(|_| matches!(read, Some(Ok(_))));
        let address = (Ipv4Addr::LOCALHOST, port.unwrap_or_default()).into();
        let server = Self { child, address };
        ensure!(port.is_some(), "the echo server said no port");
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn test(environment: &Path, cases: &[String], reports: &Path, to: SocketAddr) -> Result<Behaviours> {
    let mut command = Command::new(environment.join("bin/kosoku"));
    command.arg("--outdir").arg(reports).arg(format!("ws://{to}"));
    for case in cases {
        command.args(["--include", case]);
    }
    eprintln!(
        "websocket: {} of {to}",
        reports.file_name().unwrap_or_default().display()
    );
    // Its exit code says that some case failed, which may be the server's doing.
    let _ = process::output(&mut command);
    let index = reports.join("index.json");
    let text = std::fs::read_to_string(&index).with_context(|| format!("no report {}", index.display()))?;
    Ok(read(&serde_json::from_str(&text)?))
}

/// An index of Autobahn's form: agents, their cases, what became of each.
fn read(index: &Value) -> Behaviours {
    let agents = index.as_object().into_iter().flat_map(|agents| agents.values());
    let cases = agents.filter_map(Value::as_object).flatten();
    let word = |case: &Value, field: &str| case[field].as_str().unwrap_or_default().to_owned();
    cases
        .map(|(number, case)| (number.clone(), (word(case, "behavior"), word(case, "behaviorClose"))))
        .collect()
}

/// How good an end is. Which of two good ones it is depends on what arrives first.
fn rank(behaviour: &str) -> u8 {
    match behaviour {
        "OK" => 3,
        "NON-STRICT" | "INFORMATIONAL" => 2,
        "UNIMPLEMENTED" => 1,
        _ => 0,
    }
}

/// Prints what is worse through the proxy, and the sums; gives the number of cases that are.
fn report(direct: &Behaviours, one: &Behaviours, two: &Behaviours) -> usize {
    let show = |behaviour: Option<&(String, String)>| match behaviour {
        Some((behaviour, close)) => format!("{behaviour}, closing {close}"),
        None => "no report".to_owned(),
    };
    let as_good = |found: Option<&(String, String)>, expected: &(String, String)| {
        found.is_some_and(|found| rank(&found.0) >= rank(&expected.0) && rank(&found.1) >= rank(&expected.1))
    };
    let mut worse = 0;
    for (case, expected) in direct {
        let (one, two) = (one.get(case), two.get(case));
        if !as_good(one, expected) || !as_good(two, expected) {
            worse += 1;
            println!(
                "{case}: without {}; over HTTP/1.1 {}; over HTTP/2 {}",
                show(Some(expected)),
                show(one),
                show(two)
            );
        }
    }
    let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
    for (behaviour, _) in direct.values() {
        *sums.entry(behaviour).or_default() += 1;
    }
    let sums: Vec<String> = sums
        .iter()
        .map(|(behaviour, count)| format!("{count} {behaviour}"))
        .collect();
    println!(
        "{} cases, {worse} of them worse than without the proxy; without it: {}",
        direct.len(),
        sums.join(", ")
    );
    worse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_ends_otherwise_through_the_proxy_is_counted() {
        let index = |close: &str| {
            json!({"server": {
                "1.1.1": {"behavior": "OK", "behaviorClose": "OK"},
                "7.1.1": {"behavior": "OK", "behaviorClose": close},
            }})
        };
        let direct = read(&index("OK"));
        assert_eq!(direct["1.1.1"], ("OK".to_owned(), "OK".to_owned()));
        assert_eq!(report(&direct, &direct, &direct), 0);
        assert_eq!(report(&direct, &read(&index("UNCLEAN")), &direct), 1);
        assert_eq!(report(&direct, &direct, &Behaviours::new()), 2);
        assert_eq!(report(&read(&index("NON-STRICT")), &direct, &direct), 0);
    }
}
