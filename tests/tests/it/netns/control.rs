//! The control plane of a mesh of namespaces, outside of the pods, and the sidecars that it serves.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::process::Command;

use super::space::{Network, PROXY, Pod};
use crate::support;
use crate::support::process::{Process, built};

const DISCOVERY: &str = "10.77.0.254:15012";
const AUTHORITY: &str = "10.77.0.254:15013";
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Which proxy stands beside an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataPlane {
    Weft,
    Envoy,
}

/// Citadel and pilot.
#[derive(Debug)]
pub(super) struct Control {
    dir: PathBuf,
    processes: Vec<Process>,
}

// === impl Control ===

impl Control {
    /// Starts both; the configuration is in `config/mesh.yaml`.
    pub(super) async fn start(network: &Network, config: &str) -> Result<Self> {
        let dir = network.dir.path().to_owned();
        std::fs::create_dir(dir.join("config"))?;
        let mut control = Self {
            dir,
            processes: Vec::new(),
        };
        control.configure(config)?;
        let outside = network.outside();
        let state = control.path("ca");
        let citadel = built("weft-citadel")?;
        let arguments = [
            "serve",
            "--state-dir",
            &state,
            "--listen",
            AUTHORITY,
            "--monitoring-listen",
            "127.0.0.1:15114",
        ];
        let mut process = outside.start("citadel", None, &citadel, &arguments)?;
        let root = control.dir.join("ca/root-cert.pem");
        process
            .wait_until("root certificate", READY_LIMIT, || async { root.is_file() })
            .await?;
        control.processes.push(process);
        control.token("weft-system", "weft-pilot").await?;
        let arguments = [
            ["serve", "--config"].map(str::to_owned).to_vec(),
            vec![control.path("config")],
            flags(&[
                ("--xds-tls-listen", DISCOVERY.to_owned()),
                ("--ca-address", AUTHORITY.to_owned()),
                ("--ca-root-cert", control.path("ca/root-cert.pem")),
                ("--token-file", control.path("weft-system.weft-pilot")),
                ("--access-log-file", "/dev/stdout".to_owned()),
            ]),
        ]
        .concat();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        control
            .processes
            .push(outside.start("pilot", None, &built("weft-pilot")?, &arguments)?);
        Ok(control)
    }

    /// Replaces the configuration at once.
    pub(super) fn configure(&self, config: &str) -> Result<()> {
        let new = self.dir.join("mesh.yaml.new");
        std::fs::write(&new, config)?;
        Ok(std::fs::rename(new, self.dir.join("config/mesh.yaml"))?)
    }

    /// Starts the proxy of a pod and waits until it has its configuration.
    pub(super) async fn sidecar(&self, pod: &Pod, name: &str, kind: DataPlane) -> Result<Vec<Process>> {
        self.token("default", name).await?;
        let mut processes = match kind {
            DataPlane::Weft => vec![self.weft(pod, name)?],
            DataPlane::Envoy => self.envoy(pod, name).await?,
        };
        let process = processes.last_mut().context("a proxy")?;
        let client = pod.clone();
        let url = match kind {
            DataPlane::Weft => "http://127.0.0.1:15021/healthz/ready",
            DataPlane::Envoy => "http://127.0.0.1:15000/listeners",
        };
        let ready = || async {
            let answer = client.client(None, &["get", url]).await.unwrap_or_default();
            match kind {
                DataPlane::Weft => answer.starts_with("200"),
                DataPlane::Envoy => answer.contains("virtualInbound"),
            }
        };
        process.wait_until("readiness", READY_LIMIT, ready).await?;
        Ok(processes)
    }

    fn weft(&self, pod: &Pod, name: &str) -> Result<Process> {
        let mut arguments = vec!["sidecar".to_owned()];
        arguments.extend(self.identity(name));
        arguments.extend(flags(&[
            ("--discovery-address", DISCOVERY.to_owned()),
            ("--name", format!("{name}-0")),
            ("--workload-name", name.to_owned()),
            ("--labels", format!("app={name}")),
            ("--ip", pod.v4()),
            ("--status-listen", "[::]:15020".to_owned()),
            ("--readiness-listen", "[::]:15021".to_owned()),
            ("--app-probers", probes().to_string()),
            ("--dns-listen", "127.0.0.1:15053,[::1]:15053".to_owned()),
            ("--drain-time", "1s".to_owned()),
            ("--minimum-drain-time", "0s".to_owned()),
        ]));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        pod.start(
            &format!("{name}-sidecar"),
            Some(PROXY),
            &built("weft-proxy")?,
            &arguments,
        )
    }

    async fn envoy(&self, pod: &Pod, name: &str) -> Result<Vec<Process>> {
        let socket = self.path(&format!("{name}.sock"));
        let mut arguments = vec!["sds-agent".to_owned(), "--socket".to_owned(), socket.clone()];
        arguments.extend(self.identity(name));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let agent = format!("{name}-agent");
        let mut agent = pod.start(&agent, Some(PROXY), &built("weft-proxy")?, &arguments)?;
        let there = PathBuf::from(&socket);
        agent
            .wait_until("socket", READY_LIMIT, || async { there.exists() })
            .await?;
        let file = self.path(&format!("{name}.json"));
        std::fs::write(&file, bootstrap(pod, name, &socket).to_string())?;
        let program = support::envoy::program()?;
        let arguments = [
            "-c",
            &file,
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
        ];
        let envoy = pod.start(&format!("{name}-sidecar"), Some(PROXY), &program, &arguments)?;
        Ok(vec![agent, envoy])
    }

    fn identity(&self, name: &str) -> Vec<String> {
        flags(&[
            ("--ca-address", AUTHORITY.to_owned()),
            ("--ca-root-cert", self.path("ca/root-cert.pem")),
            ("--token-file", self.path(&format!("default.{name}"))),
            ("--service-account", name.to_owned()),
        ])
    }

    /// Writes the join token of an account.
    async fn token(&self, namespace: &str, account: &str) -> Result<()> {
        let arguments = flags(&[
            ("--state-dir", self.path("ca")),
            ("--namespace", namespace.to_owned()),
            ("--service-account", account.to_owned()),
        ]);
        let output = Command::new(built("weft-citadel")?)
            .arg("token")
            .args(arguments)
            .output()
            .await?;
        anyhow::ensure!(
            output.status.success(),
            "token: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(std::fs::write(
            self.dir.join(format!("{namespace}.{account}")),
            output.stdout,
        )?)
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

fn flags(pairs: &[(&str, String)]) -> Vec<String> {
    pairs
        .iter()
        .flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()])
        .collect()
}

/// Probes as injection gives them to the sidecar: two that the application answers, and two to a port where nothing listens.
fn probes() -> Value {
    json!({
        "/app-health/web/readyz": {"httpGet": {"path": "/", "port": 8080}},
        "/app-health/web/livez": {"tcpSocket": {"port": 8080}},
        "/app-health/dead/readyz": {"httpGet": {"path": "/", "port": 9998}},
        "/app-health/dead/livez": {"tcpSocket": {"port": 9998}},
    })
}

/// The bootstrap of an Envoy beside an application, as injection would make it.
fn bootstrap(pod: &Pod, name: &str, socket: &str) -> Value {
    let address = |host: &str, port: u16| json!({"socket_address": {"address": host, "port_value": port}});
    let (host, port) = DISCOVERY.split_once(':').unwrap_or_default();
    let http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let cluster = |name: &str, address: Value| {
        json!({"name": name, "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
            "typed_extension_protocol_options": {(http2): {"@type": format!("type.googleapis.com/{http2}"),
                "explicit_http_config": {"http2_protocol_options": {}}}}})
    };
    let secret = |name: &str| {
        json!({"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": {"api_type": "GRPC",
            "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}]}}})
    };
    let mut xds = cluster("xds-grpc", address(host, port.parse().unwrap_or(0)));
    xds["transport_socket"] = json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"alpn_protocols": ["h2"], "tls_certificate_sds_secret_configs": [secret("default")],
            "validation_context_sds_secret_config": secret("ROOTCA")}}});
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    json!({
        "node": {"id": format!("sidecar~{}~{name}-0.default~default.svc.cluster.local", pod.v4()), "cluster": format!("{name}.default"),
            "metadata": {"NAME": format!("{name}-0"), "NAMESPACE": "default", "SERVICE_ACCOUNT": name, "ISTIO_VERSION": "1.0",
                "LABELS": {"app": name}}},
        "admin": {"address": address("127.0.0.1", 15000)},
        "dynamic_resources": {"lds_config": ads, "cds_config": ads, "ads_config": {"api_type": "DELTA_GRPC",
            "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}},
        "static_resources": {"clusters": [xds, cluster("sds-grpc", json!({"pipe": {"path": socket}}))]},
    })
}
