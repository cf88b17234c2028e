//! Reader of Sidecar.

use std::net::IpAddr;

use super::fields::Fields;
use super::report::Report;
use super::rules::sidecar as rules;
use super::tree::{Node, Value};
use super::{check, values};
use crate::matching::NamespaceScope;
use crate::protocol::Protocol;
use crate::sidecar::{CaptureMode, EgressHost, EgressListener, OutboundPolicy, Sidecar, SidecarPort};

/// Most listeners of one object.
const LISTENERS_MAX: usize = 128;
/// Longest address to bind.
const ADDRESS_LENGTH_MAX: usize = 64;

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
    ingress(fields);
    fields.pass_over("inboundConnectionPool", "connections to the workload have no limits");
    fields.rules(rules::SPEC);
    fields.at_most("egress", LISTENERS_MAX);
    Sidecar {
        workload_selector: values::selector(fields, "workloadSelector", "labels"),
        egress: fields.list("egress", |report, node| report.map(node, egress)),
        outbound_policy: fields
            .map("outboundTrafficPolicy", |f| {
                let meanwhile = "hosts that nobody registered are refused";
                let proxied = f.close("egressProxy", meanwhile, "remove it");
                let mode = f.choice(
                    "mode",
                    &[
                        ("REGISTRY_ONLY", OutboundPolicy::RegistryOnly),
                        ("ALLOW_ANY", OutboundPolicy::AllowAny),
                    ],
                );
                if proxied {
                    Some(OutboundPolicy::RegistryOnly)
                } else {
                    mode
                }
            })
            .flatten(),
    }
}

/// Listeners towards the workload. Those with TLS of their own protect it from what its ports would take, so they cost the whole object.
fn ingress(fields: &mut Fields<'_, '_>) {
    let has_tls =
        |node: &Node| matches!(&node.value, Value::Map(entries) if entries.iter().any(|entry| entry.key == "tls"));
    let listeners = fields.get("ingress").map(|node| &node.value);
    if matches!(listeners, Some(Value::List(items)) if items.iter().any(has_tls)) {
        fields.refuse("ingress", "remove it; a workload's ports take the TLS of the mesh");
    } else {
        fields.pass_over("ingress", "inbound listeners follow from the workload's ports");
    }
}

fn egress(fields: &mut Fields<'_, '_>) -> EgressListener {
    let at = fields.at;
    fields.rules(rules::EGRESS);
    let port = fields.map("port", |f| {
        f.pass_over("targetPort", "number is the port that is listened on");
        SidecarPort {
            number: f.required_port("number"),
            protocol: values::protocol(f, "protocol").unwrap_or(Protocol::Auto),
            name: f.text("name").unwrap_or_default(),
        }
    });
    fields.at_most("bind", ADDRESS_LENGTH_MAX);
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
