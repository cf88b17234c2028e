//! The first process of a node, in process and mount namespaces of the node's own: it arranges the node's file system, starts
//! the node's programs, starts again what ends, and reaps.
//!
//! When it ends, the kernel ends every process of the node, pods included, and their mounts go with the last of them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::layout::{Layout, Node};
use super::parts::{After, Part};

/// How often the first process looks around.
const PERIOD: Duration = Duration::from_millis(50);
/// How long a program that ended stays away.
const RESTART: Duration = Duration::from_secs(1);

/// What the hidden verb is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    cluster: String,
    node: u8,
}

/// Runs until the node is ended from outside.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        std::process::id() == 1,
        "this is for `cluster up` to start, in a process namespace of its own"
    );
    let cluster = Layout::new(&arguments.cluster)?;
    let node = cluster.node(arguments.node);
    arrange_files(&cluster, &node)?;
    let text = fs::read_to_string(node.parts_file()).context("cannot read what to run")?;
    let mut programs = Programs {
        waiting: serde_json::from_str::<Vec<Part>>(&text)?
            .into_iter()
            .map(|part| (part, Instant::now()))
            .collect(),
        running: HashMap::new(),
        logs: node.logs(),
        ended: node.ended_file(),
    };
    loop {
        programs.reap()?;
        programs.start_due()?;
        std::thread::sleep(PERIOD);
    }
}

/// Empty `/run` and `/var/lib` as after a boot, logs in the node's own folder, and the cluster's files where they were.
fn arrange_files(cluster: &Layout, node: &Node) -> Result<()> {
    let state = cluster.state();
    // Where it stays reachable while /var/lib is covered.
    let aside = Path::new("/run/weft-cluster");
    tmpfs("/run")?;
    fs::create_dir_all(aside)?;
    mount_bind(state, aside).context("cannot bind the cluster's files")?;
    tmpfs("/var/lib")?;
    fs::create_dir_all(state)?;
    mount_bind(aside, state).context("cannot bind the cluster's files")?;
    mount_bind(node.logs(), "/var/log").context("cannot bind the node's logs")?;
    // Pods may ask for mounts that they make to be seen by the node.
    let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    mount_change("/", flags).context("cannot share mounts with pods")
}

fn tmpfs(target: &str) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", target, "tmpfs", flags, c"mode=755").with_context(|| format!("cannot mount over {target}"))
}

/// The node's programs.
#[derive(Debug)]
struct Programs {
    /// To be started when what they wait for answers, not before the given time.
    waiting: Vec<(Part, Instant)>,
    running: HashMap<Pid, Part>,
    logs: PathBuf,
    ended: PathBuf,
}

// === impl Programs ===

impl Programs {
    fn start_due(&mut self) -> Result<()> {
        let now = Instant::now();
        let due = |(part, from): &mut (Part, Instant)| *from <= now && part.after.as_ref().is_none_or(answers);
        let due: Vec<(Part, Instant)> = self.waiting.extract_if(.., due).collect();
        for (part, _) in due {
            let pid = start(&part, &self.logs)?;
            self.running.insert(pid, part);
        }
        Ok(())
    }

    /// Collects ended children, those that others left to the first process among them.
    fn reap(&mut self) -> Result<()> {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(part) = self.running.remove(&pid) {
                let mut ended = File::options().create(true).append(true).open(&self.ended)?;
                writeln!(ended, "{} {}", part.name, describe(status))?;
                self.waiting.push((part, Instant::now() + RESTART));
            }
        }
        Ok(())
    }
}

fn start(part: &Part, logs: &Path) -> Result<Pid> {
    let path = logs.join(format!("{}.log", part.name));
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new(&part.program);
    command.args(&part.arguments).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().with_context(|| format!("cannot start {}", part.name))?;
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("a process without an id")
}

fn answers(after: &After) -> bool {
    match after {
        After::Socket(path) => UnixStream::connect(path).is_ok(),
        After::Tcp(address) => address
            .parse::<SocketAddr>()
            .is_ok_and(|address| TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()),
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
