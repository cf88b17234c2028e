//! Flags and environment of `weft-proxy init`. Short flags are those of Istio's init container, so that its arguments fit.

use clap::{Args, ValueEnum};

/// Options of `init`. Lists are separated by commas; `*` stands for everything, an empty text for nothing.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  weft-proxy init
  weft-proxy init --redirect-dns --exclude-outbound-ports 5432 --exclude-inbound-ports 9100
  weft-proxy init --include-outbound-ip-ranges 10.96.0.0/12,fd00:10:96::/112 --dry-run
  weft-proxy init --cleanup

Needs the capability NET_ADMIN, and on PATH either nft, or iptables-save and iptables-restore (with ip6tables-* for IPv6).")]
pub struct Init {
    /// Port of the proxy that takes outbound connections.
    #[arg(short = 'p', long, env = "WEFT_OUTBOUND_PORT", default_value_t = 15001)]
    pub outbound_port: u16,
    /// Port of the proxy that takes inbound connections.
    #[arg(short = 'z', long, env = "WEFT_INBOUND_PORT", default_value_t = 15006)]
    pub inbound_port: u16,
    /// Port of the proxy for tunnels (HBONE); never captured.
    #[arg(short = 'e', long, env = "WEFT_INBOUND_TUNNEL_PORT", default_value_t = 15008)]
    pub inbound_tunnel_port: u16,
    /// Users whose traffic is the proxy's own.
    #[arg(short = 'u', long, env = "WEFT_PROXY_UID", default_value = "1337")]
    pub proxy_uid: String,
    /// Groups whose traffic is the proxy's own.
    #[arg(short = 'g', long, env = "WEFT_PROXY_GID", default_value = "1337")]
    pub proxy_gid: String,
    /// How connections are captured; only REDIRECT is supported.
    #[arg(short = 'm', long, env = "WEFT_INTERCEPTION_MODE", default_value = "REDIRECT")]
    pub mode: Mode,
    /// Outbound: destination ranges to capture.
    #[arg(short = 'i', long, env = "WEFT_INCLUDE_OUTBOUND_IP_RANGES", default_value = "*")]
    pub include_outbound_ip_ranges: String,
    /// Outbound: destination ranges to leave alone.
    #[arg(short = 'x', long, env = "WEFT_EXCLUDE_OUTBOUND_IP_RANGES", default_value = "")]
    pub exclude_outbound_ip_ranges: String,
    /// Outbound: destination ports to capture, whatever the range.
    #[arg(short = 'q', long, env = "WEFT_INCLUDE_OUTBOUND_PORTS", default_value = "")]
    pub include_outbound_ports: String,
    /// Outbound: destination ports to leave alone.
    #[arg(short = 'o', long, env = "WEFT_EXCLUDE_OUTBOUND_PORTS", default_value = "")]
    pub exclude_outbound_ports: String,
    /// Inbound: ports to capture.
    #[arg(short = 'b', long, env = "WEFT_INCLUDE_INBOUND_PORTS", default_value = "*")]
    pub include_inbound_ports: String,
    /// Inbound: ports to leave alone, beside the proxy's own 15020, 15021 and 15090.
    #[arg(short = 'd', long, env = "WEFT_EXCLUDE_INBOUND_PORTS", default_value = "")]
    pub exclude_inbound_ports: String,
    /// Interfaces whose traffic is left alone.
    #[arg(short = 'c', long, env = "WEFT_EXCLUDE_INTERFACES", default_value = "")]
    pub exclude_interfaces: String,
    /// Interfaces of virtual machines in the pod: what comes in there is outbound traffic of the machine.
    #[arg(short = 'k', long, env = "WEFT_KUBEVIRT_INTERFACES", default_value = "")]
    pub kubevirt_interfaces: String,
    /// Send queries for the servers of /etc/resolv.conf to the proxy.
    #[arg(long, env = "WEFT_REDIRECT_DNS")]
    pub redirect_dns: bool,
    /// Send queries for any server to the proxy; implies --redirect-dns.
    #[arg(long, env = "WEFT_CAPTURE_ALL_DNS")]
    pub capture_all_dns: bool,
    /// Port of the proxy that answers queries.
    #[arg(long, env = "WEFT_DNS_PORT", default_value_t = 15053)]
    pub dns_port: u16,
    /// Drop inbound packets that belong to no connection.
    #[arg(long, env = "WEFT_DROP_INVALID")]
    pub drop_invalid: bool,
    /// Program that takes the rules: nft where it is on PATH and the kernel has nf_tables, else iptables.
    #[arg(long, env = "WEFT_CAPTURE_BACKEND", default_value = "auto")]
    pub backend: BackendChoice,
    /// Print what would be given to which program, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Take the rules away, whichever program made them.
    #[arg(long)]
    pub cleanup: bool,
}

/// Ways of capturing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The kernel rewrites the destination and remembers the original one.
    #[value(name = "REDIRECT")]
    Redirect,
}

/// Which program takes the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// What is there.
    Auto,
    /// nftables.
    Nft,
    /// iptables.
    Iptables,
}
