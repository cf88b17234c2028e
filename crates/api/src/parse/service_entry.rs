//! Readers of ServiceEntry and WorkloadEntry.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::report::Report;
use super::tree::Node;
use super::{check, values};
use crate::matching::Locality;
use crate::meta::Labels;
use crate::protocol::Protocol;
use crate::service_entry::{EntryPort, Location, Resolution, ServiceEntry, WorkloadEntry};

/// Reads `spec` of a ServiceEntry.
pub(super) fn service_entry(fields: &mut Fields<'_, '_>) -> ServiceEntry {
    let hosts = values::hosts(fields, "hosts");
    let resolution = resolution(fields);
    let location = fields.choice(
        "location",
        &[
            ("MESH_EXTERNAL", Location::External),
            ("MESH_INTERNAL", Location::Internal),
        ],
    );
    let dns = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    let entry = ServiceEntry {
        addresses: fields.list("addresses", address),
        ports: fields.list("ports", |report, node| report.map(node, entry_port)),
        location: location.unwrap_or(Location::External),
        resolution,
        endpoints: fields.list("endpoints", |report, node| report.map(node, |f| endpoint(f, dns))),
        workload_selector: values::selector(fields, "workloadSelector", "labels"),
        subject_alt_names: fields.texts("subjectAltNames"),
        export_to: values::export_to(fields),
        hosts,
    };
    if entry.ports.is_empty() && fields.get("ports").is_none() {
        fields.missing("ports", "give at least one port with number, name and protocol");
    }
    unique_ports(fields, &entry);
    endpoints_fit(fields, &entry);
    entry
}

fn resolution(fields: &mut Fields<'_, '_>) -> Resolution {
    let text = fields.with("resolution", |_, node| super::report::shown(node));
    if text.as_deref() == Some("DYNAMIC_DNS") {
        fields.refuse("resolution", "use DNS and name the hosts");
        return Resolution::None;
    }
    let resolution = fields.choice(
        "resolution",
        &[
            ("NONE", Resolution::None),
            ("STATIC", Resolution::Static),
            ("DNS", Resolution::Dns),
            ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin),
        ],
    );
    resolution.unwrap_or(Resolution::None)
}

fn unique_ports(fields: &mut Fields<'_, '_>, entry: &ServiceEntry) {
    for (i, port) in entry.ports.iter().enumerate() {
        let earlier = &entry.ports[..i];
        let message = if port.number != 0 && earlier.iter().any(|other| other.number == port.number) {
            format!("port {} is given twice", port.number)
        } else if !port.name.is_empty() && earlier.iter().any(|other| other.name == port.name) {
            format!("a port named {} exists already", port.name)
        } else {
            continue;
        };
        fields.report().field(&format!("ports[{i}]"), |report| {
            report.invalid(port.at, message, "numbers and names of ports are unique");
        });
    }
}

/// Endpoints, selector and wildcard hosts fit the resolution (istio.io, "Service Entry").
fn endpoints_fit(fields: &mut Fields<'_, '_>, entry: &ServiceEntry) {
    if !entry.endpoints.is_empty() && entry.workload_selector.is_some() {
        fields.invalid("workloadSelector", "excludes endpoints", "keep one of them");
    }
    let wildcard = entry.hosts.iter().any(|host| host.starts_with('*'));
    match entry.resolution {
        Resolution::None => {
            if !entry.endpoints.is_empty() {
                fields.invalid(
                    "endpoints",
                    "have no effect with resolution NONE",
                    "use resolution STATIC or DNS",
                );
            }
        }
        Resolution::Static => {
            if entry.endpoints.is_empty() && entry.workload_selector.is_none() {
                fields.missing("endpoints", "resolution STATIC needs endpoints or a workloadSelector");
            }
            for (i, endpoint) in entry.endpoints.iter().enumerate() {
                if !endpoint.address.is_empty() && endpoint.address.parse::<std::net::IpAddr>().is_err() {
                    fields.report().field(&format!("endpoints[{i}].address"), |report| {
                        let message = format!("{:?} is not an IP address", endpoint.address);
                        report.invalid(endpoint.at, message, "use resolution DNS for names");
                    });
                }
            }
        }
        Resolution::Dns | Resolution::DnsRoundRobin => {
            if wildcard && entry.endpoints.is_empty() {
                let hint = "DNS cannot resolve a wildcard: name endpoints";
                fields.invalid("hosts", "have a wildcard, but no endpoints", hint);
            }
            if entry.resolution == Resolution::DnsRoundRobin && entry.endpoints.len() > 1 {
                fields.invalid(
                    "endpoints",
                    "has more than one with DNS_ROUND_ROBIN",
                    "use resolution DNS",
                );
            }
        }
    }
}

/// An address or CIDR prefix.
fn address(report: &mut Report, node: &Node) -> Option<String> {
    let text = report.text(node)?;
    if text.parse::<std::net::IpAddr>().is_err() && text.parse::<ipnet::IpNet>().is_err() {
        let message = format!("{text:?} is neither an IP address nor a CIDR prefix");
        report.invalid(node.at, message, "names belong into hosts");
        return None;
    }
    Some(text)
}

fn entry_port(fields: &mut Fields<'_, '_>) -> EntryPort {
    let name = fields.required_text("name", "name the port, for example http");
    let protocol = match fields.get("protocol") {
        Some(_) => values::protocol(fields, "protocol").unwrap_or(Protocol::Tcp),
        None => Protocol::from_port_name(&name).unwrap_or(Protocol::Auto),
    };
    EntryPort {
        at: fields.at,
        number: fields.required_port("number"),
        name,
        protocol,
        target_port: fields.port("targetPort"),
    }
}

/// An endpoint inside a ServiceEntry; with DNS its address may be left out.
fn endpoint(fields: &mut Fields<'_, '_>, dns: bool) -> WorkloadEntry {
    let entry = workload_entry(fields);
    if entry.address.is_empty() && !dns {
        fields.missing("address", "give an IP address, or a name with resolution DNS");
    }
    entry
}

/// Reads `spec` of a WorkloadEntry object; the object's labels count as its own.
pub(super) fn workload_entry_object(fields: &mut Fields<'_, '_>, labels: &Labels) -> WorkloadEntry {
    let mut entry = workload_entry(fields);
    for (key, value) in labels {
        entry.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if entry.address.is_empty() {
        fields.missing("address", "give an IP address or a name");
    }
    entry
}

fn workload_entry(fields: &mut Fields<'_, '_>) -> WorkloadEntry {
    let address = fields.text("address").unwrap_or_default();
    if address.starts_with("unix:") {
        fields.invalid(
            "address",
            "Unix sockets are not supported",
            "use an IP address or a name",
        );
    } else if !address.is_empty()
        && let Err(reason) = check::host(&address, false)
        && address.parse::<std::net::IpAddr>().is_err()
    {
        fields.invalid(
            "address",
            format!("{address:?} {reason}"),
            "use an IP address or a name",
        );
    }
    if !fields.set_of(&["network"]).is_empty() {
        let message = "has no effect: the mesh is one network, and every endpoint is connected to directly";
        fields.warn("network", message, "remove it");
    }
    let ports: BTreeMap<String, u16> = fields
        .entries("ports", |report, _, node| {
            report.integer(node, 1, 65535).and_then(|port| u16::try_from(port).ok())
        })
        .into_iter()
        .collect();
    WorkloadEntry {
        at: fields.at,
        address,
        ports,
        labels: values::labels(fields, "labels"),
        network: fields.text("network").unwrap_or_default(),
        locality: fields
            .text("locality")
            .map(|text| Locality::parse(&text))
            .unwrap_or_default(),
        weight: fields.count("weight").filter(|weight| *weight > 0).unwrap_or(1),
        service_account: fields.text("serviceAccount"),
    }
}
