//! Readers of the mesh's own kinds for one machine: LocalWorkload and LocalMesh.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use indexmap::IndexMap;

use super::fields::Fields;
use super::report::Report;
use super::tree::{Node, Value};
use super::{check, values};
use crate::local_mesh::{LocalMesh, MeshGateway, MeshPort, MeshWorkload, Probe, Readiness};
use crate::local_workload::{DataPlane, GatewayPort, LocalPort, LocalWorkload, Role};
use crate::matching::Locality;
use crate::meta::{Meta, Position};

/// Most replicas of one workload on one machine.
const REPLICAS_MAX: u32 = 64;

const DATA_PLANES: &[(&str, DataPlane)] = &[("weft", DataPlane::Weft), ("envoy", DataPlane::Envoy)];

/// Reads `spec` of a LocalWorkload.
pub(super) fn workload(fields: &mut Fields<'_, '_>, meta: &Meta) -> LocalWorkload {
    let role = fields
        .choice("role", &[("sidecar", Role::Sidecar), ("gateway", Role::Gateway)])
        .unwrap_or(Role::Sidecar);
    let address = fields.text("address").map(|text| {
        text.parse::<IpAddr>().unwrap_or_else(|_| {
            fields.invalid(
                "address",
                format!("{text:?} is not an IP address"),
                "for example 127.0.0.1",
            );
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        })
    });
    LocalWorkload {
        role,
        workload_name: fields
            .text("workloadName")
            .unwrap_or_else(|| meta.name.as_ref().to_owned()),
        service_account: fields.text("serviceAccount").unwrap_or_else(|| "default".to_owned()),
        data_plane: fields.choice("dataPlane", DATA_PLANES).unwrap_or(DataPlane::Weft),
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ready: fields.flag("ready").unwrap_or(false),
        outbound_port: fields.port("outboundPort"),
        ports: fields.list("ports", |report, node| report.map(node, local_port)),
        gateway_ports: fields.list("gatewayPorts", |report, node| {
            report.map(node, |f| GatewayPort {
                port: f.required_port("port"),
                local_port: f.required_port("localPort"),
            })
        }),
        locality: fields
            .text("locality")
            .map(|text| Locality::parse(&text))
            .unwrap_or_default(),
    }
}

fn local_port(fields: &mut Fields<'_, '_>) -> LocalPort {
    let declared = fields.number("declaredPort", 0, 65535);
    LocalPort {
        at: fields.at,
        name: fields.required_text("name", "Services refer to ports by name"),
        declared_port: declared.and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        app_port: fields.required_port("appPort"),
        mesh_port: fields.required_port("meshPort"),
    }
}

/// The name of a mesh: its state lies in a directory of that name.
pub(super) fn check_name(fields: &mut Fields<'_, '_>, name: &str, at: Position) {
    if name.is_empty() || name.split('.').all(check::is_dns_label) {
        return;
    }
    let message = format!("{name:?} is not a name");
    fields.report().field("metadata.name", |report| {
        report.invalid(at, message, "use lower-case letters, digits and dashes");
    });
}

/// Reads `spec` of a LocalMesh.
pub(super) fn mesh(fields: &mut Fields<'_, '_>) -> LocalMesh {
    let mesh = LocalMesh {
        config: fields.texts("config"),
        workloads: fields.list("workloads", |report, node| report.map(node, mesh_workload)),
        gateways: fields.list("gateways", |report, node| report.map(node, mesh_gateway)),
        trace_sampling: fields.number("traceSampling", 0, 100).unwrap_or(100),
    };
    let workloads = mesh
        .workloads
        .iter()
        .map(|w| (&w.namespace, &w.name, w.at, "workloads"));
    let gateways = mesh.gateways.iter().map(|g| (&g.namespace, &g.name, g.at, "gateways"));
    let mut seen = std::collections::BTreeSet::new();
    for (namespace, name, at, list) in workloads.chain(gateways) {
        if !seen.insert((namespace, name)) {
            fields.report().field(list, |report| {
                let message = format!("a workload or gateway {namespace}/{name} exists already");
                report.invalid(at, message, "give each its own name");
            });
        }
    }
    mesh
}

fn mesh_workload(fields: &mut Fields<'_, '_>) -> MeshWorkload {
    let ports = fields.list("ports", |report, node| report.map(node, mesh_port));
    let workload = MeshWorkload {
        at: fields.at,
        name: name(fields),
        namespace: namespace(fields),
        service_account: fields.text("serviceAccount").unwrap_or_else(|| "default".to_owned()),
        labels: values::labels(fields, "labels"),
        command: fields.texts("command"),
        env: environment(fields),
        working_dir: fields.text("workingDir"),
        replicas: fields.number("replicas", 0, REPLICAS_MAX).unwrap_or(1),
        readiness: fields.map("readiness", |f| readiness(f, &ports)).flatten(),
        data_plane: fields.choice("dataPlane", DATA_PLANES).unwrap_or(DataPlane::Weft),
        ports,
    };
    if workload.command.is_empty() {
        fields.missing("command", "give the program and its arguments as a list");
    }
    for (i, port) in workload.ports.iter().enumerate() {
        if !port.name.is_empty() && workload.ports[..i].iter().any(|other| other.name == port.name) {
            fields.report().field(&format!("ports[{i}]"), |report| {
                let message = format!("a port named {} exists already", port.name);
                report.invalid(port.at, message, "give each port its own name");
            });
        }
    }
    if workload.replicas > 1
        && let Some(port) = workload.ports.iter().find(|port| port.port != 0)
    {
        let message = format!("{} replicas cannot all listen on port {}", workload.replicas, port.port);
        fields.invalid("replicas", message, "use port 0, or one replica");
    }
    workload
}

fn name(fields: &mut Fields<'_, '_>) -> String {
    let name = fields.required_text("name", "every workload and gateway needs a name");
    if !name.is_empty() && !check::is_dns_label(&name) {
        fields.invalid(
            "name",
            format!("{name:?} is not a name"),
            "use lower-case letters, digits and dashes",
        );
    }
    name
}

fn namespace(fields: &mut Fields<'_, '_>) -> String {
    let namespace = fields.text("namespace").unwrap_or_else(|| "default".to_owned());
    if !check::is_dns_label(&namespace) {
        let message = format!("{namespace:?} is not a namespace");
        fields.invalid("namespace", message, "use lower-case letters, digits and dashes");
    }
    namespace
}

fn mesh_port(fields: &mut Fields<'_, '_>) -> MeshPort {
    let name = fields.required_text("name", "PORT_<NAME> tells the process its number");
    if !name.is_empty() && !check::is_dns_label(&name) {
        fields.invalid(
            "name",
            format!("{name:?} is not a port name"),
            "use lower-case letters, digits and dashes",
        );
    }
    let port = fields.number("port", 0, 65535);
    MeshPort {
        at: fields.at,
        name,
        port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
    }
}

/// A map of variables; numbers and booleans are taken as they are written.
fn environment(fields: &mut Fields<'_, '_>) -> IndexMap<String, String> {
    let entries = fields.entries("env", |report, name, node| {
        if name.is_empty() || name.contains(['=', '\0']) {
            report.invalid(node.at, format!("{name:?} is not a variable name"), "");
        }
        match &node.value {
            Value::Scalar { text, .. } => Some(text.clone()),
            Value::List(_) | Value::Map(_) => report.text(node),
        }
    });
    entries.into_iter().collect()
}

fn readiness(fields: &mut Fields<'_, '_>, ports: &[MeshPort]) -> Option<Readiness> {
    let http = fields.map("httpGet", |f| {
        let path = f.text("path").unwrap_or_else(|| "/".to_owned());
        if !path.starts_with('/') {
            f.invalid("path", "does not start with /", "start the path with /");
        }
        probe_port(f, ports).map(|port| Probe::HttpGet { path, port })
    });
    let tcp = fields.map("tcpSocket", |f| {
        probe_port(f, ports).map(|port| Probe::TcpSocket { port })
    });
    if fields.set_of(&["httpGet", "tcpSocket"]).len() != 1 {
        fields.missing("httpGet", "set one of httpGet and tcpSocket");
    }
    let period = fields.positive_duration("period").unwrap_or(Duration::from_millis(200));
    let timeout = fields.positive_duration("timeout").unwrap_or(Duration::from_secs(1));
    Some(Readiness {
        probe: http.flatten().or_else(|| tcp.flatten())?,
        period,
        timeout,
    })
}

/// A port by name or number; a name must be one of the workload's.
fn probe_port(fields: &mut Fields<'_, '_>, ports: &[MeshPort]) -> Option<String> {
    if fields.get("port").is_none() {
        fields.missing("port", "name a port of the workload");
        return None;
    }
    fields
        .with("port", |report: &mut Report, node: &Node| match &node.value {
            Value::Scalar { text, .. } if ports.iter().any(|port| port.name == *text) => Some(text.clone()),
            Value::Scalar { text, plain: true } if text.parse::<u16>().is_ok_and(|port| port > 0) => Some(text.clone()),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
                let message = format!("{} is not a port of the workload", super::report::shown(node));
                report.invalid(node.at, message, format!("its ports are: {}", names.join(", ")));
                None
            }
        })
        .flatten()
}

fn mesh_gateway(fields: &mut Fields<'_, '_>) -> MeshGateway {
    let mut ports = IndexMap::new();
    for (text, (at, local)) in fields.entries("ports", |report, _, node| {
        let local = report.integer(node, 0, 65535)?;
        Some((node.at, u16::try_from(local).ok()?))
    }) {
        match text.parse::<u16>() {
            Ok(port) if port > 0 => {
                ports.insert(port, local);
            }
            _ => fields.report().field("ports", |report| {
                report.invalid(
                    at,
                    format!("{text:?} is not a port"),
                    "write server port: local port, as in 80: 18080",
                );
            }),
        }
    }
    if ports.is_empty() && fields.get("ports").is_none() {
        fields.missing("ports", "write server port: local port, as in 80: 18080");
    }
    let labels = values::labels(fields, "labels");
    MeshGateway {
        at: fields.at,
        name: name(fields),
        namespace: namespace(fields),
        service_account: fields.text("serviceAccount").unwrap_or_else(|| "default".to_owned()),
        labels,
        ports,
        data_plane: fields.choice("dataPlane", DATA_PLANES).unwrap_or(DataPlane::Weft),
    }
}
