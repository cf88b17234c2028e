//! Picks ports for a mesh: fixed ones are checked, free ones are found.
//!
//! Free ports come from below the range that the system uses for outgoing connections. A port inside it could be taken as
//! somebody's source port while a component restarts, and the component would then not come back.
//!
//! Between the choice of a port and the moment when its process listens, another mesh must not choose it. Each port is
//! therefore claimed by a Unix socket in the abstract namespace (unix(7)), which leaves no file and ends with this process.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where free ports are looked for when the system's range does not collide with it.
const PREFERRED: RangeInclusive<u16> = 20_000..=32_000;

/// First port of the outgoing range where the system does not say.
const DEFAULT_EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// Ports of one mesh, claimed for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Ports {
    range: RangeInclusive<u16>,
    next: u16,
    taken: BTreeMap<u16, UnixDatagram>,
}

/// Why a port cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PortError {
    /// Another process listens on it.
    #[error("port {port} on 127.0.0.1 is in use{by}")]
    InUse {
        port: u16,
        /// By whom, with a leading space, if the system tells.
        by: String,
    },
    /// The mesh itself already uses it.
    #[error("port {port} is given twice in this mesh")]
    Twice { port: u16 },
    /// The system does not let this user listen there.
    #[error("port {port} on 127.0.0.1 cannot be listened on: {reason}")]
    Refused {
        port: u16,
        /// What the system said.
        reason: String,
    },
    /// No port of the range is free.
    #[error("no free port between {first} and {last}")]
    Exhausted {
        /// First port tried.
        first: u16,
        /// Last port tried.
        last: u16,
    },
}

// === impl Ports ===

impl Ports {
    /// Ports of this machine. Meshes that start at the same time begin their search apart, by `seed`.
    pub(crate) fn of_system(seed: u64) -> Self {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        Self::new(outside(&parse_range(&text).unwrap_or(DEFAULT_EPHEMERAL)), seed)
    }

    fn new(range: RangeInclusive<u16>, seed: u64) -> Self {
        let size = u64::from(range.end() - range.start()) + 1;
        // Neighbouring seeds, such as process ids, are spread over the whole range.
        let offset = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % size;
        let next = range.start() + u16::try_from(offset).expect("the offset is less than the size of a port range");
        Self {
            range,
            next,
            taken: BTreeMap::new(),
        }
    }

    /// A port that nobody uses.
    pub(crate) fn free(&mut self) -> Result<u16, PortError> {
        let (first, last) = (*self.range.start(), *self.range.end());
        for _ in first..=last {
            let port = self.next;
            self.next = if port == last { first } else { port + 1 };
            if !self.taken.contains_key(&port)
                && bind(port).is_ok()
                && let Ok(claim) = claim(port)
            {
                self.taken.insert(port, claim);
                return Ok(port);
            }
        }
        Err(PortError::Exhausted { first, last })
    }

    /// The port that the user asked for, if it can be had; 0 asks for any.
    pub(crate) fn fixed(&mut self, port: u16) -> Result<u16, PortError> {
        if port == 0 {
            return self.free();
        }
        if self.taken.contains_key(&port) {
            return Err(PortError::Twice { port });
        }
        match bind(port).and_then(|()| claim(port)) {
            Ok(claim) => {
                self.taken.insert(port, claim);
                Ok(port)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(PortError::InUse {
                port,
                by: owner(port).map_or_else(|| " by another mesh".to_owned(), |owner| format!(" by {owner}")),
            }),
            Err(error) => Err(PortError::Refused {
                port,
                reason: error.to_string(),
            }),
        }
    }

    /// `wanted` if it is free, else any.
    pub(crate) fn preferred(&mut self, wanted: u16) -> Result<u16, PortError> {
        self.fixed(wanted).or_else(|_| self.free())
    }
}

fn bind(port: u16) -> std::io::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop)
}

fn claim(port: u16) -> std::io::Result<UnixDatagram> {
    let name = SocketAddr::from_abstract_name(format!("weft-port-{port}"))?;
    UnixDatagram::bind_addr(&name)
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_whitespace();
    Some(words.next()?.parse().ok()?..=words.next()?.parse().ok()?)
}

/// Where to look for ports, given the range of outgoing connections.
fn outside(ephemeral: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    let below = 10_000..=ephemeral.start().saturating_sub(1);
    let above = ephemeral.end().saturating_add(1)..=u16::MAX;
    if ephemeral.start() > PREFERRED.end() || ephemeral.end() < PREFERRED.start() {
        PREFERRED
    } else if below.clone().count() >= 1_000 {
        below
    } else if above.clone().count() >= 1_000 {
        above
    } else {
        PREFERRED
    }
}

/// The process that listens on a port, as `process 4242 (nginx)`. Only processes of the same user can be seen.
fn owner(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|path| listening_inode(&std::fs::read_to_string(path).ok()?, port).map(str::to_owned))?;
    let socket = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.filter_map(Result::ok) {
        if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let mut links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        if links.any(|link| link.to_str() == Some(socket.as_str())) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!(
                "process {} ({})",
                process.file_name().to_string_lossy(),
                name.trim()
            ));
        }
    }
    None
}

/// The inode of the socket that listens on `port`, from the text of `/proc/net/tcp` (proc_net(5): state 0A listens).
fn listening_inode(table: &str, port: u16) -> Option<&str> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
        listens.then(|| fields.get(9).copied()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let mut ports = Ports::of_system(7);
        let mut other = Ports::of_system(7);
        let picked: BTreeSet<u16> = (0..25)
            .flat_map(|_| [ports.free().unwrap(), other.free().unwrap()])
            .collect();
        assert_eq!(picked.len(), 50, "meshes that start at once get different ports");
        let port = *picked.first().unwrap();
        let by = " by another mesh".to_owned();
        assert_eq!(Ports::of_system(7).fixed(port), Err(PortError::InUse { port, by }));
    }

    #[test]
    fn a_used_port_names_its_user() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = Ports::of_system(1).fixed(port).unwrap_err().to_string();
        assert!(
            error.contains(&format!(
                "port {port} on 127.0.0.1 is in use by process {}",
                std::process::id()
            )),
            "{error}"
        );
    }

    #[test]
    fn a_port_is_given_once() {
        let mut ports = Ports::of_system(3);
        let port = ports.free().unwrap();
        assert_eq!(ports.fixed(port), Err(PortError::Twice { port }));
        assert_ne!(ports.preferred(port).unwrap(), port);
    }

    #[test]
    fn a_full_range_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut ports = Ports::new(port..=port, 0);
        assert_eq!(
            ports.free(),
            Err(PortError::Exhausted {
                first: port,
                last: port
            })
        );
    }

    #[test]
    fn the_search_stays_out_of_the_outgoing_range() {
        #[track_caller]
        fn check(text: &str, expected: RangeInclusive<u16>) {
            assert_eq!(outside(&parse_range(text).unwrap()), expected, "{text}");
        }
        check("32768\t60999\n", 20_000..=32_000);
        check("1024 19999", 20_000..=32_000);
        check("16000 65535", 10_000..=15_999);
        check("10240 60000", 60_001..=65_535);
        check("1024 65535", 20_000..=32_000);
        assert_eq!(parse_range(""), None);
    }
}
