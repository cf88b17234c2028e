//! What is captured, checked: the one input of the rule texts.
//!
//! The order of the rules and what they mean are Istio's (its documentation of `traffic.sidecar.istio.io/*` annotations).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::options::Init;

/// Ports where the proxy itself answers, in plaintext or by its own rules: never captured.
const OWN_PORTS: [u16; 3] = [15020, 15021, 15090];

/// Longest name of an interface (Linux, `IFNAMSIZ` less one).
const INTERFACE_BYTES_MAX: usize = 15;

/// Everything that rules are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where outbound connections go.
    pub outbound_port: u16,
    /// Where inbound connections go.
    pub inbound_port: u16,
    pub tunnel_port: u16,
    /// Whose traffic is the proxy's own.
    pub owners: Vec<Owner>,
    pub inbound: Ports,
    pub ranges: Ranges,
    /// Outbound ranges that are left alone.
    pub excluded_ranges: Vec<IpNet>,
    /// Outbound ports that are captured whatever the range.
    pub ports: BTreeSet<u16>,
    /// Outbound ports that are left alone.
    pub excluded_ports: BTreeSet<u16>,
    /// Interfaces that are left alone.
    pub excluded_interfaces: BTreeSet<Interface>,
    /// Interfaces of virtual machines.
    pub virtual_interfaces: BTreeSet<Interface>,
    /// Capture of DNS.
    pub dns: Option<Dns>,
    /// Drop packets of no connection.
    pub drop_invalid: bool,
}

/// An owner of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    User(u32),
    Group(u32),
}

/// Inbound ports that are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// All but these.
    AllBut(BTreeSet<u16>),
    Only(BTreeSet<u16>),
}

/// Outbound ranges that are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    All,
    Only(Vec<IpNet>),
}

/// Capture of DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Where queries go.
    pub port: u16,
    /// Queries for which servers; `None` is any.
    pub servers: Option<Vec<IpAddr>>,
}

/// The name of a network interface, safe within a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface(String);

/// Why flags do not make a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An element of a list is not what the list holds.
    #[error("{flag}: {value:?} is not {wanted}")]
    Element {
        flag: &'static str,
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// `*` beside other elements.
    #[error("{0}: \"*\" must stand alone")]
    Star(&'static str),
    /// Nobody's traffic would be the proxy's own.
    #[error(
        "--proxy-uid and --proxy-gid are both empty: the proxy's own connections would be sent back to it without end"
    )]
    NoOwner,
    /// Only DNS of known servers is captured, and none is known.
    #[error("--redirect-dns: /etc/resolv.conf names no server; use --capture-all-dns to capture queries for any")]
    NoServers,
}

// === impl Plan ===

impl Plan {
    /// Checks flags. `servers` are the DNS servers that the pod asks.
    pub fn new(options: &Init, servers: &[IpAddr]) -> Result<Self, PlanError> {
        let users = list::<u32>(&options.proxy_uid, "--proxy-uid", "a user id")?;
        let groups = list::<u32>(&options.proxy_gid, "--proxy-gid", "a group id")?;
        let owners = users.into_iter().map(Owner::User);
        let owners: Vec<Owner> = owners.chain(groups.into_iter().map(Owner::Group)).collect();
        if owners.is_empty() {
            return Err(PlanError::NoOwner);
        }
        let dns = (options.redirect_dns || options.capture_all_dns).then(|| Dns {
            port: options.dns_port,
            servers: (!options.capture_all_dns).then(|| servers.to_vec()),
        });
        if dns
            .as_ref()
            .is_some_and(|dns| dns.servers.as_ref().is_some_and(Vec::is_empty))
        {
            return Err(PlanError::NoServers);
        }
        let ports = |text: &str, flag| Ok::<_, PlanError>(list::<u16>(text, flag, "a port")?.into_iter().collect());
        let ranges = |text: &str, flag| -> Result<Vec<IpNet>, PlanError> {
            let ranges = list::<Range>(text, flag, "an IP address or a range such as 10.0.0.0/8")?;
            Ok(ranges.into_iter().map(|Range(range)| range).collect())
        };
        let interfaces = |text: &str, flag| -> Result<BTreeSet<Interface>, PlanError> {
            Ok(list(text, flag, "the name of an interface")?.into_iter().collect())
        };
        let mut excluded: BTreeSet<u16> = ports(&options.exclude_inbound_ports, "--exclude-inbound-ports")?;
        excluded.extend(OWN_PORTS);
        let star = |text: &str, flag| {
            let alone = text.trim() == "*";
            if alone || !text.contains('*') {
                Ok(alone)
            } else {
                Err(PlanError::Star(flag))
            }
        };
        let (included, include) = (&options.include_inbound_ports, "--include-inbound-ports");
        let (destinations, to) = (&options.include_outbound_ip_ranges, "--include-outbound-ip-ranges");
        let (numbers, on) = (&options.include_outbound_ports, "--include-outbound-ports");
        // All ports, whatever the range, is all ranges.
        let all_ports = star(numbers, on)?;
        let all_outbound = star(destinations, to)? || all_ports;
        Ok(Self {
            outbound_port: options.outbound_port,
            inbound_port: options.inbound_port,
            tunnel_port: options.inbound_tunnel_port,
            owners,
            inbound: if star(included, include)? {
                Ports::AllBut(excluded)
            } else {
                Ports::Only(ports(included, include)?)
            },
            ranges: if all_outbound {
                Ranges::All
            } else {
                Ranges::Only(ranges(destinations, to)?)
            },
            excluded_ranges: ranges(&options.exclude_outbound_ip_ranges, "--exclude-outbound-ip-ranges")?,
            ports: if all_ports {
                BTreeSet::new()
            } else {
                ports(numbers, on)?
            },
            excluded_ports: ports(&options.exclude_outbound_ports, "--exclude-outbound-ports")?,
            excluded_interfaces: interfaces(&options.exclude_interfaces, "--exclude-interfaces")?,
            virtual_interfaces: interfaces(&options.kubevirt_interfaces, "--kubevirt-interfaces")?,
            dns,
            drop_invalid: options.drop_invalid,
        })
    }

    /// Ports on which the proxy's calls to its own pod are not calls from the mesh.
    pub(super) fn not_self_calls(&self) -> Vec<u16> {
        let dns = self.dns.as_ref().map(|_| 53);
        dns.into_iter().chain([self.tunnel_port]).collect()
    }
}

/// The elements of a list; empty ones are skipped.
fn list<T: FromStr>(text: &str, flag: &'static str, wanted: &'static str) -> Result<Vec<T>, PlanError> {
    let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
    let parse = |element: &str| {
        element.parse().map_err(|_| PlanError::Element {
            flag,
            value: element.to_owned(),
            wanted,
        })
    };
    elements.map(parse).collect()
}

// === impl Interface ===

impl FromStr for Interface {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
        if text.len() > INTERFACE_BYTES_MAX || !text.chars().all(fits) || text.starts_with('-') {
            return Err(());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A range, or one address; without host bits.
struct Range(IpNet);

impl FromStr for Range {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let range = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        range.map(|range| Self(range.trunc())).map_err(|_| ())
    }
}

/// The servers that a `resolv.conf` names; zones of link-local addresses are left out.
pub fn name_servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        words.next()?.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        init: Init,
    }

    /// The plan of a command line.
    pub(in crate::capture) fn plan(flags: &str) -> Result<Plan, PlanError> {
        let arguments = std::iter::once("init").chain(flags.split_whitespace());
        let options = Command::try_parse_from(arguments).unwrap().init;
        Plan::new(
            &options,
            &name_servers("nameserver 10.96.0.10\nnameserver fd00::a # second\n"),
        )
    }

    #[test]
    fn wrong_elements_name_the_flag() {
        for (flags, expected) in [
            ("-o 80,x", r#"--exclude-outbound-ports: "x" is not a port"#),
            ("-d 70000", r#"--exclude-inbound-ports: "70000" is not a port"#),
            (
                "-x 10.0.0.0/33",
                r#"--exclude-outbound-ip-ranges: "10.0.0.0/33" is not an IP address or a range such as 10.0.0.0/8"#,
            ),
            (
                "-c eth0;flush",
                r#"--exclude-interfaces: "eth0;flush" is not the name of an interface"#,
            ),
            (
                "-c veth+",
                r#"--exclude-interfaces: "veth+" is not the name of an interface"#,
            ),
            ("-q *,80", r#"--include-outbound-ports: "*" must stand alone"#),
            ("-u root", r#"--proxy-uid: "root" is not a user id"#),
            ("-b *,80", r#"--include-inbound-ports: "*" must stand alone"#),
            (
                "-i *,10.0.0.0/8",
                r#"--include-outbound-ip-ranges: "*" must stand alone"#,
            ),
        ] {
            assert_eq!(plan(flags).unwrap_err().to_string(), expected, "{flags}");
        }
        let nobody = Command::try_parse_from(["init", "-u", "", "-g", ""]).unwrap().init;
        assert_eq!(Plan::new(&nobody, &[]), Err(PlanError::NoOwner));
        let dns = Command::try_parse_from(["init", "--redirect-dns"]).unwrap().init;
        assert_eq!(Plan::new(&dns, &[]), Err(PlanError::NoServers));
    }

    #[test]
    fn the_arguments_of_istios_init_container_fit() {
        let plan =
            plan("-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x 10.1.2.3/8 -b * -d 15090,15021,15020,9100").unwrap();
        assert_eq!(plan.excluded_ranges, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(plan.inbound, Ports::AllBut([9100, 15020, 15021, 15090].into()));
    }

    #[test]
    fn every_outbound_port_is_every_range() {
        let plan = plan("-i 10.0.0.0/8 -q *").unwrap();
        assert_eq!((plan.ranges, plan.ports.len()), (Ranges::All, 0));
    }

    #[test]
    fn resolv_conf_is_read() {
        let text = "search a.b\nnameserver 10.0.0.1\n#nameserver 10.0.0.2\n nameserver fe80::1%eth0\nnameserver\noptions ndots:5\n";
        let expected: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()];
        assert_eq!(name_servers(text), expected);
    }
}
