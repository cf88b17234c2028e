//! `meshctl dashboard`: the page of telemetry, or a proxy's admin pages, under an address of this machine.

use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::ControlPlane;
use crate::exit::Exit;
use crate::mesh_target::{Target, TargetArguments};
use crate::output;
use crate::pod_port::{PodConnection, PodPort};
use crate::proxy_config::admin_of_replica;

/// Most connections that are carried into a cluster at a time; a browser makes about six.
const CONNECTIONS_MAX: usize = 64;

/// Which page to open.
#[derive(Args, Clone, Debug)]
pub(crate) struct DashboardArguments {
    /// A workload or pod whose proxy's admin pages to open; otherwise the page of telemetry.
    pub(crate) workload: Option<String>,
    /// Namespace of the workload, instead of one after a dot.
    #[arg(short, long, value_name = "NAME", requires = "workload")]
    pub(crate) namespace: Option<String>,
    /// Port on this machine that leads into a cluster; 0 takes a free one.
    #[arg(short, long, value_name = "PORT", default_value = "20001")]
    pub(crate) port: u16,
    /// Only print the address.
    #[arg(long)]
    pub(crate) no_browser: bool,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

/// Prints the address and opens it. That of a cluster works until the verb is ended.
pub(crate) async fn run(arguments: &DashboardArguments) -> anyhow::Result<Exit> {
    let namespace = arguments.namespace.as_deref();
    match (arguments.target.find().await?, &arguments.workload) {
        (Target::Machine(record), None) => show(arguments, &record.addresses.telemetry)?,
        (Target::Machine(record), Some(workload)) => {
            show(arguments, &admin_of_replica(&record, workload, namespace)?)?;
        }
        (Target::Cluster(plane), workload) => {
            let page = Page {
                plane,
                proxy: workload.clone(),
                namespace: arguments.namespace.clone(),
            };
            // What cannot be reached at all is said before there is an address.
            let pod = page.find().await?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await;
            let listener = listener.with_context(|| {
                format!(
                    "port {} of this machine is not free; give another by --port, or 0",
                    arguments.port
                )
            })?;
            show(arguments, &listener.local_addr()?.to_string())?;
            output::say(&format!("forwarding to {pod} until Ctrl-C"));
            tokio::select! {
                result = forward(&listener, &page, pod) => result?,
                result = tokio::signal::ctrl_c() => result.context("cannot wait for Ctrl-C")?,
            }
        }
    }
    Ok(Exit::Ok)
}

/// The page of a cluster.
struct Page {
    plane: ControlPlane,
    /// The proxy whose admin pages are meant, if any.
    proxy: Option<String>,
    namespace: Option<String>,
}

// === impl Page ===

impl Page {
    async fn find(&self) -> anyhow::Result<PodPort> {
        match &self.proxy {
            Some(name) => self.plane.admin(name, self.namespace.as_deref()).await,
            None => self.plane.telemetry().await,
        }
    }

    /// A connection to the pod, or to the one that has taken its place.
    async fn connect(&self, pod: &PodPort) -> anyhow::Result<PodConnection> {
        match pod.connect().await {
            Ok(connection) => Ok(connection),
            Err(_) => self.find().await?.connect().await,
        }
    }
}

/// Carries every connection into the cluster, none of which ends the others.
async fn forward(listener: &TcpListener, page: &Page, pod: PodPort) -> anyhow::Result<()> {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if running.len() < CONNECTIONS_MAX => {
                let (stream, _) = accepted.context("cannot accept connections")?;
                running.push(carry(stream, page, &pod));
            }
            Some(result) = running.next() => {
                if let Err(error) = result {
                    output::say(&format!("{error:#}"));
                }
            }
        }
    }
}

async fn carry(mut stream: TcpStream, page: &Page, pod: &PodPort) -> anyhow::Result<()> {
    let PodConnection {
        stream: mut inner,
        refusal,
        _guard,
    } = page.connect(pod).await?;
    tokio::select! {
        // Browsers drop connections as they like.
        _ = copy_bidirectional(&mut stream, &mut inner) => Ok(()),
        Some(text) = refusal => Err(anyhow::anyhow!("{pod}: {text}")),
    }
}

fn show(arguments: &DashboardArguments, address: &str) -> anyhow::Result<()> {
    let url = format!("http://{address}/");
    output::write(&format!("{url}\n"))?;
    if !arguments.no_browser && can_show() {
        open(&url);
    }
    Ok(())
}

/// Whether a person sits before a desktop.
fn can_show() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && (cfg!(target_os = "macos") || set("DISPLAY") || set("WAYLAND_DISPLAY"))
}

fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        output::say(&format!("cannot start {program} ({error}); open the address yourself"));
    }
}
