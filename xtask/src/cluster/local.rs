//! The local cluster: a real Kubernetes in network, process and mount namespaces of its own on this machine.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::binaries;
use super::layout::{FIRST_NODE, Layout, MARK, Node};
use super::record::Record;
use super::steps::Steps;
use super::sweep::{self, Of};
use super::{base_images, certificates, cgroups, config, network, packages, parts, ready};
use crate::process;

/// How long the forwarder may take to listen.
const FORWARDER_LIMIT: Duration = Duration::from_secs(10);
/// How long containerd may take to answer.
const CONTAINERD_LIMIT: Duration = Duration::from_secs(30);

/// Whether a cluster can run here; if not, what is missing.
pub(crate) fn possible() -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "a local cluster is made of Linux namespaces");
    require_root()?;
    binaries::possible()
}

/// Starts the cluster, or says that it runs. What a crash left is removed first.
pub(crate) fn up(cluster: &Layout, nodes: u8) -> Result<()> {
    require_root()?;
    let _lock = lock(cluster)?;
    let steps = Steps::new("cluster");
    if is_up(cluster, nodes) {
        steps.say("already up");
        return Ok(());
    }
    if has_leftovers(cluster)? {
        steps.run("removing what is left of the last one", || remove(cluster))?;
    }
    packages::ensure(&steps)?;
    let programs = binaries::ensure(&steps)?;
    let mut record = Record {
        nodes,
        programs,
        complete: false,
    };
    // Written before anything is made: `down` then knows that there is something.
    record.write(cluster)?;
    if let Err(error) = make(cluster, &record, &steps) {
        // Its message has the end of the log that matters.
        return match remove(cluster) {
            Ok(()) => Err(error),
            Err(left) => Err(error.context(format!("and it cannot be removed, {left:#}"))),
        };
    }
    record.complete = true;
    record.write(cluster)?;
    steps.say(&format!(
        "{nodes} node{} ready after {:.1} s; export KUBECONFIG={}; kubectl is {}",
        if nodes == 1 { "" } else { "s" },
        steps.seconds(),
        cluster.kubeconfig().display(),
        record.programs.join("kubectl").display()
    ));
    Ok(())
}

fn make(cluster: &Layout, record: &Record, steps: &Steps) -> Result<()> {
    let nodes = record.nodes;
    steps.run("certificates", || certificates::write(cluster, nodes))?;
    steps.run("networks and cgroups", || {
        network::create(cluster, nodes)?;
        (FIRST_NODE..=nodes).try_for_each(|number| cgroups::create(&cluster.node(number)))
    })?;
    steps.run("starting nodes", || start_nodes(cluster, record))?;
    steps.run("a way in from this machine", || start_forwarder(cluster))?;
    steps.run("base images", || {
        let images = base_images::write(&cluster.images())?;
        load(cluster, nodes, &images)
    })?;
    let kubectl = Kubectl::new(cluster)?;
    steps.run("API server", || ready::api(cluster, &kubectl))?;
    steps.run("cluster DNS", || ready::dns_service(cluster, &kubectl))?;
    steps.run("nodes", || ready::nodes(cluster, &kubectl, nodes))
}

/// Ends and removes everything; nothing to do is no error.
pub(crate) fn down(cluster: &Layout) -> Result<()> {
    require_root()?;
    let _lock = lock(cluster)?;
    let steps = Steps::new("cluster");
    if !has_leftovers(cluster)? {
        steps.say("nothing to remove");
        return Ok(());
    }
    steps.run("removing the cluster", || remove(cluster))
}

/// Ends a node as a power cut would.
pub(crate) fn stop_node(cluster: &Layout, number: u8) -> Result<()> {
    require_root()?;
    let _lock = lock(cluster)?;
    let node = known_node(cluster, number)?;
    ensure!(
        number != FIRST_NODE,
        "node {number} runs the control plane; `cluster down` stops it"
    );
    network::set_link(cluster, &node, false)?;
    sweep::end(cluster, Of::Part(&node.part()))
}

/// Starts a node again, as after a boot.
pub(crate) fn start_node(cluster: &Layout, number: u8) -> Result<()> {
    require_root()?;
    let _lock = lock(cluster)?;
    let node = known_node(cluster, number)?;
    let kubectl = Kubectl::new(cluster)?;
    let before = ready::heartbeat(&kubectl, &node)?;
    network::set_link(cluster, &node, true)?;
    if sweep::find(cluster, Of::Part(&node.part()))?.is_empty() {
        // A boot leaves no pods' cgroups; kubelet would wait long for those of pods that it does not know any more.
        cgroups::delete(&node)?;
        cgroups::create(&node)?;
        start_node_init(cluster, &node)?;
    }
    ready::node(cluster, &kubectl, &node, &before)
}

/// Ends the API server by force; the node's first process starts it again after a second.
pub(crate) fn end_api(cluster: &Layout) -> Result<()> {
    require_root()?;
    let part = known_node(cluster, FIRST_NODE)?.part();
    let name = "kube-apiserver";
    sweep::end(cluster, Of::Program { part: &part, name })
}

/// Gives images to every node.
pub(crate) fn load_images(cluster: &Layout, archives: &[PathBuf]) -> Result<()> {
    require_root()?;
    let record = Record::read(cluster)?;
    load(cluster, record.nodes, archives)
}

/// The kubeconfig's path, if the cluster is there.
pub(crate) fn kubeconfig(cluster: &Layout) -> Result<PathBuf> {
    Record::read(cluster)?;
    let path = cluster.kubeconfig();
    ensure!(
        path.is_file(),
        "the cluster did not come up; run `cargo xtask cluster up`"
    );
    Ok(path)
}

/// The folder of the programs that the cluster runs.
pub(crate) fn programs(cluster: &Layout) -> Result<PathBuf> {
    Ok(Record::read(cluster)?.programs)
}

fn known_node(cluster: &Layout, number: u8) -> Result<Node> {
    let record = Record::read(cluster)?;
    ensure!(
        (FIRST_NODE..=record.nodes).contains(&number),
        "there is no node {number}; the cluster has {}",
        record.nodes
    );
    Ok(cluster.node(number))
}

fn require_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "a local cluster makes network namespaces, mounts and cgroups, which needs root: run this with sudo, or in a container or \
         virtual machine where you are root"
    );
    Ok(())
}

/// Only one run at a time changes a cluster. The name lives in the kernel and goes with the process.
fn lock(cluster: &Layout) -> Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(format!("weft-cluster-{}", cluster.name()))?;
    UnixListener::bind_addr(&address).context("another run of this verb is busy with the cluster")
}

fn is_up(cluster: &Layout, nodes: u8) -> bool {
    Record::read(cluster).is_ok_and(|record| record.complete && record.nodes == nodes)
        && cluster.kubeconfig().is_file()
        && Kubectl::new(cluster).is_ok_and(|kubectl| ready::ready_nodes(&kubectl).is_ok_and(|ready| ready == nodes))
}

fn has_leftovers(cluster: &Layout) -> Result<bool> {
    Ok(cluster.state().exists()
        || !network::namespaces(cluster)?.is_empty()
        || !cgroups::of_cluster(cluster)?.is_empty()
        || !sweep::find(cluster, Of::Cluster)?.is_empty())
}

/// Processes first: what they hold (mounts, wires, cgroups) is free then.
fn remove(cluster: &Layout) -> Result<()> {
    sweep::end(cluster, Of::Cluster)?;
    network::delete(cluster)?;
    cgroups::delete_all(cluster)?;
    if cluster.state().exists() {
        fs::remove_dir_all(cluster.state()).with_context(|| format!("cannot remove {}", cluster.state().display()))?;
    }
    // The folder of all clusters goes with the last of them.
    if let Some(parent) = cluster.state().parent() {
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

/// This program, kept with the cluster: a build may replace its file at any time, and the cluster's processes start it later as well.
fn own_program(cluster: &Layout) -> Result<PathBuf> {
    let kept = cluster.state().join("xtask");
    if !kept.exists() {
        fs::copy("/proc/self/exe", &kept).context("cannot keep a copy of this program")?;
    }
    Ok(kept)
}

fn start_nodes(cluster: &Layout, record: &Record) -> Result<()> {
    config::write_control_plane(cluster)?;
    for number in FIRST_NODE..=record.nodes {
        let node = cluster.node(number);
        config::write_node(cluster, &node)?;
        let parts = parts::of_node(cluster, &node, &record.programs);
        config::write(&node.parts_file(), &serde_json::to_string_pretty(&parts)?)?;
        start_node_init(cluster, &node)?;
    }
    Ok(())
}

/// Starts the first process of a node in its namespaces.
fn start_node_init(cluster: &Layout, node: &Node) -> Result<()> {
    let mut init = network::inside(&node.namespace, "unshare");
    init.args([
        "--mount",
        "--propagation=private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    init.arg(own_program(cluster)?);
    init.args(["cluster-node", cluster.name(), &node.number.to_string()]);
    background(cluster, &node.part(), &mut init, &node.logs().join("init.log"))
}

fn start_forwarder(cluster: &Layout) -> Result<()> {
    let mut forwarder = Command::new(own_program(cluster)?);
    forwarder.args(["cluster-forward", cluster.name()]);
    let log = cluster.state().join("forward.log");
    background(cluster, "forward", &mut forwarder, &log)?;
    let deadline = Instant::now() + FORWARDER_LIMIT;
    while !cluster.forwarder_port().exists() {
        if Instant::now() > deadline {
            bail!("the forwarder does not listen:\n{}", ready::tail(&log));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let port: u16 = fs::read_to_string(cluster.forwarder_port())?.parse()?;
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("the forwarder does not accept")?;
    let text = config::kubeconfig(cluster, &format!("https://127.0.0.1:{port}"), "admin")?;
    config::write(&cluster.kubeconfig(), &text)
}

/// Starts a program that goes on when this one ends and that the terminal's signals do not reach.
fn background(cluster: &Layout, part: &str, command: &mut Command, log: &Path) -> Result<()> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.with_context(|| format!("cannot write {}", log.display()))?;
    command.env(MARK, cluster.mark(part)).current_dir("/").process_group(0);
    // Debian keeps system programs apart from a user's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"));
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.spawn().with_context(|| format!("cannot start {part}"))?;
    Ok(())
}

fn load(cluster: &Layout, nodes: u8, archives: &[PathBuf]) -> Result<()> {
    for number in FIRST_NODE..=nodes {
        let node = cluster.node(number);
        let socket = node.containerd_socket();
        ready::socket(&node, &socket, CONTAINERD_LIMIT)?;
        for archive in archives {
            let mut ctr = Command::new("ctr");
            ctr.arg("--address").arg(&socket);
            ctr.args(["--namespace", "k8s.io", "images", "import"]).arg(archive);
            process::output(&mut ctr).with_context(|| format!("{} on {}", archive.display(), node.name()))?;
        }
    }
    Ok(())
}

/// `kubectl` against the cluster.
#[derive(Debug)]
pub(crate) struct Kubectl {
    program: PathBuf,
    config: PathBuf,
}

// === impl Kubectl ===

impl Kubectl {
    pub(crate) fn new(cluster: &Layout) -> Result<Self> {
        Ok(Self {
            program: programs(cluster)?.join("kubectl"),
            config: cluster.kubeconfig(),
        })
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.config).args(arguments);
        command
    }
}
