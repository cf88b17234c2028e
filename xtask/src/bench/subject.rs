//! The proxies under measurement: where each is found, how it is started for a case, and what it has used.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::case::Case;
use super::envoy_config::{Hop, Inputs};
use super::{peer_config, usage};
use crate::process::{Background, Profile};
use crate::{venv, workspace};

/// From start to the first accepted connection.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Where Debian's package libnginx-mod-stream puts the module.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Weft,
    Envoy,
    Nginx,
    Haproxy,
}

/// A proxy, or a pair of them, that runs for a case.
pub(super) struct Subject {
    pub(super) kind: Kind,
    /// Where load goes.
    pub(super) target: SocketAddr,
    processes: Vec<Background>,
}

// === impl Kind ===

impl Kind {
    /// Every kind, in the order of rounds and of the report.
    pub(super) const ALL: [Self; 4] = [Self::Weft, Self::Envoy, Self::Nginx, Self::Haproxy];

    /// The name in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// The program for a case, or why there is none.
    pub(super) fn program(self, case: Case) -> Result<PathBuf, String> {
        let installed = |name: &str| {
            workspace::on_path(name).ok_or_else(|| format!("{name} is not installed (Debian: apt-get install {name})"))
        };
        match self {
            Self::Weft => Ok(Profile::Release.folder().join("weft-proxy")),
            Self::Envoy => venv::envoy().map_err(|error| format!("{error:#}")),
            Self::Nginx if case == Case::Tcp && !Path::new(NGINX_STREAM).exists() => {
                Err("nginx has no stream module (Debian: apt-get install libnginx-mod-stream)".to_owned())
            }
            Self::Nginx => installed("nginx"),
            Self::Haproxy => installed("haproxy"),
        }
    }

    fn command(self, program: &Path, inputs: &Inputs<'_>) -> Result<Command> {
        let hop = format!("{:?}", inputs.hop).to_lowercase();
        let file = inputs.dir.join(format!("{}-{hop}.conf", self.name()));
        let mut command = Command::new(program);
        match self {
            Self::Weft | Self::Envoy => {
                // Both tell the format by the name's ending.
                let file = file.with_extension("yaml");
                fs::write(&file, inputs.bootstrap())?;
                if self == Self::Weft {
                    command
                        .args(["run", "--log-level", "warn", "--concurrency", "1", "-c"])
                        .arg(file);
                } else {
                    command
                        .args([
                            "--log-level",
                            "warn",
                            "--concurrency",
                            "1",
                            "--disable-hot-restart",
                            "-c",
                        ])
                        .arg(file);
                }
            }
            Self::Nginx => {
                let module = (inputs.case == Case::Tcp).then_some(NGINX_STREAM);
                fs::write(&file, peer_config::nginx(inputs, module))?;
                command.arg("-c").arg(&file).arg("-e").arg(file.with_extension("log"));
            }
            Self::Haproxy => {
                fs::write(&file, peer_config::haproxy(inputs))?;
                command.args(["-db", "-f"]).arg(file);
            }
        }
        Ok(command)
    }
}

// === impl Subject ===

impl Subject {
    /// Starts what the case needs and waits until it accepts connections.
    pub(super) fn start(kind: Kind, program: &Path, case: Case, backend: SocketAddr, dir: &Path) -> Result<Self> {
        let dir = dir.join(format!("{}-{}", case.name(), kind.name()));
        fs::create_dir_all(&dir)?;
        let mut processes = Vec::new();
        let mut upstream = backend;
        if case == Case::MtlsPair {
            super::certificates::write(&dir)?;
            upstream = start_hop(kind, program, case, Hop::Inbound, upstream, &dir, &mut processes)?;
        }
        let target = start_hop(kind, program, case, Hop::Outbound, upstream, &dir, &mut processes)?;
        Ok(Self {
            kind,
            target,
            processes,
        })
    }

    /// User and system time of all its processes.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        self.processes
            .iter()
            .map(|process| usage::cpu_time(process.pid()))
            .sum()
    }

    /// Resident memory of all its processes.
    pub(super) fn rss_mib(&self) -> Result<f64> {
        self.processes.iter().map(|process| usage::rss_mib(process.pid())).sum()
    }

    /// What the processes said last, for an error message.
    pub(super) fn last_lines(&self) -> String {
        self.processes
            .iter()
            .map(|process| process.last_lines(10))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn start_hop(
    kind: Kind,
    program: &Path,
    case: Case,
    hop: Hop,
    upstream: SocketAddr,
    dir: &Path,
    processes: &mut Vec<Background>,
) -> Result<SocketAddr> {
    // The port is free now and nobody else takes ports in this range by number.
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let inputs = Inputs {
        case,
        hop,
        listen,
        upstream,
        dir,
    };
    let log = dir.join(format!("{}-{hop:?}.out", kind.name()).to_lowercase());
    let mut process = Background::start(kind.name(), &mut kind.command(program, &inputs)?, log)?;
    process.wait_until(START_LIMIT, || TcpStream::connect(listen).is_ok())?;
    processes.push(process);
    Ok(listen)
}
