//! Reader of Sidecar.

use std::net::IpAddr;

use super::fields::Fields;
use super::report::Report;
use super::tree::Node;
use super::{check, values};
use crate::matching::NamespaceScope;
use crate::protocol::Protocol;
use crate::sidecar::{CaptureMode, EgressHost, EgressListener, OutboundPolicy, Sidecar, SidecarPort};

/// A Sidecar without `spec`: for the whole namespace, everything visible.
pub(super) fn empty() -> Sidecar {
    Sidecar {
        workload_selector: None,
        egress: Vec::new(),
        outbound_policy: None,
    }
}

/// Reads `spec`.
pub(super) fn read(fields: &mut Fields<'_, '_>) -> Sidecar {
    fields.refuse(
        "ingress",
        "remove it; inbound listeners follow from the workload's ports",
    );
    fields.refuse("inboundConnectionPool", "remove it");
    let sidecar = Sidecar {
        workload_selector: values::selector(fields, "workloadSelector", "labels"),
        egress: fields.list("egress", |report, node| report.map(node, egress)),
        outbound_policy: fields
            .map("outboundTrafficPolicy", |f| {
                f.refuse("egressProxy", "remove it");
                f.choice(
                    "mode",
                    &[
                        ("REGISTRY_ONLY", OutboundPolicy::RegistryOnly),
                        ("ALLOW_ANY", OutboundPolicy::AllowAny),
                    ],
                )
            })
            .flatten(),
    };
    for (i, listener) in sidecar.egress.iter().enumerate() {
        let earlier = &sidecar.egress[..i];
        let message = match &listener.port {
            None if earlier.iter().any(|other| other.port.is_none()) => {
                "a listener without a port exists already".to_owned()
            }
            Some(port)
                if port.number != 0
                    && earlier.iter().any(|other| {
                        other.bind == listener.bind
                            && other.port.as_ref().is_some_and(|other| other.number == port.number)
                    }) =>
            {
                format!("port {} is given twice", port.number)
            }
            _ => continue,
        };
        fields.report().field(&format!("egress[{i}]"), |report| {
            report.invalid(listener.at, message, "join the two");
        });
    }
    sidecar
}

fn egress(fields: &mut Fields<'_, '_>) -> EgressListener {
    let at = fields.at;
    let port = fields.map("port", |f| {
        f.refuse("targetPort", "remove it");
        SidecarPort {
            number: f.required_port("number"),
            protocol: values::protocol(f, "protocol").unwrap_or(Protocol::Auto),
            name: f.text("name").unwrap_or_default(),
        }
    });
    if port.as_ref().is_some_and(|port| port.protocol == Protocol::Udp) {
        fields.invalid(
            "port",
            "UDP is not carried",
            "use TCP, TLS, HTTP, HTTP2, GRPC or another protocol over TCP",
        );
    }
    let given = fields.text("bind");
    let bind = given.as_ref().and_then(|bind| bind.parse::<IpAddr>().ok());
    if let (Some(text), None) = (&given, bind) {
        let hint = "Unix sockets are not supported; bind 127.0.0.1 or another address of this machine";
        fields.invalid("bind", format!("{text:?} is not an IP address"), hint);
    }
    let capture = fields
        .choice(
            "captureMode",
            &[
                ("DEFAULT", CaptureMode::Default),
                ("IPTABLES", CaptureMode::Iptables),
                ("NONE", CaptureMode::None),
            ],
        )
        .unwrap_or_default();
    if port.is_none() && (given.is_some() || capture == CaptureMode::None) {
        fields.missing("port", "bind and captureMode NONE need a port to bind");
    }
    let hosts = fields.list("hosts", egress_host);
    if fields.get("hosts").is_none() {
        fields.missing(
            "hosts",
            "name hosts such as \"./*\" or \"prod/reviews.prod.svc.cluster.local\"",
        );
    }
    EgressListener {
        at,
        port,
        bind,
        capture,
        hosts,
    }
}

/// `namespace/host`.
fn egress_host(report: &mut Report, node: &Node) -> Option<EgressHost> {
    let text = report.text(node)?;
    let Some((namespace, host)) = text.split_once('/') else {
        let hint = format!("write \"*/{text}\" for any namespace or \"./{text}\" for this one");
        report.invalid(node.at, format!("{text:?} has no namespace"), hint);
        return None;
    };
    if let Err(reason) = check::host(host, true) {
        report.invalid(node.at, format!("{host:?} {reason}"), "");
        return None;
    }
    Some(EgressHost {
        namespace: NamespaceScope::parse(namespace),
        host: host.trim_end_matches('.').to_ascii_lowercase(),
    })
}
