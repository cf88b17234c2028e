//! Debian packages that a local cluster and images are made of; what is missing is installed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::steps::Steps;
use crate::{process, workspace};

/// A program or file, and the package that has it.
const NEEDED: &[(&str, &str)] = &[
    ("etcd", "etcd-server"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("busybox", "busybox-static"),
    ("curl", "curl"),
    ("sysctl", "procps"),
    ("openssl", "openssl"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("zstd", "zstd"),
];

/// What images of the mesh's programs are made with and of.
const IMAGES: &[(&str, &str)] = &[
    ("strip", "binutils"),
    ("ldd", "libc-bin"),
    ("nft", "nftables"),
    ("xtables-legacy-multi", "iptables"),
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
];

/// What the image with programs is made of.
const TOOLS: &[&str] = &["busybox", "curl"];

/// Asks init scripts of packages not to start anything; removed after the installation.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what a local cluster needs and this machine has not.
pub(crate) fn ensure(steps: &Steps) -> Result<()> {
    ensure_all(steps, NEEDED)
}

/// The same for images of the mesh's programs.
pub(crate) fn ensure_for_images(steps: &Steps) -> Result<()> {
    ensure_all(steps, IMAGES)
}

/// The same for the image with programs to try things with.
pub(crate) fn ensure_tools(steps: &Steps) -> Result<()> {
    let needed = NEEDED.iter().filter(|(program, _)| TOOLS.contains(program));
    ensure_all(steps, &needed.copied().collect::<Vec<_>>())
}

fn ensure_all(steps: &Steps, needed: &[(&str, &str)]) -> Result<()> {
    let missing = missing(needed, is_there);
    if missing.is_empty() {
        return Ok(());
    }
    install(steps, &missing)
}

/// Installs packages by name, without what they only recommend and without starting their services.
pub(crate) fn install(steps: &Steps, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if workspace::on_path("apt-get").is_none() {
        bail!("these Debian packages, or what they hold, are needed: {list}; there is no apt-get here to install them");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("these Debian packages are needed, and only root may install them: apt-get install {list}");
    }
    steps.run(&format!("installing {list}"), || {
        let _policy = NoServices::begin()?;
        apt_get(&["update"])?;
        apt_get(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
    })
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "Dpkg::Use-Pty=0"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    process::output(&mut command).map(drop)
}

/// Packages of what is not there, each once.
fn missing<'a>(needed: &[(&str, &'a str)], is_there: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let mut packages: Vec<&str> = Vec::new();
    for (what, package) in needed {
        if !is_there(what) && !packages.contains(package) {
            packages.push(package);
        }
    }
    packages
}

fn is_there(what: &str) -> bool {
    if what.starts_with('/') {
        Path::new(what).exists()
    } else {
        workspace::on_path(what).is_some()
    }
}

/// Services stay off while this lives, unless the machine has a policy of its own.
#[derive(Debug)]
struct NoServices {
    ours: bool,
}

// === impl NoServices ===

impl NoServices {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_once() {
        let needed = [("a", "p"), ("b", "p"), ("c", "q"), ("/d", "r")];
        assert_eq!(missing(&needed, |what| what == "c"), ["p", "r"]);
        assert!(missing(&needed, |_| true).is_empty());
    }
}
