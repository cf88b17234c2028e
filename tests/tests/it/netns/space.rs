//! Network namespaces that stand for pods: joined by a bridge, gone with the test however it ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::process::Process;

/// User and group of the proxy.
pub(super) const PROXY: u32 = 1337;

const START_LIMIT: Duration = Duration::from_secs(20);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Namespaces around one bridge.
#[derive(Debug)]
pub(super) struct Network {
    /// Logs and files of the test; every user may read them.
    pub(super) dir: TempDir,
    name: String,
    namespaces: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Pod {
    namespace: String,
    peer: PathBuf,
    dir: PathBuf,
    /// Number within the network.
    pub(super) number: u32,
}

// === impl Network ===

impl Network {
    /// An empty network; `None`, with the reason on stderr, where namespaces cannot be made.
    pub(super) fn new() -> Result<Option<Self>> {
        if let Err(reason) = possible() {
            say(&format!("skipped: {reason}"));
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        std::fs::write(dir.path().join("peer.py"), include_str!("peer.py"))?;
        let name = format!("weft-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut network = Self {
            dir,
            namespaces: Vec::new(),
            name,
        };
        let bridge = network.namespace("bridge")?;
        ip(&format!("-n {bridge} link add br0 type bridge"))?;
        ip(&format!("-n {bridge} link set br0 up"))?;
        ip(&format!("-n {bridge} addr add 10.77.0.254/24 dev br0"))?;
        ip(&format!("-n {bridge} addr add fd77::fe/64 dev br0 nodad"))?;
        Ok(Some(network))
    }

    /// A pod with the addresses 10.77.0.N and fd77::N, and everything else behind the bridge.
    pub(super) fn pod(&mut self) -> Result<Pod> {
        let number = u32::try_from(self.namespaces.len())?;
        let namespace = self.namespace(&format!("pod{number}"))?;
        let bridge = &self.namespaces[0];
        ip(&format!(
            "-n {namespace} link add eth0 type veth peer name veth{number} netns {bridge}"
        ))?;
        ip(&format!("-n {bridge} link set veth{number} master br0 up"))?;
        ip(&format!("-n {namespace} link set eth0 up"))?;
        ip(&format!("-n {namespace} addr add 10.77.0.{number}/24 dev eth0"))?;
        ip(&format!("-n {namespace} addr add fd77::{number}/64 dev eth0 nodad"))?;
        ip(&format!("-n {namespace} route add default via 10.77.0.254"))?;
        ip(&format!("-n {namespace} -6 route add default via fd77::fe"))?;
        Ok(Pod {
            namespace,
            peer: self.dir.path().join("peer.py"),
            dir: self.dir.path().to_owned(),
            number,
        })
    }

    /// The namespace of the bridge, where what is no pod runs (10.77.0.254).
    pub(super) fn outside(&self) -> Pod {
        Pod {
            namespace: self.namespaces[0].clone(),
            peer: self.dir.path().join("peer.py"),
            dir: self.dir.path().to_owned(),
            number: 254,
        }
    }

    fn namespace(&mut self, what: &str) -> Result<String> {
        let namespace = format!("{}-{what}", self.name);
        ip(&format!("netns add {namespace}"))?;
        self.namespaces.push(namespace.clone());
        ip(&format!("-n {namespace} link set lo up"))?;
        Ok(namespace)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in self.namespaces.iter().rev() {
            if let Err(error) = ip(&format!("netns delete {namespace}")) {
                say(&format!("{namespace} is left: {error}"));
            }
            // Where a pod had its own resolv.conf.
            let _ = std::fs::remove_dir_all(Path::new("/etc/netns").join(namespace));
        }
        // Fails while another test has its own there.
        let _ = std::fs::remove_dir("/etc/netns");
    }
}

// === impl Pod ===

impl Pod {
    /// Its IPv4 address.
    pub(super) fn v4(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// Its IPv6 address.
    pub(super) fn v6(&self) -> String {
        format!("fd77::{}", self.number)
    }

    /// Starts a program in the pod, with its output in `NAME.log`.
    pub(super) fn start(&self, name: &str, user: Option<u32>, program: &Path, arguments: &[&str]) -> Result<Process> {
        let mut command = self.command(user, program);
        command.args(arguments);
        Process::start(name, &mut command, &self.dir)
    }

    /// The file that its programs see as `/etc/resolv.conf`.
    pub(super) fn resolv_conf(&self, text: &str) -> Result<()> {
        let folder = Path::new("/etc/netns").join(&self.namespace);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join("resolv.conf"), text)?)
    }

    /// A command in the pod, as root or as another user (with the group of the same number).
    pub(super) fn command(&self, user: Option<u32>, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]);
        if let Some(user) = user {
            let user = user.to_string();
            command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
            // Programs and files of the test may be where only root looks.
            command.args(["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]);
        }
        command.arg(program).kill_on_drop(true);
        command
    }

    /// What a command prints; its failure is an error with what it says.
    pub(super) async fn run(&self, user: Option<u32>, program: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(user, program);
        let output = command.args(arguments).stdin(Stdio::null()).output().await?;
        ensure!(
            output.status.success(),
            "{} {arguments:?}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts the servers of `peer.py`: `kind=name=port` each.
    pub(super) async fn serve(&self, user: Option<u32>, servers: &[&str]) -> Result<Process> {
        let mut command = self.command(user, Path::new("python3"));
        command.arg(&self.peer).arg("serve").args(servers);
        let name = format!("serve-{}-{}", self.number, NEXT.fetch_add(1, Ordering::Relaxed));
        let mut process = Process::start(&name, &mut command, &self.dir)?;
        let log = self.dir.join(format!("{name}.log"));
        let ready = || async { std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ready")) };
        process.wait_until("servers", START_LIMIT, ready).await?;
        Ok(process)
    }

    /// A client of `peer.py`: `dial`, `talk` or `ask`.
    pub(super) async fn client(&self, user: Option<u32>, arguments: &[&str]) -> Result<String> {
        let peer = self.peer.to_str().context("path")?;
        let arguments: Vec<&str> = std::iter::once(peer).chain(arguments.iter().copied()).collect();
        self.run(user, Path::new("python3"), &arguments).await
    }
}

#[expect(clippy::print_stderr, reason = "who runs the tests must see it")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// Whether namespaces can be made here.
fn possible() -> Result<()> {
    for program in ["ip", "setpriv", "python3"] {
        let found = std::process::Command::new(program).arg("--version").output();
        let found = found.or_else(|_| std::process::Command::new(program).arg("-V").output());
        found.with_context(|| format!("{program} is not there"))?;
    }
    let probe = format!("weft-{}-probe", std::process::id());
    ip(&format!("netns add {probe}")).context("network namespaces need root")?;
    ip(&format!("netns delete {probe}"))
}

/// `ip` with arguments.
fn ip(arguments: &str) -> Result<()> {
    let output = std::process::Command::new("ip").args(arguments.split(' ')).output()?;
    ensure!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
