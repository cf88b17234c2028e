//! The end of a pod: whom its sidecar waits for. That of a Job ends by itself once discovery says that the pod's other containers have
//! ended; one whose workload has callers sends them away, and serves them until they can know.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::{TcpListener, TcpSocket};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::drain::{ask, get as answered_last, serve_on};
use crate::support::client::Http1;
use crate::support::mesh::get;
use crate::support::ports::free;
use crate::support::process::{Process, built};

const READY_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(20);

/// Two Jobs, as the API server tells of their pods; the state of the application's container of each.
fn pods(first: &str, second: &str) -> String {
    let pod = |name: &str, state: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}-0\n  uid: uid-of-{name}\n  \
             annotations: {{sidecar.istio.io/interceptionMode: NONE}}\nspec:\n  restartPolicy: OnFailure\n  \
             serviceAccountName: {name}\n  containers: [{{name: istio-proxy, args: [sidecar]}}, {{name: app}}]\n\
             status:\n  phase: Running\n  podIP: 127.0.0.1\n  containerStatuses:\n  \
             - {{name: istio-proxy, state: {{running: {{}}}}}}\n  - {{name: app, state: {{{state}}}}}\n---\n"
        )
    };
    pod("first", first) + &pod("second", second)
}

/// A workload that a Service names; its application is at 127.0.0.1.
fn called(app: u16, mesh: SocketAddr) -> String {
    format!(
        "apiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\nmetadata: {{name: called-0, labels: {{app: called}}}}\n\
         spec:\n  serviceAccount: called\n  address: {}\n  ready: true\n  \
         ports: [{{name: http, appPort: {}, meshPort: {}}}]\n---\napiVersion: v1\nkind: Service\n\
         metadata: {{name: called}}\nspec:\n  selector: {{app: called}}\n  ports: [{{name: http, port: 80}}]\n",
        mesh.ip(),
        app,
        mesh.port()
    )
}

async fn is_ready(readiness: SocketAddr) -> bool {
    let answer = get(readiness, "/healthz/ready", "localhost").await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

struct Sidecar {
    process: Process,
    status: SocketAddr,
    readiness: SocketAddr,
}

/// The parts of a mesh that are started one by one.
struct Parts<'a> {
    dir: &'a Path,
    authority: String,
    discovery: String,
}

impl Parts<'_> {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn configure(&self, text: &str) -> Result<()> {
        std::fs::write(self.path("mesh.yaml.new"), text)?;
        Ok(std::fs::rename(
            self.path("mesh.yaml.new"),
            self.path("config/mesh.yaml"),
        )?)
    }

    /// Writes the join token of an account.
    async fn token(&self, namespace: &str, account: &str) -> Result<String> {
        let mut command = Command::new(built("weft-citadel")?);
        command.args(["token", "--state-dir", &self.path("ca"), "--namespace", namespace]);
        let output = command.args(["--service-account", account]).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = self.path(account);
        std::fs::write(&file, output.stdout)?;
        Ok(file)
    }

    /// Flags of a program that shows who it is.
    fn identity(&self, token: &str) -> Vec<String> {
        let root = self.path("ca/root-cert.pem");
        [
            "--ca-address",
            &self.authority,
            "--ca-root-cert",
            &root,
            "--token-file",
            token,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    async fn control(&self) -> Result<[Process; 2]> {
        let mut command = Command::new(built("weft-citadel")?);
        command.args(["serve", "--state-dir", &self.path("ca"), "--listen", &self.authority]);
        command.args(["--monitoring-listen", &free()?.to_string()]);
        let mut citadel = Process::start("citadel", &mut command, self.dir)?;
        let root = self.dir.join("ca/root-cert.pem");
        let made = || async { root.is_file() };
        citadel.wait_until("root certificate", READY_LIMIT, made).await?;
        let token = self.token("weft-system", "weft-pilot").await?;
        let mut command = Command::new(built("weft-pilot")?);
        command.args([
            "serve",
            "--config",
            &self.path("config"),
            "--xds-tls-listen",
            &self.discovery,
        ]);
        command.args([
            "--xds-listen",
            &free()?.to_string(),
            "--monitoring-listen",
            &free()?.to_string(),
        ]);
        command.args(self.identity(&token));
        Ok([citadel, Process::start("pilot", &mut command, self.dir)?])
    }

    /// A sidecar that gives callers more time than a test may take.
    async fn sidecar(&self, name: &str) -> Result<Sidecar> {
        let token = self.token("default", name).await?;
        let (status, readiness) = (free()?, free()?);
        let mut command = Command::new(built("weft-proxy")?);
        command.args(["sidecar", "--service-account", name, "--name", &format!("{name}-0")]);
        command.args([
            "--pod-uid",
            &format!("uid-of-{name}"),
            "--discovery-address",
            &self.discovery,
        ]);
        command.args([
            "--admin-listen",
            &free()?.to_string(),
            "--status-listen",
            &status.to_string(),
        ]);
        command.args(["--readiness-listen", &readiness.to_string(), "--drain-time", "1s"]);
        command.args(["--minimum-drain-time", "300s"]);
        command.args(self.identity(&token));
        let mut process = Process::start(name, &mut command, self.dir)?;
        let ready = || async { is_ready(readiness).await };
        process.wait_until("readiness", READY_LIMIT, ready).await?;
        Ok(Sidecar {
            process,
            status,
            readiness,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_ends_with_the_application_of_its_own_pod() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::create_dir(dir.path().join("config"))?;
    let parts = Parts {
        dir: dir.path(),
        authority: free()?.to_string(),
        discovery: free()?.to_string(),
    };
    parts.configure(&pods("running: {}", "running: {}"))?;
    let [citadel, pilot] = parts.control().await?;
    let first = parts.sidecar("first").await?.process;
    let second = parts.sidecar("second").await?.process;

    // One has ended, the other is started again: only the first proxy ends, without an error, and at once: nobody calls it.
    parts.configure(&pods("terminated: {exitCode: 0}", "terminated: {exitCode: 1}"))?;
    first.wait(END_LIMIT).await?;

    // That the second was still there is seen by what ends it.
    parts.configure(&pods("terminated: {exitCode: 0}", "running: {}"))?;
    let log = second.log();
    ensure!(!log.contains("draining"), "the other pod's proxy ended too:\n{log}");
    parts.configure(&pods("terminated: {exitCode: 0}", "terminated: {exitCode: 0}"))?;
    second.wait(END_LIMIT).await?;
    pilot.stop(END_LIMIT).await?;
    citadel.stop(END_LIMIT).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_are_sent_away_from_the_begin_of_an_end_and_served_until_they_can_know() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::create_dir(dir.path().join("config"))?;
    let parts = Parts {
        dir: dir.path(),
        authority: free()?.to_string(),
        discovery: free()?.to_string(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (app, mesh) = (listener.local_addr()?, free()?);
    parts.configure(&called(app.port(), mesh))?;
    let mut application = JoinSet::new();
    serve_on(listener, &mut application);
    let [citadel, pilot] = parts.control().await?;
    let Sidecar {
        mut process,
        status,
        readiness,
    } = parts.sidecar("called").await?;
    let mut kept = Http1::connect(mesh).await?;
    ensure!(
        !answered_last(&mut kept, "/").await?,
        "a connection is closed before the end"
    );

    // The pod is deleted: its hook runs, and the application is still there.
    let mut hook = Command::new(built("weft-proxy")?);
    hook.args(["drain", "--address", &status.to_string()]);
    let hooked = hook.output().await?;
    ensure!(hooked.status.success(), "{}", String::from_utf8_lossy(&hooked.stderr));
    ensure!(is_ready(readiness).await, "it is still served");
    let mut new = Http1::connect(mesh).await?;
    for (name, client) in [("kept", &mut kept), ("new", &mut new)] {
        let last = answered_last(client, "/").await.context(name)?;
        ensure!(last, "the {name} connection is not closed");
    }

    // The application has gone, so the proxy is asked to end. Whoever still comes learns that nothing was delivered.
    application.shutdown().await;
    // Nobody else gets its port, and nobody listens there.
    let port = TcpSocket::new_v4()?;
    port.set_reuseaddr(true)?;
    port.bind(app)?;
    process.signal("TERM").await?;
    let drains = || async { !is_ready(readiness).await };
    process.wait_until("its drain", END_LIMIT, drains).await?;
    let answer = ask(&mut Http1::connect(mesh).await?, "/").await?;
    let said = ["x-weft-undelivered", "connection"].map(|name| answer.header(name));
    ensure!(
        answer.status() == 503 && said == [Some("true"), Some("close")],
        "{} {said:?}",
        answer.start
    );

    process.stop(END_LIMIT).await?;
    ensure!(Http1::connect(mesh).await.is_err(), "the listener is still there");
    pilot.stop(END_LIMIT).await?;
    citadel.stop(END_LIMIT).await
}
