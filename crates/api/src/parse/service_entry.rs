//! Readers of ServiceEntry and WorkloadEntry.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::report::Report;
use super::rules::{service_entry as rules, shared};
use super::tree::Node;
use super::{check, values};
use crate::matching::Locality;
use crate::meta::Meta;
use crate::protocol::Protocol;
use crate::service_entry::{EntryPort, Location, Resolution, ServiceEntry, WorkloadEntry};

/// Most addresses and ports of one entry, and the longest address (Istio's limits).
const ADDRESSES_MAX: usize = 256;
const PORTS_MAX: usize = 256;
const ADDRESS_LENGTH_MAX: usize = 64;
/// Most endpoints of one entry (Istio's limit).
const ENDPOINTS_MAX: usize = 4096;
/// Longest name of a port, as in Kubernetes' names.
const NAME_LENGTH_MAX: usize = 63;
/// Longest address of an endpoint, which may be a name (Istio's limit).
const HOST_LENGTH_MAX: usize = 256;

/// Reads `spec` of a ServiceEntry.
pub(super) fn service_entry(fields: &mut Fields<'_, '_>) -> ServiceEntry {
    let hosts = values::hosts(fields, "hosts", shared::HOSTS);
    fields.rules(rules::SERVICE_ENTRY);
    fields.at_most("addresses", ADDRESSES_MAX);
    fields.at_most("ports", PORTS_MAX);
    fields.at_most("endpoints", ENDPOINTS_MAX);
    let resolution = resolution(fields);
    let location = fields.choice(
        "location",
        &[
            ("MESH_EXTERNAL", Location::External),
            ("MESH_INTERNAL", Location::Internal),
        ],
    );
    ServiceEntry {
        addresses: fields.list("addresses", address),
        ports: fields.list("ports", |report, node| report.map(node, entry_port)),
        location: location.unwrap_or(Location::External),
        resolution,
        endpoints: fields.list("endpoints", |report, node| report.map(node, workload_entry)),
        workload_selector: values::selector(fields, "workloadSelector", "labels"),
        subject_alt_names: fields.texts("subjectAltNames"),
        export_to: values::export_to(fields),
        hosts,
    }
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

/// An address or CIDR prefix; the rules of the entry say so.
fn address(report: &mut Report, node: &Node) -> Option<String> {
    let text = report.text(node)?;
    report.at_most(node, ADDRESS_LENGTH_MAX);
    Some(text)
}

fn entry_port(fields: &mut Fields<'_, '_>) -> EntryPort {
    fields.at_most("name", NAME_LENGTH_MAX);
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

/// Reads `spec` of a WorkloadEntry object; the object's labels count as its own.
pub(super) fn workload_entry_object(fields: &mut Fields<'_, '_>, meta: &Meta) -> WorkloadEntry {
    let mut entry = workload_entry(fields);
    for (key, value) in &meta.labels {
        entry.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    fields.rules(rules::WORKLOAD_ENTRY);
    entry
}

fn workload_entry(fields: &mut Fields<'_, '_>) -> WorkloadEntry {
    fields.rules(rules::ENDPOINT);
    fields.at_most("address", HOST_LENGTH_MAX);
    let address = fields.text("address").unwrap_or_default();
    if !address.is_empty()
        && !address.starts_with("unix:")
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
