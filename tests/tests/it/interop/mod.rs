//! A stock Envoy takes everything that pilot generates: configurations of every kind of object, one Envoy per proxy over ADS,
//! nothing rejected and nothing missing.
//!
//! `$DIR` in a configuration is a folder with `tls.crt`, `tls.key` and `ca.crt`, `$ADDRESS` a loopback address of the test's own,
//! `$PORT` a free port.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::mesh::get;
use crate::support::process::{Process, built};
use crate::support::sds::{Sds, Secrets};
use crate::support::{envoy, ports};

/// Everything is there well within this time, however slow the machine is.
const LIMIT: Duration = Duration::from_secs(60);

const STOP_LIMIT: Duration = Duration::from_secs(10);

macro_rules! loads {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> Result<()> {
            check(include_str!(concat!(stringify!($name), ".yaml"))).await
        }
    )*};
}

loads!(bookinfo, gateways, entries, policies);

/// Starts pilot on a configuration and an Envoy for each of its workloads.
async fn check(config: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let text = prepare(config, dir.path())?;
    std::fs::create_dir(dir.path().join("config"))?;
    std::fs::write(dir.path().join("config/mesh.yaml"), &text)?;
    let (xds, monitoring) = (ports::free()?, ports::free()?);
    let mut command = Command::new(built("weft-pilot")?);
    command
        .args(["serve", "--config"])
        .arg(dir.path().join("config"))
        .args([
            "--xds-listen",
            &xds.to_string(),
            "--monitoring-listen",
            &monitoring.to_string(),
        ])
        .args(["--access-log-file", "/dev/null", "--telemetry-address", "127.0.0.1:9"]);
    let mut pilot = Process::start("pilot", &mut command, dir.path())?;
    pilot
        .wait_until("readiness", LIMIT, || async {
            get(monitoring, "/ready", "localhost")
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await?;
    let findings = page(monitoring, "/debug/diagnosticsz?now=true").await?;
    let errors: Vec<&Value> = findings
        .as_array()
        .into_iter()
        .flatten()
        .filter(|f| f["severity"] == "error")
        .collect();
    ensure!(errors.is_empty(), "the configuration has errors: {errors:#?}");
    let proxies = proxies(&text)?;
    ensure!(!proxies.is_empty(), "the configuration has no workload");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name));
    let secrets = Secrets {
        chain: read("tls.crt")?,
        key: read("tls.key")?,
        roots: read("ca.crt")?,
    };
    let service = Sds::start(secrets).await?;
    let sds = service.address;
    let mut running = JoinSet::new();
    for (role, pod, namespace) in proxies {
        let dir = dir.path().join(&pod);
        running.spawn(async move {
            let loaded = load(&role, &pod, &namespace, xds, sds, monitoring, &dir).await;
            loaded.with_context(|| format!("{pod}.{namespace}"))
        });
    }
    while let Some(finished) = running.join_next().await {
        finished??;
    }
    pilot.stop(STOP_LIMIT).await
}

/// Puts files and addresses in the places that the configuration names.
fn prepare(config: &str, dir: &Path) -> Result<String> {
    // Its own root.
    let made = rcgen::generate_simple_self_signed(["*.localhost".to_owned(), "localhost".to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for (name, text) in [("tls.crt", &certificate), ("ca.crt", &certificate), ("tls.key", &key)] {
        std::fs::write(dir.join(name), text)?;
    }
    let indented = |text: &str| text.trim_end().replace('\n', "\n    ");
    let mut text = config
        .replace("$DIR", &dir.display().to_string())
        .replace("$CERTIFICATE", &indented(&certificate))
        .replace("$KEY", &indented(&key))
        .replace("$ADDRESS", &ports::free()?.ip().to_string());
    while text.contains("$PORT") {
        // The listener for http_proxy is at 127.0.0.1, where addresses of a test's own do not help.
        let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        text = text.replacen("$PORT", &free.to_string(), 1);
    }
    Ok(text)
}

/// Role, pod and namespace of every workload of the configuration.
fn proxies(text: &str) -> Result<Vec<(String, String, String)>> {
    let mut found = Vec::new();
    for document in text
        .split("\n---\n")
        .filter(|document| document.contains("kind: LocalWorkload"))
    {
        let object: Value = serde_saphyr::from_str(document)?;
        let role = if object["spec"]["role"] == "gateway" {
            "router"
        } else {
            "sidecar"
        };
        let name = object["metadata"]["name"].as_str().context("name")?;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        found.push((role.to_owned(), name.to_owned(), namespace.to_owned()));
    }
    Ok(found)
}

/// One Envoy takes all that its proxy is served.
async fn load(
    role: &str,
    pod: &str,
    namespace: &str,
    xds: SocketAddr,
    sds: SocketAddr,
    monitoring: SocketAddr,
    dir: &Path,
) -> Result<()> {
    std::fs::create_dir(dir)?;
    let admin = ports::free()?;
    let id = format!("{role}~127.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local");
    let path = dir.join("bootstrap.json");
    std::fs::write(&path, bootstrap(&id, xds, sds, admin).to_string())?;
    let process = envoy::start(&path, dir)?;
    let wanted = page(monitoring, &format!("/debug/config_dump?proxyID={pod}.{namespace}")).await?;
    let wanted = names_of_pilot(&wanted["resources"]);
    let deadline = Instant::now() + LIMIT;
    loop {
        let stats = get(admin, "/stats?filter=(update_rejected|create_failure)", "localhost").await;
        let dump = get(admin, "/config_dump?include_eds", "localhost").await;
        if let (Ok(stats), Ok(dump)) = (stats, dump) {
            let stats = String::from_utf8_lossy(&stats.body).into_owned();
            let bad: Vec<&str> = stats.lines().filter(|line| !line.ends_with(": 0")).collect();
            ensure!(bad.is_empty(), "Envoy rejects something: {bad:?}\n{}", process.log());
            let found = names_of_envoy(&serde_json::from_slice(&dump.body)?);
            if wanted.is_subset(&found) {
                break;
            }
            if Instant::now() > deadline {
                let missing: Vec<_> = wanted.difference(&found).collect();
                bail!("Envoy does not have {missing:?}\n{}", process.log());
            }
        }
        ensure!(Instant::now() < deadline, "Envoy does not answer:\n{}", process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process.stop(STOP_LIMIT).await
}

/// ADS from pilot, and the workload's identity from `sds`.
fn bootstrap(id: &str, xds: SocketAddr, sds: SocketAddr, admin: SocketAddr) -> Value {
    let address = |at: SocketAddr| json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    let grpc = |name: &str, at: SocketAddr| {
        json!({
            "name": name, "type": "STATIC", "connect_timeout": "1s", "http2_protocol_options": {},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(at)}}]}]},
        })
    };
    json!({
        "node": {"id": id, "cluster": "test"},
        "admin": {"address": address(admin)},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [grpc("xds-grpc", xds), grpc("sds-grpc", sds)]},
    })
}

/// A page of pilot as JSON.
async fn page(monitoring: SocketAddr, target: &str) -> Result<Value> {
    let answer = get(monitoring, target, "localhost").await?;
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status() == 200, "{target}: {}: {body}", answer.start);
    serde_json::from_str(&body).with_context(|| format!("{target} is not JSON: {body}"))
}

/// Type and name of everything.
type Names = BTreeSet<(String, String)>;

fn names_of_pilot(resources: &Value) -> Names {
    let mut names = Names::new();
    for kind in ["cds", "eds", "lds", "rds"] {
        for entry in resources[kind].as_array().into_iter().flatten() {
            names.extend(entry["name"].as_str().map(|name| (kind.to_owned(), name.to_owned())));
        }
    }
    names
}

/// Names in the config dump; of listeners those that wait for secrets too, but not broken ones.
fn names_of_envoy(dump: &Value) -> Names {
    let mut names = Names::new();
    let sections = dump["configs"].as_array().into_iter().flatten();
    for section in sections {
        for (list, kind, path) in [
            ("dynamic_active_clusters", "cds", "/cluster/name"),
            ("dynamic_warming_clusters", "cds", "/cluster/name"),
            ("dynamic_listeners", "lds", "/name"),
            ("dynamic_route_configs", "rds", "/route_config/name"),
            ("dynamic_endpoint_configs", "eds", "/endpoint_config/cluster_name"),
        ] {
            let entries = section[list].as_array().into_iter().flatten();
            for entry in entries.filter(|entry| entry["error_state"].is_null()) {
                let name = entry.pointer(path).and_then(Value::as_str);
                names.extend(name.map(|name| (kind.to_owned(), name.to_owned())));
            }
        }
    }
    names
}
