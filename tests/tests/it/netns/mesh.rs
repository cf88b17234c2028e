//! A mesh of unchanged applications: what they dial goes through their sidecars, encrypted, and what does not is refused.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::control::{Control, DataPlane};
use super::space::{Network, Pod};
use crate::support::process::{Process, built};

/// A change of configuration takes effect well within this time.
const EFFECT_LIMIT: Duration = Duration::from_secs(20);

/// Who the server sees.
const CALLER: &str = "spiffe://cluster.local/ns/default/sa/client";

fn service(name: &str, vip: &str, app: &str, ports: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  \
         clusterIP: {vip}\n  selector: {{app: {app}}}\n  ports: [{ports}]\n"
    )
}

fn slice(service: &str, app: &str, pod: &Pod, ports: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {service}-x, namespace: default, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: IPv4\nports: [{ports}]\nendpoints:\n\
         - {{addresses: [{}], conditions: {{ready: true}}, targetRef: {{kind: Pod, name: {app}-0, namespace: \
         default}}}}\n",
        pod.v4()
    )
}

/// A ServiceEntry that leads outside.
fn entry(name: &str, host: &str, more: &str, port: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{hosts: [\"{host}\"], {more}location: MESH_EXTERNAL, resolution: STATIC, ports: [{port}], endpoints: \
         [{{address: 10.77.0.254}}]}}\n"
    )
}

fn pod(app: &str, pod: &Pod) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {app}-0, namespace: default, labels: {{app: {app}}}}}\n\
         spec:\n  nodeName: n1\n  serviceAccountName: {app}\n  \
         containers:\n  - {{name: app, image: x, ports: [{{name: web, containerPort: 8080}}]}}\n  \
         - {{name: istio-proxy, image: y, args: [sidecar]}}\n\
         status:\n  phase: Running\n  podIP: {v4}\n  podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]\n  \
         conditions: [{{type: Ready, status: \"True\"}}]\n",
        v4 = pod.v4(),
        v6 = pod.v6(),
    )
}

/// The objects of the mesh.
fn config(client: &Pod, server: &Pod) -> String {
    let all = [
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {name: default, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n"
            .to_owned(),
        pod("client", client),
        pod("server", server),
        service(
            "web",
            "10.96.0.10",
            "server",
            "{name: http, port: 80, targetPort: 8080}",
        ),
        slice("web", "server", server, "{name: http, port: 8080, protocol: TCP}"),
        service(
            "bytes",
            "10.96.0.11",
            "server",
            "{name: tcp-greet, port: 9000}, {name: echo, port: 9001}, {name: greet, port: 9002}",
        ),
        slice(
            "bytes",
            "server",
            server,
            "{name: tcp-greet, port: 9000, protocol: TCP}, {name: echo, port: 9001, protocol: TCP}, {name: greet, \
             port: 9002, protocol: TCP}",
        ),
        service(
            "own",
            "10.96.0.12",
            "client",
            "{name: http, port: 80, targetPort: 8080}",
        ),
        slice("own", "client", client, "{name: http, port: 8080, protocol: TCP}"),
        service("pods", "None", "server", "{name: tcp-greet, port: 9000}"),
        slice("pods", "server", server, "{name: tcp-greet, port: 9000, protocol: TCP}"),
        entry(
            "shop",
            "shop.example.com",
            "",
            "{number: 7000, name: tcp, protocol: TCP}",
        ),
        entry(
            "wild",
            "*.wild.example.com",
            "addresses: [10.99.0.9], ",
            "{number: 80, name: http, protocol: HTTP}",
        ),
    ];
    all.concat()
}

/// Pods with their applications and sidecars.
struct Stage {
    client: Pod,
    server: Pod,
    legacy: Pod,
    control: Control,
    applications: Vec<Process>,
    client_sidecar: Vec<Process>,
    server_sidecar: Vec<Process>,
    network: Network,
}

impl Stage {
    async fn new(server_plane: DataPlane) -> Result<Option<Self>> {
        let Some(mut network) = Network::new()? else {
            return Ok(None);
        };
        let (client, server, legacy) = (network.pod()?, network.pod()?, network.pod()?);
        let outside = network.outside();
        let control = Control::start(&network, &config(&client, &server)).await?;
        for pod in [&client, &server] {
            pod.resolv_conf("search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.77.0.254\noptions ndots:5\n")?;
            pod.run(None, &built("weft-proxy")?, &["init", "--redirect-dns"])
                .await?;
        }
        let applications = vec![
            client.serve(None, &["http=client=8080"]).await?,
            server
                .serve(
                    None,
                    &[
                        "http=server=8080",
                        "greet=server=9000",
                        "echo=server=9001",
                        "greet=server=9002",
                    ],
                )
                .await?,
            outside
                .serve(
                    None,
                    &[
                        "http=outside=80",
                        "http=outside=8088",
                        "greet=outside=7000",
                        "greet=outside=7001",
                        "dns=dns=53",
                    ],
                )
                .await?,
        ];
        let client_sidecar = control.sidecar(&client, "client", DataPlane::Weft).await?;
        let server_sidecar = control.sidecar(&server, "server", server_plane).await?;
        Ok(Some(Self {
            client,
            server,
            legacy,
            control,
            applications,
            client_sidecar,
            server_sidecar,
            network,
        }))
    }

    /// What an application in a pod gets.
    async fn check(&self, pod: &Pod, arguments: &[&str], expected: &str) -> Result<()> {
        let got = pod.client(None, arguments).await?;
        ensure!(
            got == expected,
            "{arguments:?}: got {got:?}, not {expected:?}\n{}",
            self.logs()
        );
        Ok(())
    }

    /// Polls until an application gets something.
    async fn until(&self, pod: &Pod, arguments: &[&str], expected: &str) -> Result<()> {
        let deadline = Instant::now() + EFFECT_LIMIT;
        loop {
            let got = pod.client(None, arguments).await?;
            if got == expected {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{arguments:?}: still {got:?}, not {expected:?}\n{}",
                self.logs()
            );
        }
    }

    fn logs(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.network.dir.path().join(name)).unwrap_or_default();
        ["client-sidecar.log", "server-sidecar.log", "pilot.log"]
            .map(|name| format!("--- {name}\n{}", read(name)))
            .concat()
    }

    /// Calls within the mesh.
    async fn mesh_calls(&self) -> Result<()> {
        let (client, served) = (&self.client, format!("200 server for {CALLER}"));
        self.until(client, &["get", "http://10.96.0.10/"], &served).await?;
        self.check(client, &["get", "http://10.96.0.10/", "web.default"], &served)
            .await?;
        // The server speaks first; nobody knows who speaks; the client does.
        self.check(client, &["dial", "10.96.0.11", "9000"], "server 10.77.0.2:9000")
            .await?;
        self.check(client, &["dial", "10.96.0.11", "9002"], "server 10.77.0.2:9002")
            .await?;
        self.check(client, &["talk", "10.96.0.11", "9001", "hello"], "hello")
            .await?;
        // A single pod of a headless service.
        self.check(client, &["dial", "10.77.0.2", "9000"], "server 10.77.0.2:9000")
            .await?;
        // The application's own service.
        let own = format!("200 client for {CALLER}");
        self.check(client, &["get", "http://10.96.0.12/"], &own).await
    }

    /// Names, as a resolver asks for them.
    async fn names(&self) -> Result<()> {
        let client = &self.client;
        self.until(client, &["resolve", "web"], "10.96.0.10").await?;
        self.check(client, &["resolve", "web.default.svc.cluster.local"], "10.96.0.10")
            .await?;
        self.check(client, &["get", "http://web/"], &format!("200 server for {CALLER}"))
            .await?;
        // All pods of a headless service; an address that the mesh gave; a wildcard.
        self.check(client, &["resolve", "pods.default"], "10.77.0.2").await?;
        let given = client.client(None, &["resolve", "shop.example.com"]).await?;
        ensure!(
            given.starts_with("2001:2::f0f0:") || given.starts_with("240.240."),
            "shop.example.com: {given}"
        );
        self.check(
            client,
            &["dial", "shop.example.com", "7000"],
            "outside 10.77.0.254:7000",
        )
        .await?;
        self.check(client, &["resolve", "any.wild.example.com"], "10.99.0.9")
            .await?;
        self.check(
            client,
            &["get", "http://any.wild.example.com/"],
            "200 outside for nobody",
        )
        .await?;
        // Names that are not the mesh's, over both protocols.
        self.check(client, &["resolve", "outside.test"], "192.0.2.7").await?;
        self.check(client, &["resolve", "nowhere.test"], "unknown").await?;
        self.check(client, &["query", "10.77.0.254", "outside.test"], "192.0.2.7")
            .await?;
        self.check(client, &["query", "10.77.0.254", "outside.test", "tcp"], "192.0.2.8")
            .await?;
        self.check(client, &["query", "10.77.0.254", "nowhere.test"], "code 3")
            .await?;
        self.check(
            client,
            &["query", "10.77.0.254", "web.default.svc.cluster.local", "tcp"],
            "10.96.0.10",
        )
        .await
    }

    /// Probes through the status port say what the application would: STRICT is no matter, and a dead port is dead.
    async fn probes(&self) -> Result<()> {
        for address in [self.server.v4(), format!("[{}]", self.server.v6())] {
            for (probe, expected) in [
                ("web/readyz", "200"),
                ("web/livez", "200"),
                ("dead/readyz", "500"),
                ("dead/livez", "500"),
            ] {
                let url = format!("http://{address}:15020/app-health/{probe}");
                let got = self.legacy.client(None, &["get", &url]).await?;
                ensure!(got.starts_with(expected), "{url}: {got}\n{}", self.logs());
            }
        }
        Ok(())
    }

    /// Plaintext from where there is no sidecar.
    async fn plaintext_is_refused(&self) -> Result<()> {
        for (address, port) in [
            (self.server.v4(), "9000"),
            (self.server.v6(), "9000"),
            (self.client.v4(), "9999"),
        ] {
            let got = self.legacy.client(None, &["dial", &address, port]).await?;
            ensure!(
                ["closed", "reset"].contains(&got.as_str()),
                "plaintext to {address}: {got}\n{}",
                self.logs()
            );
        }
        let url = format!("http://{}:8080/", self.server.v4());
        let got = self.legacy.client(None, &["get", &url]).await?;
        ensure!(!got.contains("server for"), "plaintext to {url}: {got}");
        Ok(())
    }

    /// What is no part of the mesh, with and without leave.
    async fn egress(&self) -> Result<()> {
        let client = &self.client;
        let port80 = ["get", "http://10.77.0.254/"];
        self.check(client, &port80, "200 outside for nobody").await?;
        self.check(client, &["get", "http://10.77.0.254:8088/"], "200 outside for nobody")
            .await?;
        self.check(client, &["dial", "10.77.0.254", "7001"], "outside 10.77.0.254:7001")
            .await?;
        let sidecar = "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: istio-system}\n\
                       spec:\n  egress: [{hosts: [\"*/*\"]}]\n  outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n";
        let config = config(&self.client, &self.server);
        self.control.configure(&format!("{config}{sidecar}"))?;
        self.until(client, &port80, "502").await?;
        self.until(client, &["dial", "10.77.0.254", "7001"], "closed").await?;
        self.check(client, &["dial", "10.96.0.11", "9000"], "server 10.77.0.2:9000")
            .await
    }

    /// Nothing goes around a proxy that is gone.
    async fn without_the_proxy(mut self) -> Result<()> {
        self.client_sidecar.clear();
        let client = self.client.clone();
        self.until(&client, &["dial", "10.96.0.11", "9000"], "refused").await?;
        self.check(&client, &["dial", "10.77.0.254", "7001"], "refused").await?;
        self.check(&client, &["dial", "10.77.0.2", "9000"], "refused").await?;
        let legacy = self.legacy.clone();
        self.check(&legacy, &["dial", &client.v4(), "8080"], "refused").await?;
        self.server_sidecar.clear();
        self.applications.clear();
        Ok(())
    }
}

#[tokio::test]
async fn unchanged_applications_call_each_other_when_captured() -> Result<()> {
    let Some(stage) = Stage::new(DataPlane::Weft).await? else {
        return Ok(());
    };
    stage.mesh_calls().await?;
    stage.names().await?;
    stage.plaintext_is_refused().await?;
    stage.probes().await?;
    stage.egress().await?;
    stage.without_the_proxy().await
}

#[tokio::test]
async fn a_captured_pod_may_have_envoy() -> Result<()> {
    let Some(stage) = Stage::new(DataPlane::Envoy).await? else {
        return Ok(());
    };
    stage.mesh_calls().await?;
    stage.plaintext_is_refused().await?;
    let rejected = stage
        .server
        .client(None, &["get", "http://127.0.0.1:15000/stats?filter=update_rejected"])
        .await?;
    let refused = rejected.lines().any(|line| !line.ends_with(": 0"));
    ensure!(
        rejected.contains("update_rejected: 0") && !refused,
        "{rejected}\n{}",
        stage.logs()
    );
    Ok(())
}
