//! Readers of the Kubernetes kinds: Service and Secret.

use std::collections::BTreeMap;

use base64::Engine as _;

use super::fields::Fields;
use super::tree::Value;
use super::values;
use crate::diagnostic::{Severity, code};
use crate::matching::{ExportTo, NamespaceScope};
use crate::meta::{Meta, Position};
use crate::protocol::Protocol;
use crate::secret::Secret;
use crate::service::{ClusterIp, Service, ServicePort, TargetPort};

/// Ports whose protocols let the server speak first, so that detection would stall (istio.io, "Protocol Selection").
const SERVER_FIRST_PORTS: [u16; 4] = [25, 53, 3306, 27017];

/// Fields of a Service that say how Kubernetes exposes it, which is not the mesh's matter.
const EXPOSURE: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "publishNotReadyAddresses",
    "sessionAffinityConfig",
    "trafficDistribution",
];

/// Reads `spec` of a Service.
pub(super) fn service(fields: &mut Fields<'_, '_>, meta: &Meta) -> Service {
    fields.ignore(EXPOSURE);
    let kind = fields.choice(
        "type",
        &[
            ("ClusterIP", "ClusterIP"),
            ("NodePort", "NodePort"),
            ("LoadBalancer", "LoadBalancer"),
            ("ExternalName", "ExternalName"),
        ],
    );
    if fields.choice("sessionAffinity", &[("None", false), ("ClientIP", true)]) == Some(true) {
        fields.warn("sessionAffinity", "ClientIP has no effect inside the mesh", "remove it");
    }
    let external = kind == Some("ExternalName");
    let external_name = if external {
        Some(values::host(fields, "externalName", false))
    } else {
        fields.ignore(&["externalName"]);
        None
    };
    let ports = fields.list("ports", |report, node| report.map(node, service_port).flatten());
    if ports.is_empty() && fields.get("ports").is_none() && !external {
        fields.warn(
            "ports",
            "are missing: nothing can reach the service",
            "name at least one port",
        );
    }
    unique_ports(fields, &ports);
    let service = Service {
        selector: values::labels(fields, "selector"),
        cluster_ip: cluster_ip(fields),
        external_name,
        export_to: export_to(meta),
        ports,
    };
    ignore_unknown_of_server(fields);
    service
}

/// What a server has let in is well-formed: a field that is not known here is of another version of Kubernetes. In a file, which
/// nobody has looked at, it is a mistake.
fn ignore_unknown_of_server(fields: &mut Fields<'_, '_>) {
    if fields.at == Position::default() {
        fields.ignore_rest();
    }
}

fn export_to(meta: &Meta) -> ExportTo {
    let annotation = meta.annotations.get("networking.istio.io/exportTo");
    let names = annotation.iter().flat_map(|text| text.split(','));
    ExportTo(
        names
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(NamespaceScope::parse)
            .collect(),
    )
}

/// `clusterIPs`, or `clusterIP` alone, as people write it.
fn cluster_ip(fields: &mut Fields<'_, '_>) -> ClusterIp {
    let single = fields.text("clusterIP").filter(|text| !text.is_empty());
    let all = fields.texts("clusterIPs");
    let field = if all.is_empty() { "clusterIP" } else { "clusterIPs" };
    let texts = if all.is_empty() { Vec::from_iter(single) } else { all };
    if texts.iter().any(|text| text == "None") {
        return ClusterIp::Headless;
    }
    let mut addresses = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => fields.invalid(
                field,
                format!("{text:?} is not an IP address"),
                "or use None for headless",
            ),
        }
    }
    if addresses.is_empty() {
        ClusterIp::Unassigned
    } else {
        ClusterIp::Assigned(addresses)
    }
}

/// One port; `None` for a transport that the mesh does not carry.
fn service_port(fields: &mut Fields<'_, '_>) -> Option<ServicePort> {
    fields.ignore(&["nodePort"]);
    let name = fields.text("name").unwrap_or_default();
    let port = fields.required_port("port");
    let transport = fields.choice("protocol", &[("TCP", true), ("UDP", false), ("SCTP", false)]);
    let app_protocol = fields.text("appProtocol");
    let target = fields
        .with("targetPort", |report, node| match &node.value {
            Value::Scalar { text, plain } if !*plain || node.describe() != "a number" => {
                Some(TargetPort::Name(text.clone()))
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                let number = report.integer(node, 1, 65535)?;
                u16::try_from(number).ok().map(TargetPort::Number)
            }
        })
        .flatten();
    if transport == Some(false) {
        let at = fields.place("protocol");
        fields.report().field("protocol", |report| {
            let message = "the mesh carries TCP only; the port is passed over";
            report.add(Severity::Info, code::UNHANDLED_KIND, at, message, "");
        });
        return None;
    }
    // Where appProtocol is set, the name says nothing (istio.io, "Protocol Selection").
    let (field, text) = match &app_protocol {
        Some(protocol) => ("appProtocol", protocol),
        None => ("name", &name),
    };
    let named = match &app_protocol {
        Some(protocol) => Protocol::from_app_protocol(protocol),
        None => Protocol::from_port_name(&name),
    };
    if named.is_none() && !text.is_empty() {
        let at = fields.place(field);
        fields.report().field(field, |report| {
            let message = format!("{text:?} names no protocol, so the protocol is detected");
            let hint = "start the name with http-, grpc-, tcp- or the like, or set appProtocol to one of these";
            report.add(Severity::Info, code::PORT_NAME, at, message, hint);
        });
    }
    ignore_unknown_of_server(fields);
    let protocol = match named {
        Some(Protocol::Udp) | None if SERVER_FIRST_PORTS.contains(&port) => Protocol::Tcp,
        Some(protocol) => protocol,
        None => Protocol::Auto,
    };
    Some(ServicePort {
        at: fields.at,
        name,
        port,
        target: target.unwrap_or(TargetPort::Same),
        protocol,
    })
}

fn unique_ports(fields: &mut Fields<'_, '_>, ports: &[ServicePort]) {
    for (i, port) in ports.iter().enumerate() {
        let earlier = &ports[..i];
        let message = if port.port != 0 && earlier.iter().any(|other| other.port == port.port) {
            format!("port {} is given twice", port.port)
        } else if earlier.iter().any(|other| other.name == port.name) {
            format!("two ports are named {:?}", port.name)
        } else {
            continue;
        };
        fields.report().field(&format!("ports[{i}]"), |report| {
            report.invalid(port.at, message, "numbers and names of ports are unique");
        });
    }
}

/// Reads a Secret, whose data stand beside the metadata.
pub(super) fn secret(fields: &mut Fields<'_, '_>) -> Secret {
    fields.ignore(&["immutable"]);
    let kind = fields.text("type").unwrap_or_default();
    let mut data: BTreeMap<String, Vec<u8>> = fields
        .entries("data", |report, _, node| {
            let text: String = report.text(node)?.split_ascii_whitespace().collect();
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            if decoded.is_err() {
                report.invalid(node.at, "is not base64", "use stringData for plain text");
            }
            decoded.ok()
        })
        .into_iter()
        .collect();
    let plain = fields.entries("stringData", |report, _, node| report.text(node));
    data.extend(plain.into_iter().map(|(name, text)| (name, text.into_bytes())));
    let secret = Secret { data };
    if kind == "kubernetes.io/tls" && (secret.certificate().is_none() || secret.private_key().is_none()) {
        fields.invalid(
            "data",
            "has no tls.crt or no tls.key",
            "a kubernetes.io/tls secret needs both",
        );
    }
    secret
}
