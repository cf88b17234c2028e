//! Gives the rules to the program that takes them. Fails rather than leave a pod half captured.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;

use super::iptables::{self, Family};
use super::loopback;
use super::nft;
use super::options::{BackendChoice, Init};
use super::plan::{Plan, PlanError, name_servers};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A file that is there, and not empty, where the network namespace has IPv6.
const IPV6_ADDRESSES: &str = "/proc/net/if_inet6";

/// Which program takes the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `nft`.
    Nft,
    /// `iptables-restore` and `ip6tables-restore`.
    Iptables,
}

/// Why nothing, or not everything, is captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The list of DNS servers cannot be read.
    #[error("--redirect-dns: cannot read /etc/resolv.conf: {0}")]
    ResolvConf(std::io::Error),
    #[error(
        "neither nft nor iptables-restore is usable here ({0}); the image of the init container must hold one of them, \
         and the kernel must have nf_tables or ip_tables"
    )]
    NoBackend(String),
    /// It cannot be started.
    #[error("cannot run {program}: {error}")]
    Start {
        program: &'static str,
        error: std::io::Error,
    },
    /// It does not take the rules.
    #[error("{program} refused the rules: {message}{}", hint(message))]
    Refused {
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// The address cannot be added.
    #[error("cannot add ::6 to the loopback interface: {0}")]
    Loopback(Errno),
    /// Output of a dry run.
    #[error("cannot print: {0}")]
    Print(std::io::Error),
}

fn hint(message: &str) -> &'static str {
    let denied = ["not permitted", "Permission denied", "you must be root"];
    if denied.iter().any(|words| message.contains(words)) {
        "; the init container needs the capability NET_ADMIN (and NET_RAW for iptables)"
    } else {
        ""
    }
}

/// Does what the flags say: applies, prints, or cleans up.
pub fn run(options: &Init) -> Result<(), CaptureError> {
    let servers = if options.redirect_dns && !options.capture_all_dns && !options.cleanup {
        let text = std::fs::read_to_string(RESOLV_CONF).map_err(CaptureError::ResolvConf)?;
        name_servers(&text)
    } else {
        Vec::<IpAddr>::new()
    };
    if options.cleanup {
        return cleanup(options);
    }
    let plan = Plan::new(options, &servers)?;
    let backend = choose(options.backend)?;
    for (program, arguments, script) in scripts(&plan, backend)? {
        perform(program, arguments, &script, options.dry_run)?;
    }
    if !options.dry_run {
        if has_ipv6() {
            loopback::add_source_v6().map_err(CaptureError::Loopback)?;
        }
        tracing::info!(
            ?backend,
            inbound = plan.inbound_port,
            outbound = plan.outbound_port,
            "traffic is captured"
        );
    }
    Ok(())
}

/// Programs with their arguments and what they read.
type Scripts = Vec<(&'static str, &'static [&'static str], String)>;

fn scripts(plan: &Plan, backend: Backend) -> Result<Scripts, CaptureError> {
    Ok(match backend {
        Backend::Nft => vec![("nft", &["-f", "-"], nft::script(plan))],
        Backend::Iptables => {
            let mut scripts: Scripts = Vec::new();
            for family in families() {
                let present = output(family.save(), &[], "")?;
                let script = iptables::script(plan, family, &present);
                scripts.push((family.restore(), &["--noflush", "-w"], script));
            }
            scripts
        }
    })
}

/// Takes away what either program made: the pod may have been captured by another version.
fn cleanup(options: &Init) -> Result<(), CaptureError> {
    let wanted = |backend| match options.backend {
        BackendChoice::Auto => true,
        BackendChoice::Nft => backend == Backend::Nft,
        BackendChoice::Iptables => backend == Backend::Iptables,
    };
    if wanted(Backend::Nft) && usable(Backend::Nft).is_ok() {
        perform("nft", &["-f", "-"], &nft::cleanup(), options.dry_run)?;
    }
    if wanted(Backend::Iptables) && usable(Backend::Iptables).is_ok() {
        for family in families() {
            let script = iptables::cleanup(&output(family.save(), &[], "")?);
            if !script.is_empty() {
                perform(family.restore(), &["--noflush", "-w"], &script, options.dry_run)?;
            }
        }
    }
    Ok(())
}

fn perform(program: &'static str, arguments: &[&str], script: &str, dry_run: bool) -> Result<(), CaptureError> {
    if dry_run {
        let text = format!("# {program} {}\n{script}", arguments.join(" "));
        return std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(CaptureError::Print);
    }
    output(program, arguments, script).map(drop)
}

fn families() -> impl Iterator<Item = Family> {
    let ipv6 = has_ipv6();
    Family::ALL
        .into_iter()
        .filter(move |family| ipv6 || *family == Family::V4)
}

fn has_ipv6() -> bool {
    std::fs::read(Path::new(IPV6_ADDRESSES)).is_ok_and(|addresses| !addresses.is_empty())
}

/// What is asked for, else nft where it works, else iptables.
fn choose(choice: BackendChoice) -> Result<Backend, CaptureError> {
    match choice {
        BackendChoice::Nft => Ok(Backend::Nft),
        BackendChoice::Iptables => Ok(Backend::Iptables),
        BackendChoice::Auto => {
            let Err(first) = usable(Backend::Nft) else {
                return Ok(Backend::Nft);
            };
            let Err(second) = usable(Backend::Iptables) else {
                return Ok(Backend::Iptables);
            };
            Err(CaptureError::NoBackend(format!("{first}; {second}")))
        }
    }
}

/// Whether the program is there and the kernel has what it needs.
fn usable(backend: Backend) -> Result<(), CaptureError> {
    match backend {
        Backend::Nft => output("nft", &["list", "tables"], "").map(drop),
        Backend::Iptables => output(Family::V4.save(), &["-t", "nat"], "").map(drop),
    }
}

/// Runs a program with `input` and returns what it prints.
fn output(program: &'static str, arguments: &[&str], input: &str) -> Result<String, CaptureError> {
    let start = |error| CaptureError::Start { program, error };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that reads nothing says on its own why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let done = child.wait_with_output().map_err(start)?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(CaptureError::Refused { program, message })
}
