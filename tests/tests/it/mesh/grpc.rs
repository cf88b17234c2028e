//! gRPC clients that are their own data plane: Python's grpcio with `xds:///` resolves and calls services through pilot.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::EFFECT_LIMIT;
use super::sidecar::program;
use crate::support::envoy;
use crate::support::mesh::Mesh;

/// A running client and its bootstrap.
struct Client {
    _dir: TempDir,
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// How many answers came from whom; errors by their text.
type Seen = BTreeMap<String, u32>;

// === impl Client ===

impl Client {
    fn start(mesh: &Mesh, target: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": mesh.address("xds")?.to_string(),
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }],
            "node": {
                "id": "sidecar~127.0.0.1~tester-0.default~default.svc.cluster.local",
                "metadata": {"GENERATOR": "grpc", "NAMESPACE": "default", "LABELS": {"app": "tester"}},
            },
        });
        let path = dir.path().join("bootstrap.json");
        std::fs::write(&path, bootstrap.to_string())?;
        let mut child = Command::new(envoy::venv()?.join("bin/python"))
            .args([program("grpc_client.py").as_str(), target, "plain"])
            .env("GRPC_XDS_BOOTSTRAP", &path)
            .env_remove("http_proxy")
            .env_remove("grpc_proxy")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.path().join("client.log"))?)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            input: child.stdin.take().context("stdin")?,
            output: BufReader::new(child.stdout.take().context("stdout")?).lines(),
            _dir: dir,
            _child: child,
        })
    }

    async fn call(&mut self, count: u32, user: &str) -> Result<Seen> {
        self.input.write_all(format!("{count} {user}\n").as_bytes()).await?;
        let line = timeout(EFFECT_LIMIT, self.output.next_line())
            .await
            .context("no answer of the client")??;
        let line = line.with_context(|| {
            let log = std::fs::read_to_string(self._dir.path().join("client.log"));
            format!("the client ended: {}", log.unwrap_or_default())
        })?;
        Ok(serde_json::from_str(&line)?)
    }
}

fn workloads() -> Result<String> {
    let python = envoy::venv()?.join("bin/python");
    let workload = |version: &str| {
        format!(
            "  - name: echo-{version}\n    serviceAccount: echo\n    labels: {{app: echo, version: {version}}}\n    \
             ports: [{{name: grpc, port: 0}}]\n    command: [{}, {}, $(PORT_GRPC), {version}]\n    \
             readiness: {{tcpSocket: {{port: grpc}}}}\n",
            python.display(),
            program("grpc_server.py"),
        )
    };
    Ok([workload("v1"), workload("v2")].concat())
}

fn config(v1: u32, v2: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: echo, namespace: default}}\nspec:\n  \
         selector: {{app: echo}}\n  \
         ports: [{{name: grpc, port: 7070, targetPort: grpc}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: echo, namespace: default}}\n\
         spec:\n  host: echo\n  \
         subsets:\n  - {{name: v1, labels: {{version: v1}}}}\n  - {{name: v2, labels: {{version: v2}}}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: echo, namespace: default}}\n\
         spec:\n  hosts: [echo]\n  http:\n  \
         - match: [{{headers: {{x-user: {{exact: tester}}}}, sourceLabels: {{app: tester}}}}]\n    \
         route: [{{destination: {{host: echo, subset: v2}}}}]\n  \
         - match: [{{sourceLabels: {{app: other}}}}]\n    route: [{{destination: {{host: nowhere}}}}]\n  \
         - route:\n    - {{destination: {{host: echo, subset: v1}}, weight: {v1}}}\n    \
         - {{destination: {{host: echo, subset: v2}}, weight: {v2}}}\n    \
         timeout: 5s\n    retries: {{attempts: 2, retryOn: 'unavailable,cancelled'}}\n    \
         headers: {{request: {{set: {{x-a: b}}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_client_resolves_splits_and_follows_changes() -> Result<()> {
    let mesh = Mesh::start(&workloads()?, &config(80, 20)).await?;
    let mut client = Client::start(&mesh, "xds:///echo.default.svc.cluster.local:7070")?;
    let seen = client.call(300, "").await.with_context(|| mesh.log())?;
    let of = |seen: &Seen, version: &str| seen.get(version).copied().unwrap_or(0);
    ensure!(
        of(&seen, "v1") + of(&seen, "v2") == 300,
        "calls failed: {seen:?}\n{}",
        mesh.log()
    );
    ensure!((205..=275).contains(&of(&seen, "v1")), "not 80 of 100: {seen:?}");
    // A header decides before the weights do.
    let seen = client.call(20, "tester").await?;
    ensure!(of(&seen, "v2") == 20, "{seen:?}");
    // A short name of the client's own namespace is a target too.
    let mut short = Client::start(&mesh, "xds:///echo:7070")?;
    let seen = short.call(5, "").await?;
    ensure!(of(&seen, "v1") + of(&seen, "v2") == 5, "{seen:?}");

    mesh.configure(&config(0, 100))?;
    let deadline = Instant::now() + EFFECT_LIMIT;
    loop {
        let seen = client.call(20, "").await?;
        ensure!(of(&seen, "v1") + of(&seen, "v2") == 20, "calls failed: {seen:?}");
        if of(&seen, "v2") == 20 {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "the split did not change: {seen:?}\n{}",
            mesh.log()
        );
    }

    // Everything was accepted, and the metrics say so.
    let metrics = mesh.pilot("/metrics").await?;
    for line in ["pilot_total_xds_rejects 0", "pilot_services 1", "pilot_virt_services 1"] {
        ensure!(
            metrics.lines().any(|found| found == line),
            "{line} is not in:\n{metrics}"
        );
    }
    for start in [
        "pilot_xds_pushes{type=\"lds\"} ",
        "pilot_push_triggers{type=\"config\"} ",
        "pilot_proxy_convergence_time_count ",
        "pilot_info{version=",
    ] {
        ensure!(
            metrics.lines().any(|found| found.starts_with(start)),
            "{start} is not in:\n{metrics}"
        );
    }
    mesh.stop().await
}
