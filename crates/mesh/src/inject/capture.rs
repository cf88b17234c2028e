//! What the init container captures: the installation's defaults, and what the pod's annotations change.

use std::fmt::Display;

use super::annotations::{Options, Selection, ports, ranges};
use super::names;
use super::settings::Settings;
use ipnet::IpNet;

/// The rules of one pod, as arguments of `weft-proxy init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capture {
    include_outbound_ranges: Selection<IpNet>,
    exclude_outbound_ranges: Selection<IpNet>,
    include_outbound_ports: Option<Selection<u16>>,
    exclude_outbound_ports: Selection<u16>,
    include_inbound_ports: Selection<u16>,
    exclude_inbound_ports: Vec<u16>,
    exclude_interfaces: Vec<String>,
    virtual_interfaces: Vec<String>,
    dns: bool,
}

/// Why the installation's defaults are no rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("injector settings, {field}: {reason}")]
pub struct BadDefault {
    pub field: &'static str,
    /// What is wrong.
    pub reason: String,
}

// === impl Capture ===

impl Capture {
    /// Puts annotations over defaults.
    pub(super) fn new(options: &Options, settings: &Settings, status_port: u16) -> Result<Self, BadDefault> {
        let bad = |field: &'static str| move |reason: String| BadDefault { field, reason };
        let mut exclude_inbound_ports = match &options.exclude_inbound_ports {
            Some(Selection::These(ports)) => ports.clone(),
            Some(Selection::All) => Vec::new(),
            None => match ports(&settings.exclude_inbound_ports, false).map_err(bad("excludeInboundPorts"))? {
                Selection::These(ports) => ports,
                Selection::All => Vec::new(),
            },
        };
        // What the proxy itself answers is not led through the proxy.
        for port in [names::PROMETHEUS_PORT, names::READINESS_PORT, status_port] {
            if port != 0 && !exclude_inbound_ports.contains(&port) {
                exclude_inbound_ports.push(port);
            }
        }
        let of_ranges = |own: &Option<Selection<IpNet>>, default: &str, wildcard, field| match own {
            Some(own) => Ok(own.clone()),
            None => ranges(default, wildcard).map_err(bad(field)),
        };
        let of_ports = |own: &Option<Selection<u16>>, default: &str, wildcard, field| match own {
            Some(own) => Ok(own.clone()),
            None => ports(default, wildcard).map_err(bad(field)),
        };
        Ok(Self {
            include_outbound_ranges: of_ranges(
                &options.include_outbound_ranges,
                &settings.include_outbound_ip_ranges,
                true,
                "includeOutboundIpRanges",
            )?,
            exclude_outbound_ranges: of_ranges(
                &options.exclude_outbound_ranges,
                &settings.exclude_outbound_ip_ranges,
                false,
                "excludeOutboundIpRanges",
            )?,
            include_outbound_ports: options.include_outbound_ports.clone(),
            exclude_outbound_ports: of_ports(
                &options.exclude_outbound_ports,
                &settings.exclude_outbound_ports,
                false,
                "excludeOutboundPorts",
            )?,
            include_inbound_ports: of_ports(
                &options.include_inbound_ports,
                &settings.include_inbound_ports,
                true,
                "includeInboundPorts",
            )?,
            exclude_inbound_ports,
            exclude_interfaces: options.exclude_interfaces.clone().unwrap_or_default(),
            virtual_interfaces: options.virtual_interfaces.clone().unwrap_or_default(),
            dns: options.proxy_config.dns_capture.unwrap_or(settings.dns_capture),
        })
    }

    /// Whether DNS goes to the proxy.
    pub(super) fn dns(&self) -> bool {
        self.dns
    }

    /// The command line of the init container, in the letters that Istio's has.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = ["init"].map(str::to_owned).into();
        let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
        flag("-p", names::OUTBOUND_PORT.to_string());
        flag("-z", names::INBOUND_PORT.to_string());
        flag("-u", names::PROXY_UID.to_string());
        flag("-m", "REDIRECT".to_owned());
        flag("-i", text(&self.include_outbound_ranges));
        flag("-x", text(&self.exclude_outbound_ranges));
        flag("-b", text(&self.include_inbound_ports));
        flag("-d", list(&self.exclude_inbound_ports));
        if let Some(ports) = &self.include_outbound_ports {
            flag("-q", text(ports));
        }
        if self.exclude_outbound_ports != Selection::These(Vec::new()) {
            flag("-o", text(&self.exclude_outbound_ports));
        }
        if !self.exclude_interfaces.is_empty() {
            flag("-c", list(&self.exclude_interfaces));
        }
        if !self.virtual_interfaces.is_empty() {
            flag("-k", list(&self.virtual_interfaces));
        }
        if self.dns {
            words.push("--redirect-dns".to_owned());
        }
        words
    }
}

fn text<T: Display>(selection: &Selection<T>) -> String {
    match selection {
        Selection::All => "*".to_owned(),
        Selection::These(items) => list(items),
    }
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
